"""One Delta table changed by compare-and-swap: what a moved state, a lost answer and new credentials do."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from ser_core import storage
from ser_core.storage.location import Location
from ser_core.tables.commits import Change, OutrunError, Stamp
from ser_core.tables.delta_log import CONFIGURATION, DeltaLog
from ser_core.tables.output import Output
from tests.support.tables import (
    LABELS,
    OLD,
    SETTINGS,
    Audio,
    World,
    check_complete,
    rows_of,
    say_nothing,
    score,
)

pytestmark = pytest.mark.usefixtures("quick_disk")


#: Delta's own interval is 100 commits.
@pytest.mark.parametrize(
    ("interval", "num_commits", "back_to"), [(10, 14, 6), pytest.param(100, 110, 50, marks=pytest.mark.heavy)]
)
def test_log_of_many_commits_is_mended_through_a_checkpoint(
    output: Output, monkeypatch: pytest.MonkeyPatch, interval: int, num_commits: int, back_to: int
) -> None:
    monkeypatch.setitem(CONFIGURATION, "delta.checkpointInterval", str(interval))
    world = {f"{index:03d}": Audio("1") for index in range(num_commits)}
    begun = output.open().begin(SETTINGS, LABELS, on_event=say_nothing)
    for path, audio in world.items():
        begun.commit(*rows_of({path: audio}, begun.number))
    pair = begun._pair
    assert any("checkpoint" in path for path, _ in storage.list_files(output.location.join("files")))
    pair.predictions.transact(
        pair.predictions.change_back_to(back_to), replace(pair.stamp, commit=pair.stamp.commit + 1)
    )
    lines: list[str] = []
    again = output.open().begin(SETTINGS, LABELS, on_event=lines.append)
    assert len(lines) == 1
    assert "half done" in lines[0]
    again.finish({})
    check_complete(output.location, world)


def test_new_credentials_are_taken_up(
    output: Output, plan: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed: dict[str, str] = {}
    monkeypatch.setattr(Location, "delta_options", lambda self: dict(renewed))
    steps = score(output, plan(OLD), OLD)
    next(steps)
    handles = _count_handles(monkeypatch)
    next(steps)
    assert not handles
    renewed["aws_session_token"] = "renewed"
    next(steps)
    assert handles == ["renewed", "renewed"]
    list(steps)
    check_complete(output.location, OLD)


def _count_handles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    original = DeltaTable.__init__

    def note(self: DeltaTable, *args: Any, storage_options: dict[str, str], **rest: Any) -> None:
        made.append(storage_options["aws_session_token"])
        original(self, *args, storage_options=storage_options, **rest)

    monkeypatch.setattr(DeltaTable, "__init__", note)
    return made


SCHEMA = pa.schema([("path", pa.string()), ("status", pa.string())])


@pytest.fixture
def log(tmp_path: Path) -> DeltaLog:
    """An empty table, looked at."""
    log = DeltaLog(Location(str(tmp_path / "files")), "status")
    assert not log.look()
    log.create(SCHEMA, "made first")
    return log


def add(log: DeltaLog, path: str, owner: int = 1) -> None:
    """Commit one row on top of what was looked at."""
    rows = pa.table({"path": [path], "status": ["scored"]})
    log.transact(Change(adds=tuple(log.store.write(rows, "1-1"))), Stamp(owner, log.stamp.commit + 1))


def another_look(log: DeltaLog) -> DeltaLog:
    other = DeltaLog(log.location, log.partition_column)
    assert other.look()
    return other


def paths(log: DeltaLog) -> list[str]:
    return [part.first_path for part in sorted(log.parts(), key=lambda part: part.first_path)]


def test_a_table_that_is_there_is_taken_as_it_is(log: DeltaLog) -> None:
    add(log, "a")
    other = DeltaLog(log.location, "status")
    other.create(SCHEMA, "made second")
    assert (other.description, other.stamp, paths(other)) == ("made first", Stamp(1, 1), ["a"])


def test_a_commit_on_what_has_moved_is_refused(log: DeltaLog) -> None:
    other = another_look(log)
    add(other, "a", owner=2)
    with pytest.raises(OutrunError):
        add(log, "b")
    assert paths(another_look(log)) == ["a"]


def test_what_has_moved_is_noticed_before_a_commit(log: DeltaLog) -> None:
    log.require_unmoved()
    add(another_look(log), "a")
    with pytest.raises(OutrunError):
        log.require_unmoved()


def test_a_commit_on_a_log_that_was_made_in_the_place_of_its_own_is_noticed_and_taken_back(log: DeltaLog) -> None:
    add(log, "a")
    shutil.rmtree(log.location.path)
    other = DeltaLog(log.location, log.partition_column)
    other.create(SCHEMA, "made anew")
    add(other, "b", owner=2)
    # The older one has looked before that, and its number is still free.
    with pytest.raises(OutrunError):
        add(log, "c")
    newest = another_look(log)
    assert (paths(newest), newest.stamp) == (["b", "c"], Stamp(1, 2))
    newest.take_back_stray()
    assert (paths(newest), newest.stamp) == (["b"], Stamp(2, 1))
    newest.take_back_stray()
    assert paths(another_look(log)) == ["b"]


def test_a_log_that_was_made_in_the_place_of_another_is_noticed_by_a_look(log: DeltaLog) -> None:
    add(log, "a")
    shutil.rmtree(log.location.path)
    with pytest.raises(OutrunError):
        log.require_unmoved()
    other = DeltaLog(log.location, log.partition_column)
    other.create(SCHEMA, "made anew")
    add(other, "b")
    assert log.look()
    assert paths(log) == ["b"]


def test_a_commit_that_landed_counts_though_its_answer_was_lost(log: DeltaLog, monkeypatch: pytest.MonkeyPatch) -> None:
    write = DeltaTable.create_write_transaction

    def lose_the_answer(*args: Any, **kwargs: Any) -> None:
        write(*args, **kwargs)
        raise OSError("connection reset")

    with monkeypatch.context() as patch:
        patch.setattr(DeltaTable, "create_write_transaction", lose_the_answer)
        add(log, "a")
    add(log, "b")
    assert (paths(another_look(log)), log.stamp) == (["a", "b"], Stamp(1, 2))


def test_a_commit_that_did_not_land_is_an_error(log: DeltaLog, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(DeltaTable, "create_write_transaction", refuse)
        with pytest.raises(OSError, match="connection refused"):
            add(log, "a")
    assert paths(another_look(log)) == []


def test_a_state_is_brought_back_by_the_number_of_its_commit(log: DeltaLog) -> None:
    for path in "abc":
        add(log, path)
    log.transact(log.change_back_to(1), Stamp(1, 4))
    assert paths(another_look(log)) == ["a"]


def test_other_columns_drop_all_rows(log: DeltaLog) -> None:
    add(log, "a")
    log.replace(pa.schema([("path", pa.string()), ("p_sad", pa.float32()), ("status", pa.string())]), "anew", log.stamp)
    other = another_look(log)
    assert (paths(other), other.description) == ([], "anew")
