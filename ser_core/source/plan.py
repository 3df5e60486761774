"""The plan of a run: a Parquet file of all that SOURCE holds, sorted by path, and what is counted on the way."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ser_core.errors import SourceError
from ser_core.records import PLAN_SCHEMA
from ser_core.source.listing import Skipped, count_suffix
from ser_core.source.source import Source
from ser_core.storage import Location, faults_of

_MAX_SUFFIXES_SHOWN = 5
_HIDDEN = "names with a dot in front, or left by file servers and systems"


@dataclass(frozen=True)
class PlanSummary:
    """Counts of what the plan holds, and of what the source holds besides."""

    num_files: int
    num_bytes: int
    #: Number of planned files by lower-case suffix without the dot; "" for none.
    suffixes: Mapping[str, int]
    #: Number of the others, by why they are left out, and then by suffix.
    left_out: Mapping[str, Mapping[str, int]]
    num_hidden: int

    @classmethod
    def of_written(cls, tables: Iterable[pa.Table], to: Path) -> Self:
        """That of tables (PLAN_SCHEMA) as they are written to a local Parquet file, a row group each.

        Raises:
            ServiceError: the file system of `to` failed.
        """
        suffixes: Counter[str] = Counter()
        num_files = num_bytes = 0
        with faults_of(Location(str(to.parent))), pq.ParquetWriter(to, PLAN_SCHEMA, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table)
                num_files += len(table)
                for path in table["path"].to_pylist():
                    count_suffix(suffixes, path)
                num_bytes += pc.sum(pc.max_element_wise(table["size"], 0)).as_py() or 0
        return cls(num_files, num_bytes, dict(suffixes), {}, 0)

    @property
    def other_suffixes(self) -> Counter[str]:
        """Number of the others by suffix."""
        return _in_all(self.left_out)


def write_plan(source: Source, to: Path, *, exclude: Location | None) -> PlanSummary:
    """List a source into a local Parquet file (PLAN_SCHEMA), a row group a slice: memory does not grow with it.

    Raises:
        SourceError: nothing to score is found.
        ServiceError: the bucket or a file system failed as a whole, that of `to` too.
    """
    skipped = Skipped()
    summary = PlanSummary.of_written(source.list(exclude=exclude, skipped=skipped), to)
    if not summary.num_files:
        raise SourceError(_nothing_found(source, skipped))
    left_out = {why: dict(counts) for why, counts in skipped.suffixes.items()}
    return replace(summary, left_out=left_out, num_hidden=skipped.num_hidden)


def suffix_counts(counts: Mapping[str, int]) -> list[str]:
    """How many files there are of each suffix, in words, most first."""
    most_first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [f"{count} {'.' + suffix if suffix else 'without suffix'}" for suffix, count in most_first]


def _in_all(left_out: Mapping[str, Mapping[str, int]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for suffixes in left_out.values():
        counts.update(suffixes)
    return counts


def left_out_words(left_out: Mapping[str, Mapping[str, int]], num_hidden: int) -> list[str]:
    """How many files are left out of a plan, by suffix and why, as its only line; none where there are none."""
    kinds = [f"{', '.join(suffix_counts(counts))} ({why})" for why, counts in left_out.items()]
    if num_hidden:
        kinds.append(f"{num_hidden} hidden ({_HIDDEN})")
    return ["left out: " + ", ".join(kinds)] if kinds else []


def _nothing_found(source: Source, skipped: Skipped) -> str:
    other_suffixes = _in_all(skipped.suffixes)
    if source.kind == "list" and not other_suffixes and not skipped.num_hidden:
        return f"the list {source.describe()} holds no path"
    wanted = f"that matches '{source.pattern}'" if source.pattern else "with the suffix of audio or video"
    others = suffix_counts(other_suffixes)
    if len(others) > _MAX_SUFFIXES_SHOWN:
        others[_MAX_SUFFIXES_SHOWN:] = ["more"]
    if skipped.num_hidden:
        others.append(f"{skipped.num_hidden} hidden")
    hint = "; '**/' at the front of a pattern searches all folders" if source.pattern else "; --glob chooses others"
    if source.kind == "list":
        return f"SOURCE {source.describe()} holds no recording; it holds {', '.join(others)}"
    return f"SOURCE {source.root} holds no file {wanted}; it holds {', '.join(others) or 'no file at all'}{hint}"
