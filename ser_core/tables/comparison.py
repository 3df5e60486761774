"""The plan against the files table, in slices of sorted paths: memory is bounded however many files there are."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ser_core.records import PLAN_SCHEMA
from ser_core.tables.assembler import Totals
from ser_core.tables.parts import Part, PartStore
from ser_core.vocabulary import STATUSES

ROWS_PER_SLICE = 500_000
#: What a planned file is to the tables.
NEW, CHANGED, RETRIED, UNCHANGED = range(4)
#: What is read of the files table.
_READ_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string()),
        pa.field("channel", pa.int32()),
        pa.field("file_version", pa.string()),
        pa.field("retryable", pa.bool_()),
        pa.field("num_windows", pa.int64()),
        pa.field("audio_seconds", pa.float64()),
        pa.field("speech_seconds", pa.float64()),
    ]
)
_KNOWN_SCHEMA = _READ_SCHEMA.append(pa.field("status", pa.int8()))


@dataclass(frozen=True)
class Slice:
    """Some files of the plan, each with what the tables know of it, and the paths between them that are gone."""

    plan: pa.Table
    #: NEW, CHANGED, RETRIED or UNCHANGED, one per row of `plan`.
    state: npt.NDArray[np.int8]
    #: Worst status over the file's channels, as an index into STATUSES; -1 where there is no row.
    status: npt.NDArray[np.int8]
    gone: pa.Array
    #: Paths of the plan with more than one row of the same channel.
    doubled: pa.Array
    #: What the rows of all these files, gone ones among them, come to. Which windows have speech, files does not tell.
    totals: Totals

    def planned(self, *states: int) -> pa.Table:
        """The rows of the plan in one of these states."""
        return self.plan.filter(pa.array(np.isin(self.state, states)))

    def stale(self, *, prune: bool) -> pa.Array:
        """Paths whose rows must go before anything is scored."""
        paths = self.planned(CHANGED, RETRIED)["path"].combine_chunks()
        return pa.concat_arrays([paths, self.gone]) if prune else paths


@dataclass(frozen=True)
class Comparison:
    """Files of the plan by what the tables know of them; `num_gone` are in the tables alone."""

    num_new: int = 0
    num_changed: int = 0
    num_retried: int = 0
    num_unchanged: int = 0
    num_gone: int = 0

    @property
    def num_pending(self) -> int:
        """How many are to be scored."""
        return self.num_new + self.num_changed + self.num_retried

    def plus(self, part: Slice) -> Self:
        """Counted on by one slice."""
        new, changed, retried, unchanged = (int(n) for n in np.bincount(part.state, minlength=4))
        return type(self)(
            self.num_new + new,
            self.num_changed + changed,
            self.num_retried + retried,
            self.num_unchanged + unchanged,
            self.num_gone + len(part.gone),
        )


@dataclass(frozen=True)
class Tally:
    """Files of the plan by outcome; one with several channels counts once, by its worst."""

    scored: int = 0
    partial: int = 0
    failed: int = 0

    @property
    def num_files(self) -> int:
        """How many have a row."""
        return self.scored + self.partial + self.failed

    def plus(self, part: Slice) -> Self:
        """Counted on by one slice."""
        scored, partial, failed = (int(n) for n in np.bincount(part.status[part.status >= 0], minlength=3))
        return type(self)(self.scored + scored, self.partial + partial, self.failed + failed)


def sweep(plan_file: Path, store: PartStore, parts: list[Part]) -> Iterator[Slice]:
    """Walk the plan from the first path to the last, and beyond it for what is gone.

    Raises:
        ValueError: the plan's paths do not rise strictly.
    """
    after = None
    unread: list[str] = []
    with pq.ParquetFile(plan_file) as plan:
        for batch in plan.iter_batches(batch_size=ROWS_PER_SLICE, columns=PLAN_SCHEMA.names):
            part_of_plan = pa.Table.from_batches([batch])
            _require_rising(part_of_plan["path"], after)
            last = part_of_plan["path"][-1].as_py()
            unread = _unread_folders(part_of_plan, unread)
            yield _compare(part_of_plan, _known(store, parts, after, last), unread)
            after = last
    yield _compare(PLAN_SCHEMA.empty_table(), _known(store, parts, after, None), unread)


def _require_rising(paths: pa.ChunkedArray, after: str | None) -> None:
    rises = pc.all(pc.less(paths[:-1], paths[1:])).as_py() is not False
    if not rises or (after is not None and paths[0].as_py() <= after):
        raise ValueError("the plan must be sorted by path, each path once")


def _known(store: PartStore, parts: list[Part], after: str | None, last: str | None) -> pa.Table:
    """Rows of the files table with after < path <= last, of _KNOWN_SCHEMA."""
    overlapping = [
        part
        for part in parts
        if (after is None or part.last_path > after) and (last is None or part.first_path <= last)
    ]
    tables = [_KNOWN_SCHEMA.empty_table()]
    for part, rows in zip(overlapping, store.read_all(overlapping, _READ_SCHEMA), strict=True):
        inside = rows
        if after is not None:
            inside = inside.filter(pc.greater(inside["path"], after))
        if last is not None:
            inside = inside.filter(pc.less_equal(inside["path"], last))
        status = np.full(inside.num_rows, STATUSES.index(part.partition), np.int8)
        tables.append(inside.append_column("status", pa.array(status)))
    return pa.concat_tables(tables)


def _unread_folders(plan: pa.Table, before: list[str]) -> list[str]:
    """The plan's folders that could not be listed, sorted, none below another, with those of `before` that matter.

    In sorted paths, what is below a folder comes right after it: of `before`, only the last may reach this far.
    """
    is_unread = pc.and_(pc.ends_with(plan["path"], "/"), pc.equal(plan["version"], ""))
    folders = before[-1:]
    for folder in plan["path"].filter(is_unread).to_pylist():
        if not folders or not folder.startswith(folders[-1]):
            folders.append(folder)
    return folders


def _outside(paths: pa.Array, folders: list[str]) -> pa.Array:
    """The paths that are below none of the folders, which are sorted and not below one another."""
    if not folders:
        return paths

    def is_outside(path: str) -> bool:
        index = bisect_right(folders, path)
        return index == 0 or not path.startswith(folders[index - 1])

    return paths.filter(pa.array(map(is_outside, paths.to_pylist()), pa.bool_()))


def _totals(known: pa.Table) -> Totals:
    is_failed = pc.equal(known["status"], STATUSES.index("failed"))
    return Totals(
        num_files=pc.count_distinct(known["path"]).as_py(),
        num_failed=pc.count_distinct(known["path"].filter(is_failed)).as_py(),
        num_windows=pc.sum(known["num_windows"]).as_py() or 0,
        audio_seconds=pc.sum(known["audio_seconds"]).as_py() or 0.0,
        speech_seconds=pc.sum(known["speech_seconds"]).as_py(),
    )


def _compare(plan: pa.Table, known: pa.Table, unread: list[str]) -> Slice:
    row_of_plan = pc.index_in(known["path"], plan["path"].combine_chunks()).combine_chunks()
    is_planned = row_of_plan.is_valid()
    totals = _totals(known)
    # What is below a folder that could not be listed may still be there.
    gone = _outside(pc.unique(known["path"].filter(pc.invert(is_planned))), unread)
    known = known.filter(is_planned)
    index = row_of_plan.drop_null().to_numpy()

    version = plan["version"].take(pa.array(index))
    differs = pc.not_equal(known["file_version"], version).to_numpy()
    status_of_row = known["status"].to_numpy()
    may_recover = known["retryable"].to_numpy() & (status_of_row != STATUSES.index("scored"))

    state = np.full(plan.num_rows, NEW, np.int8)
    state[index] = UNCHANGED
    keys, num_rows = np.unique(index.astype(np.int64) * 2**32 + known["channel"].to_numpy() + 1, return_counts=True)
    doubled = np.unique(keys[num_rows > 1] // 2**32)
    state[index[may_recover]] = RETRIED
    state[doubled] = RETRIED
    state[index[differs]] = CHANGED
    status = np.full(plan.num_rows, -1, np.int8)
    np.maximum.at(status, index, status_of_row)
    return Slice(plan, state, status, gone, plan["path"].take(pa.array(doubled)), totals)
