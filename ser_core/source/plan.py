"""The plan: what is to be scored, on disk, sorted by path."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from ser_core.errors import SourceError
from ser_core.records import PLAN_SCHEMA
from ser_core.source.listing import DEFAULT_GLOB_SUFFIXES, Skipped
from ser_core.source.source import Source
from ser_core.storage import Location, faults_of

_MAX_SUFFIXES_SHOWN = 5


@dataclass(frozen=True)
class PlanSummary:
    """What the plan holds, and what the source holds besides."""

    num_files: int
    num_bytes: int
    #: By lower-case suffix without the dot; "" for none.
    other_suffixes: Mapping[str, int]
    num_hidden: int


def write_plan(source: Source, to: Path, *, exclude: Location | None) -> PlanSummary:
    """List a source into a local Parquet file (PLAN_SCHEMA), a row group a slice: memory does not grow with it.

    Raises:
        SourceError: nothing to score is found.
        ServiceError: the bucket or a file system failed as a whole, that of `to` too.
    """
    skipped = Skipped()
    num_files = num_bytes = 0
    with faults_of(Location(str(to.parent))), pq.ParquetWriter(to, PLAN_SCHEMA, compression="zstd") as writer:
        for table in source.list(exclude=exclude, skipped=skipped):
            writer.write_table(table)
            num_files += len(table)
            num_bytes += pc.sum(pc.max_element_wise(table["size"], 0)).as_py()
    if num_files == 0:
        raise SourceError(_nothing_found(source, skipped))
    return PlanSummary(num_files, num_bytes, dict(skipped.other_suffixes), skipped.num_hidden)


def suffix_count(suffix: str, count: int) -> str:
    """How many files of a suffix (a key of `other_suffixes`), in words."""
    return f"{count} {'.' + suffix if suffix else 'without suffix'}"


def _nothing_found(source: Source, skipped: Skipped) -> str:
    if source.kind == "list":
        return f"the list {source.describe()} holds no path"
    wanted = f"that matches '{source.pattern}'" if source.pattern else f"of {' '.join(DEFAULT_GLOB_SUFFIXES)}"
    most_first = sorted(skipped.other_suffixes.items(), key=lambda item: (-item[1], item[0]))
    others = [suffix_count(suffix, count) for suffix, count in most_first]
    if len(others) > _MAX_SUFFIXES_SHOWN:
        others[_MAX_SUFFIXES_SHOWN:] = ["more"]
    if skipped.num_hidden:
        others.append(f"{skipped.num_hidden} hidden")
    hint = "; '**/' at the front of a pattern searches all folders" if source.pattern else "; --glob chooses others"
    return f"SOURCE {source.root} holds no file {wanted}; it holds {', '.join(others) or 'no file at all'}{hint}"
