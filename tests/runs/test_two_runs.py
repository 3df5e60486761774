"""Two runs on one output: the second is turned away, or takes over, and the tables stay exact."""

import json
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from ser_core.storage.location import Location, delete, exists, read
from tests.conftest import S3Server
from tests.support.archive import expected_keys, keys, write_archive
from tests.support.as_host import lock_as
from tests.support.cli import as_host, assert_one_line, finish, predictions, ser, ser_here, start
from tests.support.processes import kill_all, stop
from tests.support.run_control import num_committed, wait_for

QUICK = {"SER_LOCK_BEAT_SECONDS": "0.3"}
#: Two runs find their places on a cluster of two cores at the same time.
SMALL = ("--cpus", "1", "--commit-seconds", "0.2")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("archive") / "in"
    return folder, write_archive(folder, 80)


def begin(source: Path, output: Location, before: Sequence[str] = ()) -> subprocess.Popen[str]:
    """A run that has committed some files and has more to do."""
    process = start("score", source, output.url, *SMALL, before=before, **QUICK)
    wait_for(lambda: num_committed(output.url, output.delta_options()) > 0, process)
    return process


def rows(output: Location) -> pa.Table:
    return predictions(output.url, output.delta_options())


def assert_taken_over(source: Path, output: Location, expected: dict[str, float]) -> None:
    """A holder is stopped, taken over from another host, and continued: it commits nothing and says why."""
    holder = begin(source, output, before=as_host("here"))
    stop(holder)
    other = ser("score", source, output.url, *SMALL, before=as_host("elsewhere"), **QUICK)
    assert other.code == 0, other.err
    assert "here" in other.err
    before = rows(output)
    holder.send_signal(signal.SIGCONT)
    assert_one_line(finish(holder), 1, "newer run")
    assert rows(output).equals(before)
    assert keys(before) == expected_keys(expected)
    assert json.loads(read(output.join("run.json")))["state"] == "complete"


def test_a_second_run_is_turned_away_and_a_killed_ones_lock_taken_over(
    archive: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    source, seconds_of = archive
    output = Location(str(tmp_path / "out"))
    process = start("score", source, output.url, *SMALL, **QUICK)
    lock = output.join("_ser", "lock.json")
    wait_for(lambda: exists(lock), process)
    same_host = ser_here("score", source, output.url, **QUICK)
    assert_one_line(same_host, 1, str(process.pid), json.loads(read(lock))["host"])
    with pytest.MonkeyPatch.context() as patch:
        lock_as("elsewhere", patch)
        other_host = ser_here("score", source, output.url, **QUICK)
    assert_one_line(other_host, 1, str(process.pid))
    kill_all(process)
    answer = ser_here("score", source, output.url, *SMALL, **QUICK)
    assert answer.code == 0, answer.err
    assert str(process.pid) in answer.err
    assert keys(rows(output)) == expected_keys(seconds_of)
    assert not exists(lock)


@pytest.mark.heavy
def test_a_stopped_holder_that_was_taken_over_commits_nothing(
    archive: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    assert_taken_over(archive[0], Location(str(tmp_path / "out")), archive[1])


@pytest.mark.heavy
def test_a_stopped_holder_that_was_taken_over_commits_nothing_on_s3(
    archive: tuple[Path, dict[str, float]], ceph_s3: S3Server
) -> None:
    assert_taken_over(archive[0], ceph_s3.location.join("out"), archive[1])


@pytest.mark.heavy
def test_of_two_runs_past_the_lock_one_goes_on(archive: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    source, seconds_of = archive
    output = Location(str(tmp_path / "out"))
    first = begin(source, output)
    stop(first)
    delete(output.join("_ser", "lock.json"))
    second = start("score", source, output.url, *SMALL, **QUICK)
    wait_for(lambda: json.loads(read(output.join("run.json")))["run"] == 2, second)
    first.send_signal(signal.SIGCONT)
    answers = [finish(first), finish(second)]
    assert [answer.code for answer in answers] == [1, 0], answers
    assert_one_line(answers[0], 1, "newer run")
    assert keys(rows(output)) == expected_keys(seconds_of)
