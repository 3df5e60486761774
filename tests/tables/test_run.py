"""A run's writing: whole files, few parts, and what stops it in between."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from ser_core import storage
from ser_core.errors import InterruptedRunError, OutputError, ServiceError
from ser_core.tables import comparison, run
from ser_core.tables.comparison import Tally
from ser_core.tables.delta_log import DeltaLog
from ser_core.tables.output import Output
from tests.support.tables import (
    LABELS,
    NOW,
    OLD,
    SETTINGS,
    Audio,
    World,
    check_complete,
    rows_of,
    say_nothing,
    score,
    score_all,
)

pytestmark = pytest.mark.usefixtures("quick_disk")


def test_a_file_counts_once_by_its_worst_channel(output: Output, plan: Callable[[World], Path]) -> None:
    world = {"a": Audio("1", channels=(0, 1, 2)), "b": Audio("1", channels=(0, 1))}
    begun = output.open().begin(SETTINGS, LABELS, on_event=say_nothing)
    predictions, files = rows_of(world, 1)
    status = pa.array(["scored", "partial", "scored", "partial", "scored"])
    begun.commit(predictions, files.set_column(files.column_names.index("status"), "status", status))
    assert begun.tally(plan(world))[0] == Tally(partial=2)


def test_doubled_rows_are_noticed_and_scored_anew(output: Output, plan: Callable[[World], Path]) -> None:
    """As a driver leaves them that slept while its output was deleted and made again."""
    begun = output.open().begin(SETTINGS, LABELS, on_event=say_nothing)
    begun.commit(*rows_of(OLD, 1))
    begun.commit(*rows_of({"c/two channels.wav": OLD["c/two channels.wav"]}, 1))
    with pytest.raises(OutputError, match=r"c/two channels.wav has two rows.*run the same command again"):
        begun.tally(plan(OLD))
    score_all(output, plan(OLD), OLD)
    check_complete(output.location, OLD)


def test_stale_rows_go_in_several_commits(
    output: Output, plan: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "ROWS_PER_SLICE", 2)
    monkeypatch.setattr(run, "STALE_PER_COMMIT", 2)
    score_all(output, plan(OLD), OLD)
    score_all(output, plan(NOW), NOW)
    check_complete(output.location, NOW)


def test_compaction_joins_small_parts_and_leaves_full_ones(
    output: Output, plan: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "ROWS_PER_PART", 100)
    world = {f"{index:03d}": Audio("1", windows=1) for index in range(120)}
    score_all(output, plan(world), world, files_per_commit=7)
    check_complete(output.location, world)
    actions = pa.table(DeltaTable(output.location.join("files").url).get_add_actions(flatten=True))
    assert sorted(actions["num_records"].to_pylist()) == [22, 98]
    full = dict(zip(actions["num_records"].to_pylist(), actions["path"].to_pylist(), strict=True))[98]
    world |= {"999": Audio("1", windows=1)}
    score_all(output, plan(world), world)
    assert full in {path for path, _ in storage.list_files(output.location.join("files"))}
    check_complete(output.location, world)


@pytest.mark.parametrize("spoil", ["a prediction missing", "one twice", "a file twice", "no file", "other version"])
def test_torn_files_are_refused(output: Output, spoil: str) -> None:
    begun = output.open().begin(SETTINGS, LABELS, on_event=say_nothing)
    predictions, files = rows_of({"a": Audio("1", windows=3), "b": Audio("1")}, 1)
    if spoil == "a prediction missing":
        predictions = predictions.slice(1)
    elif spoil == "one twice":
        predictions = pa.concat_tables([predictions.slice(1), predictions.slice(1, 1)])
    elif spoil == "a file twice":
        files = pa.concat_tables([files, files.slice(0, 1)])
    elif spoil == "no file":
        files = files.slice(1)
    else:
        version = pa.array(["2"] * predictions.num_rows)
        predictions = predictions.set_column(predictions.column_names.index("file_version"), "file_version", version)
    with pytest.raises(ValueError, match="file"):
        begun.commit(predictions, files)


def test_records_say_how_the_run_went(output: Output, plan: Callable[[World], Path]) -> None:
    def record() -> dict[str, Any]:
        return dict(json.loads(storage.read(output.location.join("run.json"))))

    begun = output.open().begin(SETTINGS, LABELS, on_event=say_nothing)
    assert record() == {"state": "running", "run": 1, "settings": SETTINGS.to_dict()}
    begun.stop({"files": 0})
    assert record() == {"state": "stopped", "run": 1, "settings": SETTINGS.to_dict(), "files": 0}
    score_all(output, plan(OLD), OLD)
    assert record() == {"state": "complete", "run": 2, "settings": SETTINGS.to_dict(), "files": len(OLD)}
    history = [storage.read(output.location.join("_ser", "runs", f"{number}.json")) for number in (1, 2)]
    assert [json.loads(text)["state"] for text in history] == ["stopped", "complete"]


def test_full_disk_stops_the_run_and_fails_nothing(
    output: Output, plan: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = score(output, plan(OLD), OLD)
    next(steps)
    with monkeypatch.context() as patch:

        def refuse(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(DeltaLog, "_write", refuse)
        with pytest.raises(ServiceError, match="disk is full"):
            list(steps)
    score_all(output, plan(OLD), OLD)
    check_complete(output.location, OLD)


def test_signal_right_after_a_commit_ends_the_run(
    output: Output, plan: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = output.open().begin(SETTINGS, LABELS, on_event=say_nothing)
    write = DeltaTable.create_write_transaction

    def be_interrupted(*args: Any, **kwargs: Any) -> None:
        write(*args, **kwargs)
        raise InterruptedRunError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(DeltaTable, "create_write_transaction", be_interrupted)
        with pytest.raises(InterruptedRunError, match="stopped"):
            begun.commit(*rows_of(OLD, 1))
    score_all(output, plan(OLD), OLD)
    check_complete(output.location, OLD)
