"""The folders of a plan: which hold the most files, and what lies in each."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ser_core.records import PLAN_SCHEMA
from ser_core.source import folders
from ser_core.source.folders import folders_of, largest_folders, split_plan

PATHS = [
    "a/1.wav", "a/b/1.wav", "a/b/2.wav", "a/b/c/1.wav", "a/b/c/2.wav", "a/z.wav", "d/1.wav", "line\nbreak/1.wav",
    "tar.tar/x/1.wav", "top.wav", "ü/1.wav",
]  # fmt: skip


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    rows = [{"path": path, "size": 1, "version": "v", "modified": None} for path in PATHS]
    file = tmp_path / "plan.parquet"
    pq.write_table(pa.Table.from_pylist(rows, PLAN_SCHEMA), file, row_group_size=3)
    return file


def test_a_files_folder_is_what_precedes_its_last_slash() -> None:
    expected = [path.rpartition("/")[0] for path in PATHS]
    assert folders_of(pa.array(PATHS)).to_pylist() == expected
    assert folders_of(pa.array(["s3://bucket/x/y.wav", "/y.wav", "", "x/"])).to_pylist() == [
        "s3://bucket/x",
        "",
        "",
        "x",
    ]


@pytest.mark.parametrize("held", [1, 1_000_000])
def test_the_largest_come_first_and_equals_by_name(plan: Path, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_HELD_COUNTS", held)
    assert largest_folders(plan, 4) == (["a", "a/b", "a/b/c", ""], 8)
    assert largest_folders(plan, 100)[0][3:] == ["", "d", "line\nbreak", "tar.tar/x", "ü"]


def test_each_gets_a_plan_of_what_lies_in_it_itself(plan: Path, tmp_path: Path) -> None:
    (tmp_path / "plans").mkdir()
    files = split_plan(plan, ["a/b", "", "a"], tmp_path / "plans")
    tables = [pq.read_table(file) for file in files]
    assert [table["path"].to_pylist() for table in tables] == [
        ["a/b/1.wav", "a/b/2.wav"], ["top.wav"], ["a/1.wav", "a/z.wav"],
    ]  # fmt: skip
    assert all(table.schema.equals(PLAN_SCHEMA) for table in tables)
