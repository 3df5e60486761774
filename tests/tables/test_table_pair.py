"""Two runs on one output: of those that get past the lock, one goes on."""

import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from deltalake import DeltaTable

from ser_core.errors import OutputError, SupersededError
from ser_core.storage.location import Location
from ser_core.storage.lock import Lock
from ser_core.tables.commits import Change, Stamp
from ser_core.tables.delta_log import DeltaLog
from ser_core.tables.output import Output
from ser_core.tables.table_pair import TablePair
from tests.support.processes import first_line, launch, stop
from tests.support.tables import (
    LABELS,
    NOW,
    OLD,
    SETTINGS,
    World,
    check_complete,
    check_snapshot,
    rows_of,
    say_nothing,
    score_all,
)

pytestmark = pytest.mark.usefixtures("quick_disk")


def test_two_runs_that_take_the_same_number(output: Output, plan: Callable[[World], Path]) -> None:
    score_all(output, plan(OLD), OLD)
    first, second = TablePair(output.location), TablePair(output.location)
    transact = DeltaLog.transact
    with pytest.MonkeyPatch.context() as patch:

        def let_the_first_come_between(log: DeltaLog, change: Change, stamp: Stamp) -> None:
            patch.setattr(DeltaLog, "transact", transact)
            first.fence()
            log.transact(change, stamp)

        patch.setattr(DeltaLog, "transact", let_the_first_come_between)
        with pytest.raises(SupersededError, match="a newer run"):
            second.fence()
    first.look()


def test_an_older_run_that_comes_between_does_not_stop_a_newer_one(
    output: Output, plan: Callable[[World], Path]
) -> None:
    """Both would stop otherwise: the older one has lost predictions by then."""
    score_all(output, plan(OLD), OLD)
    older, newer = TablePair(output.location), TablePair(output.location)
    assert older.exists()
    number, commit = older.predictions.stamp.owner + 1, older.predictions.stamp.commit
    # It takes the first table over, and sleeps.
    older.predictions.transact(Change(), Stamp(number, commit))
    transact = DeltaLog.transact
    with pytest.MonkeyPatch.context() as patch:

        def let_the_older_come_between(log: DeltaLog, change: Change, stamp: Stamp) -> None:
            if log is newer.files:
                patch.setattr(DeltaLog, "transact", transact)
                older.files.transact(Change(), Stamp(number, commit))
            transact(log, change, stamp)

        patch.setattr(DeltaLog, "transact", let_the_older_come_between)
        newer.fence()
    older.stamp = Stamp(number, commit)
    with pytest.raises(SupersededError):
        older.look()
    newer.recover()
    newer.look()


def test_another_program_in_between_stops_the_run(output: Output, plan: Callable[[World], Path]) -> None:
    begun = output.open().begin(SETTINGS, LABELS, on_event=say_nothing)
    begun.commit(*rows_of(OLD, 1))
    DeltaTable(output.location.join("predictions").url).alter.set_table_name("renamed")
    with pytest.raises(OutputError, match="another program"):
        begun.finish({})
    score_all(output, plan(OLD), OLD)
    check_complete(output.location, OLD)


def _child(output: Location, plan: Path, host: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.tables_child", output.url, str(plan), host, *options]
    return launch(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    "any_place",
    ["folder", *(pytest.param(place, marks=pytest.mark.heavy) for place in ("moto_s3", "ceph_s3"))],
    indirect=True,
)
def test_stopped_holder_that_goes_on_commits_nothing(any_place: Location, plan: Callable[[World], Path]) -> None:
    file = plan(NOW)
    older = _child(any_place, file, "host-a", "lock", "wait")
    assert first_line(older) == "ready\n"
    stop(older)
    newer = Output(any_place, make_lock=partial(Lock, host="host-b", beat_seconds=0.05, watch_seconds=0.5))
    lines: list[str] = []
    with newer.lock(lines.append):
        score_all(newer, file, NOW)
    assert "host-a" in lines[0]
    older.send_signal(signal.SIGCONT)
    said, _ = older.communicate("\n", timeout=60)
    assert said.splitlines() == [f"SupersededError: {any_place}: a newer run took the output over; this one stops"]
    check_complete(any_place, NOW)


@pytest.mark.parametrize("attempt", [0, *(pytest.param(number, marks=pytest.mark.heavy) for number in range(1, 3))])
@pytest.mark.parametrize(
    "any_place",
    ["folder", *(pytest.param(place, marks=pytest.mark.heavy) for place in ("moto_s3", "ceph_s3"))],
    indirect=True,
)
def test_two_drivers_forced_past_the_lock(any_place: Location, plan: Callable[[World], Path], attempt: int) -> None:
    file = plan(NOW)
    children = [_child(any_place, file, host) for host in ("host-a", "host-b")]
    ends = sorted(child.communicate(timeout=120)[0].splitlines()[-1] for child in children)
    check_snapshot(any_place, NOW)
    if ends != ["ended", "ended"]:
        assert ends[0].startswith(("SupersededError", "OutputError"))
        assert ends[1] == "ended"
    check_complete(any_place, NOW)
