"""The plan against the tables: what counts as gone where a folder could not be listed."""

from pathlib import Path

import pytest

from ser_core.storage.location import Location
from ser_core.tables import comparison
from ser_core.tables.comparison import Comparison
from ser_core.tables.output import Output
from tests.support.tables import LABELS, SETTINGS, Audio, check_complete, rows_of, score_all, write_plan

#: A folder that could not be listed, as the walk writes it.
UNREAD = Audio("", windows=0, status="failed", retryable=True)
OLD = {path: Audio("1") for path in ("a.wav", "b/1.wav", "b/c/2.wav", "b.wav", "d/3.wav", "e/4.wav", "f.wav")}
#: "e/4.wav" and "f.wav" are gone; one unread folder is below another, as a list may have it.
NOW = {"a.wav": Audio("1"), "b/": UNREAD, "b/c/": UNREAD, "b.wav": Audio("1"), "d/": UNREAD}


@pytest.mark.parametrize("rows_per_slice", [1, 2, 3, 500])
def test_what_is_below_an_unread_folder_is_not_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_per_slice: int
) -> None:
    monkeypatch.setattr(comparison, "ROWS_PER_SLICE", rows_per_slice)
    output = Output(Location(str(tmp_path / "out")))
    score_all(output, write_plan(tmp_path / "old.parquet", OLD), OLD)
    plan = write_plan(tmp_path / "now.parquet", NOW)
    expected = Comparison(num_new=3, num_unchanged=2, num_gone=2)
    assert output.open().compare(plan) == expected
    run = output.open().begin(SETTINGS, LABELS, on_event=lambda line: None)
    assert run.remove_stale(plan, prune=True) == expected
    run.commit(*rows_of({path: NOW[path] for path in ("b/", "b/c/", "d/")}, run.number))
    run.finish({})
    check_complete(output.location, {**NOW, **{path: OLD[path] for path in ("b/1.wav", "b/c/2.wav", "d/3.wav")}})


def test_an_object_that_ends_in_a_slash_is_no_folder(tmp_path: Path) -> None:
    """On S3 "a/" may be an object like any other: it has a version."""
    output = Output(Location(str(tmp_path / "out")))
    world = {"a/": Audio("1"), "a/b.wav": Audio("1")}
    score_all(output, write_plan(tmp_path / "old.parquet", world), world)
    assert output.open().compare(write_plan(tmp_path / "now.parquet", {"a/": Audio("1")})).num_gone == 1


@pytest.mark.parametrize("rows_per_slice", [1, 500])
def test_a_folder_that_can_be_listed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_per_slice: int
) -> None:
    monkeypatch.setattr(comparison, "ROWS_PER_SLICE", rows_per_slice)
    output = Output(Location(str(tmp_path / "out")))
    closed = {"a/": UNREAD, "b.wav": Audio("1")}
    score_all(output, write_plan(tmp_path / "closed.parquet", closed), closed)
    opened = {"a/b.wav": Audio("1"), "b.wav": Audio("1")}
    score_all(output, write_plan(tmp_path / "opened.parquet", opened), opened)
    check_complete(output.location, opened)
