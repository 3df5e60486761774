"""The Parquet files of a table: every reader reads them, and none is left that no table names."""

import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from ser_core import storage
from ser_core.errors import OutputError
from ser_core.storage.location import Location
from ser_core.tables.output import Output
from ser_core.tables.parts import PART_PATTERN, PartStore
from tests.support.tables import EMBEDDED, OLD, Audio, World, embeddings_of, rows_of, score_all

pytestmark = pytest.mark.usefixtures("quick_disk")


def test_every_reader_sees_the_same_rows(output: Output, plan: Callable[[World], Path]) -> None:
    odd = {
        "ü/名 'q\".wav": Audio("1"),
        "line\nfeed=%41.wav": Audio("1"),
        "\\xff.wav": Audio("1", windows=0, status="failed"),
    }
    world = {**OLD, **odd}
    score_all(output, plan(OLD), OLD)
    score_all(output, plan(world), world)
    for name, key, expected in zip(("predictions", "files"), ("emotion", "status"), rows_of(world, 0), strict=True):
        folder = output.location.join(name).path
        glob = f"{folder}/{key}=*/*.parquet"
        seen = {
            "duckdb": duckdb.sql(f"select * from read_parquet('{glob}', hive_partitioning=true)").to_arrow_table(),
            "polars": pl.read_parquet(glob, hive_partitioning=True).to_arrow(),
            "polars delta": pl.scan_delta(folder).collect().to_arrow(),
            "pandas": pa.Table.from_pandas(_as_text(pd.read_parquet(folder), key)),
            "pyarrow": pq.read_table(folder),
            "pyarrow dataset": ds.dataset(folder, partitioning="hive", exclude_invalid_files=True).to_table(),
            "deltalake": deltalake.DeltaTable(folder).to_pyarrow_table(),
        }
        columns = [column for column in expected.column_names if column not in {"run", "model"}]
        order = [(column, "ascending") for column in ("path", "channel", "window_index") if column in columns]
        wanted = expected.select(columns).sort_by(order).to_pylist()
        for reader, rows in seen.items():
            got = rows.select(columns).sort_by(order).to_pylist()
            if reader == "pandas":
                got, wanted_here = _without_gaps(got), _without_gaps(wanted)
                assert got == wanted_here, reader
            else:
                assert got == wanted, reader


def test_every_reader_sees_the_same_embeddings(output: Output, plan: Callable[[World], Path]) -> None:
    """A part says that no number is missing in a list, the table does not."""
    score_all(output, plan(OLD), OLD, settings=EMBEDDED)
    folder = output.location.join("embeddings").path
    glob = f"{folder}/encoder=*/*.parquet"
    [part] = Path(folder).glob("encoder=*/*.parquet")
    assert not pq.read_schema(part).field("embedding").type.value_field.nullable
    key = ["path", "channel", "window_index"]
    wanted = embeddings_of(rows_of(OLD, 0)[0]).sort_by([(name, "ascending") for name in key])
    for rows in (
        duckdb.sql(f"select * from read_parquet('{glob}', hive_partitioning=true)").to_arrow_table(),
        pl.read_parquet(glob, hive_partitioning=True).to_arrow(),
        pl.scan_delta(folder).collect().to_arrow(),
        pa.Table.from_pandas(pd.read_parquet(folder)),
        pq.read_table(folder),
        deltalake.DeltaTable(folder).to_pyarrow_table(),
    ):
        assert set(map(str, rows["encoder"].to_pylist())) == {EMBEDDED.embeddings}
        found = rows.sort_by([(name, "ascending") for name in key])
        for name in (*key, "embedding"):
            assert found[name].to_pylist() == wanted[name].to_pylist(), name


def _as_text(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    return frame.astype({column: str})


def _without_gaps(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "gaps"} for row in rows]


def test_delta_readers_skip_by_path(output: Output, plan: Callable[[World], Path]) -> None:
    score_all(output, plan(OLD), OLD)
    found = pl.scan_delta(output.location.join("files").path).filter(pl.col("path") == "h/long.wav").collect()
    assert found["num_windows"].to_list() == [300]


@pytest.fixture
def store(tmp_path: Path) -> PartStore:
    return PartStore(Location(str(tmp_path / "files")), "status")


ROWS = pa.table({"path": ["c", "a", "b"], "channel": [0, 0, 1], "status": ["failed", "scored", "scored"]})
SCHEMA = pa.schema([("path", pa.string()), ("channel", pa.int64())])


def test_a_part_holds_the_rows_of_one_value_sorted_and_without_it(store: PartStore) -> None:
    failed, scored = store.write(ROWS, "1-2")
    assert (failed.partition, scored.partition) == ("failed", "scored")
    assert store.read(scored, SCHEMA).to_pydict() == {"path": ["a", "b"], "channel": [0, 1]}
    assert json.loads(scored.stats) == {"numRecords": 2, "minValues": {"path": "a"}, "maxValues": {"path": "b"}}
    assert scored.num_bytes == Path(store.table.join(scored.path).path).stat().st_size
    both = pa.concat_tables(store.read_all([failed, scored], SCHEMA.remove(1)))
    assert both.to_pydict() == {"path": ["c", "a", "b"]}


def test_a_parts_name_tells_run_and_commit_and_is_never_used_twice(store: PartStore) -> None:
    paths = [part.path for _ in range(3) for part in store.write(ROWS, "1-2")]
    assert len(set(paths)) == 6
    for path in paths:
        assert "/part-1-2-" in path
        assert PART_PATTERN.fullmatch(path)


@pytest.mark.parametrize("path", ["status=scored/mine.parquet", "part-1-2-0.parquet", "_delta_log/0.json"])
def test_the_files_of_others_are_no_parts(path: str) -> None:
    assert not PART_PATTERN.fullmatch(path)


def test_a_number_that_another_program_left_out_stays_out(store: PartStore) -> None:
    lists = pa.array([[1.0, None], None, [2.0, 3.0]], pa.list_(pa.float32()))
    rows = pa.table({"path": ["a", "b", "c"], "status": ["scored"] * 3, "embedding": lists})
    [part] = store.write(rows, "1-1")
    assert store.read(part, rows.schema.remove(1))["embedding"].to_pylist() == lists.to_pylist()


def test_a_flipped_bit_anywhere_is_noticed(store: PartStore) -> None:
    """Parquet's own checksums are of pages: one bit in the footer, and a column has another name."""
    [part, _] = store.write(ROWS, "1-1")
    file = Path(store.table.join(part.path).path)
    data = file.read_bytes()
    for position in range(len(data)):
        file.write_bytes(data[:position] + bytes([data[position] ^ 1 << position % 8]) + data[position + 1 :])
        with pytest.raises(OutputError, match=r"/status=failed/part-1-1-.* is damaged: its bytes .* --restart"):
            store.read(part, SCHEMA)


def test_other_readers_can_notice_a_flipped_bit_too(store: PartStore) -> None:
    [_, part] = store.write(ROWS, "1-1")
    data = bytearray(Path(store.table.join(part.path).path).read_bytes())
    where = pq.ParquetFile(pa.BufferReader(data)).metadata.row_group(0).column(0).data_page_offset
    data[where + 40] ^= 1
    with pytest.raises(OSError, match="CRC"):
        pq.ParquetFile(pa.BufferReader(bytes(data)), page_checksum_verification=True).read()


def test_a_part_without_a_checksum_in_its_name_is_read(store: PartStore) -> None:
    """As those of earlier versions are."""
    [part, _] = store.write(ROWS, "1-1")
    earlier = replace(part, path=f"status=failed/part-1-1-{uuid.uuid4().hex}.parquet")
    storage.put(store.table.join(earlier.path), storage.read(store.table.join(part.path)))
    assert store.read(earlier, SCHEMA).to_pydict() == {"path": ["c"], "channel": [0]}


def test_what_no_log_took_up_is_deleted_again(store: PartStore) -> None:
    kept = store.write(ROWS, "1-1")
    store.keep()
    store.write(ROWS, "1-2")
    store.discard()
    assert sorted(path for path, _ in storage.list_files(store.table)) == sorted(part.path for part in kept)


def test_a_part_that_is_gone_says_what_to_do(store: PartStore) -> None:
    [part, _] = store.write(ROWS, "1-1")
    store.discard()
    with pytest.raises(OutputError, match=r"is gone: a newer run replaced it.*use --restart"):
        store.read(part, SCHEMA)
