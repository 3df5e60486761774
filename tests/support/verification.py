"""What `verify` finds in an output, and rows spoilt behind its back."""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from ser_core import storage
from ser_core.tables import commits
from ser_core.tables.checks.findings import Problem
from ser_core.tables.checks.verification import Verified
from ser_core.tables.commits import Stamp
from ser_core.tables.delta_log import DeltaLog
from ser_core.tables.output import Output
from tests.support.tables import World

Change = Callable[[pa.Table], pa.Table]


def problems(verified: Verified) -> dict[tuple[str, Problem], tuple[int, tuple[str, ...]]]:
    return {(found.table, found.problem): (found.count, found.names) for found in verified.findings}


def assert_whole(verified: Verified, world: World) -> None:
    assert verified.findings == ()
    num_windows = sum(audio.windows * len(audio.channels) for audio in world.values())
    assert (verified.files, verified.windows) == (len(world), num_windows)


def change_rows(output: Output, table: str, change: Change) -> None:
    """Write other rows into a table by the protocol of its log, as a program with a bug would."""
    partitioned_by = {"predictions": "emotion", "embeddings": "encoder", "files": "status"}
    log = DeltaLog(output.location.join(table), partitioned_by[table])
    log.look()
    parts = log.parts()
    rows = pa.concat_tables(
        part_rows.append_column(log.partition_column, pa.repeat(part.partition, part.num_rows))
        for part, part_rows in zip(parts, log.store.read_all(parts, log.schema), strict=True)
    )
    adds = log.store.write(change(rows), f"{log.stamp.owner}-{log.stamp.commit}")
    log.transact(commits.Change(tuple(adds), tuple(parts)), Stamp(log.stamp.owner, log.stamp.commit))
    for part in parts:
        storage.delete(output.location.join(table, part.path))


def without_values(rows: pa.Table, *names: str) -> pa.Table:
    for name in names:
        rows = rows.set_column(rows.column_names.index(name), name, pa.nulls(rows.num_rows, rows[name].type))
    return rows


def of_path(rows: pa.Table, path: str) -> pa.Array:
    return pc.equal(rows["path"], path).combine_chunks()
