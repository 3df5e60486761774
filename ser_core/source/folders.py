"""The folders of a plan: which hold the most files, and a plan of each alone."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ser_core.records import PLAN_SCHEMA
from ser_core.storage import Location, faults_of

#: Counts that wait to be added to those there are.
_HELD_COUNTS = 1_000_000


def folders_of(paths: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """What precedes the last slash of each path; "" where there is none."""
    return pc.replace_substring_regex(paths, pattern="/?[^/]*$", replacement="", max_replacements=1)


def largest_folders(plan_file: Path, most: int) -> tuple[list[str], int]:
    """The folders that hold the most files themselves, of equals the first by name, and how many folders there are.

    Args:
        plan_file: the plan (PLAN_SCHEMA).
        most: number of folders wanted.
    """
    counts = pa.table({"folder": pa.array([], pa.string()), "num_files": pa.array([], pa.int64())})
    held: list[pa.Table] = []
    with pq.ParquetFile(plan_file) as plan:
        for batch in plan.iter_batches(columns=["path"]):
            found = pc.value_counts(folders_of(batch["path"]))
            held.append(pa.table({"folder": found.field("values"), "num_files": found.field("counts")}))
            if sum(part.num_rows for part in held) >= max(_HELD_COUNTS, counts.num_rows):
                counts, held = _added([counts, *held]), []
    counts = _added([counts, *held])
    first = counts.sort_by([("num_files", "descending"), ("folder", "ascending")]).slice(0, most)
    return first["folder"].to_pylist(), counts.num_rows


def split_plan(plan_file: Path, folders: Sequence[str], into: Path) -> list[Path]:
    """Write a plan of each of these folders, with the files that lie in it itself; in the order of the folders.

    Args:
        plan_file: the plan (PLAN_SCHEMA).
        folders: as `largest_folders` names them.
        into: an empty folder.

    Raises:
        ServiceError: the file system failed.
    """
    plans = [into / f"{number}.parquet" for number in range(len(folders))]
    with faults_of(Location(str(into))), ExitStack() as stack:
        writers = [stack.enter_context(pq.ParquetWriter(file, PLAN_SCHEMA)) for file in plans]
        for batch in stack.enter_context(pq.ParquetFile(plan_file)).iter_batches():
            number = pc.index_in(folders_of(batch["path"]), value_set=pa.array(folders, pa.string()))
            for one in pc.unique(number.drop_null()).to_pylist():
                writers[one].write_batch(batch.filter(pc.equal(number, one)))
    return plans


def _added(parts: list[pa.Table]) -> pa.Table:
    total = pa.concat_tables(parts).group_by("folder").aggregate([("num_files", "sum")])
    return pa.table({"folder": total["folder"], "num_files": total["num_files_sum"]})
