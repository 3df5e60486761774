"""The plan of a run: a Parquet file of all that SOURCE holds, sorted by path, and what is counted on the way."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from ser_core.errors import SourceError
from ser_core.records import PLAN_SCHEMA
from ser_core.source.listing import Skipped, count_suffix
from ser_core.source.source import Source
from ser_core.storage import Location, faults_of

_MAX_SUFFIXES_SHOWN = 5


@dataclass(frozen=True)
class PlanSummary:
    """Counts of what the plan holds, and of what the source holds besides."""

    num_files: int
    num_bytes: int
    #: Number of planned files, and of others, by lower-case suffix without the dot; "" for none.
    suffixes: Mapping[str, int]
    other_suffixes: Mapping[str, int]
    num_hidden: int


def write_plan(source: Source, to: Path, *, exclude: Location | None) -> PlanSummary:
    """List a source into a local Parquet file (PLAN_SCHEMA), a row group a slice: memory does not grow with it.

    Raises:
        SourceError: nothing to score is found.
        ServiceError: the bucket or a file system failed as a whole, that of `to` too.
    """
    skipped = Skipped()
    suffixes: Counter[str] = Counter()
    num_files = num_bytes = 0
    with faults_of(Location(str(to.parent))), pq.ParquetWriter(to, PLAN_SCHEMA, compression="zstd") as writer:
        for table in source.list(exclude=exclude, skipped=skipped):
            writer.write_table(table)
            num_files += len(table)
            for path in table["path"].to_pylist():
                count_suffix(suffixes, path)
            num_bytes += pc.sum(pc.max_element_wise(table["size"], 0)).as_py()
    if num_files == 0:
        raise SourceError(_nothing_found(source, skipped))
    return PlanSummary(num_files, num_bytes, dict(suffixes), dict(skipped.other_suffixes), skipped.num_hidden)


def suffix_counts(counts: Mapping[str, int]) -> list[str]:
    """How many files there are of each suffix, in words, most first."""
    most_first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [f"{count} {'.' + suffix if suffix else 'without suffix'}" for suffix, count in most_first]


def _nothing_found(source: Source, skipped: Skipped) -> str:
    if source.kind == "list" and not skipped.other_suffixes and not skipped.num_hidden:
        return f"the list {source.describe()} holds no path"
    wanted = f"that matches '{source.pattern}'" if source.pattern else "with the suffix of audio or video"
    others = suffix_counts(skipped.other_suffixes)
    if len(others) > _MAX_SUFFIXES_SHOWN:
        others[_MAX_SUFFIXES_SHOWN:] = ["more"]
    if skipped.num_hidden:
        others.append(f"{skipped.num_hidden} hidden")
    hint = "; '**/' at the front of a pattern searches all folders" if source.pattern else "; --glob chooses others"
    if source.kind == "list":
        return f"SOURCE {source.describe()} holds no recording; it holds {', '.join(others)}"
    return f"SOURCE {source.root} holds no file {wanted}; it holds {', '.join(others) or 'no file at all'}{hint}"
