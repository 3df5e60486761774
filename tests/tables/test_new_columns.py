"""An output of an earlier version goes on under a program with more columns, and every reader reads both kinds of rows.

The earlier version is this one with columns taken out.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest
from deltalake import DeltaTable

from ser_core.storage.location import Location
from ser_core.tables import run
from ser_core.tables.output import Output
from tests.support.tables import (
    NEW_COLUMNS,
    NOW,
    OLD,
    World,
    check_complete,
    check_snapshot,
    earlier_version,
    score,
    score_all,
)

pytestmark = pytest.mark.usefixtures("quick_disk")


@pytest.fixture
def old_output(output: Output, plan: Callable[[World], Path]) -> Output:
    """Complete for OLD, without the two columns."""
    with earlier_version():
        score_all(output, plan(OLD), OLD)
    return output


def seen_by_delta_readers(output: Location, table: str) -> dict[str, list[dict[str, Any]]]:
    folder = output.join(table).path
    return {
        "polars delta": pl.scan_delta(folder).collect().to_dicts(),
        "deltalake": DeltaTable(folder).to_pyarrow_table().to_pylist(),
    }


def seen_by_plain_readers(output: Location, table: str) -> dict[str, list[dict[str, Any]]]:
    folder = output.join(table).path
    glob = f"{folder}/*/*.parquet"
    by_duckdb = "select * from read_parquet('{}', hive_partitioning=true{})"
    return {
        "duckdb": duckdb.sql(by_duckdb.format(glob, "")).to_arrow_table().to_pylist(),
        "duckdb by name": duckdb.sql(by_duckdb.format(glob, ", union_by_name=true")).to_arrow_table().to_pylist(),
        "polars": pl.read_parquet(glob, hive_partitioning=True).to_dicts(),
        "pandas": pd.read_parquet(folder, dtype_backend="pyarrow").to_dict("records"),
        "pyarrow dataset": ds.dataset(folder, partitioning="hive", exclude_invalid_files=True).to_table().to_pylist(),
    }


def check_null_in_first_run(readers: dict[str, list[dict[str, Any]]]) -> None:
    """The new column of a table is null in the rows of the first run alone, whoever reads them."""
    for reader, rows in readers.items():
        assert rows, reader
        for row in rows:
            [column] = {*NEW_COLUMNS} & {*row}
            is_of_first_run = row["run"] == 1 if "run" in row else row["model"] == "run 1"
            assert (row[column] is None or row[column] is pd.NA) == is_of_first_run, (reader, row)


def test_new_rows_have_a_new_column_and_old_ones_null_for_every_reader(
    old_output: Output, plan: Callable[[World], Path]
) -> None:
    lines: list[str] = []
    output = old_output.location
    for _ in score(old_output, plan(NOW), NOW, on_event=lines.append):
        check_snapshot(output, OLD, NOW)
        check_null_in_first_run(seen_by_delta_readers(output, "predictions"))
        check_null_in_first_run(seen_by_delta_readers(output, "files"))
    assert lines == [
        "predictions: new column speech_share, null in the rows of before",
        "files: new column speech_seconds, null in the rows of before",
    ]
    check_complete(output, NOW, null_in_first_run=NEW_COLUMNS)
    check_null_in_first_run(seen_by_plain_readers(output, "predictions"))
    check_null_in_first_run(seen_by_plain_readers(output, "files"))


def test_parts_that_are_full_are_written_again_but_once(
    old_output: Output, plan: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "ROWS_PER_PART", 1)
    world = {path: audio for path, audio in OLD.items() if not audio.retryable}
    before = parts_of(old_output)
    score_all(old_output, plan(world), world)
    once = parts_of(old_output)
    score_all(old_output, plan(world), world)
    assert not before & once
    assert parts_of(old_output) == once
    check_null_in_first_run(seen_by_plain_readers(old_output.location, "predictions"))
    check_null_in_first_run(seen_by_plain_readers(old_output.location, "files"))


def parts_of(output: Output) -> set[str]:
    return {
        uri for table in ("predictions", "files") for uri in DeltaTable(output.location.join(table).url).file_uris()
    }


def test_columns_of_a_later_version_stay_and_are_null_in_the_rows_of_this_one(
    output: Output, plan: Callable[[World], Path]
) -> None:
    score_all(output, plan(OLD), OLD)
    with earlier_version():
        score_all(output, plan(NOW), NOW)
    for reader, rows in seen_by_plain_readers(output.location, "files").items():
        has_value = {row["run"]: row["speech_seconds"] not in {None, pd.NA} for row in rows}
        assert has_value == {1: True, 2: False}, reader
