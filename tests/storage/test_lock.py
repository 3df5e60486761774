"""The politeness lock, held by real processes."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from ser_core.errors import OutputBusyError, OutputError, ServiceError, UsageError
from ser_core.storage import location as storage
from ser_core.storage.location import Location
from ser_core.storage.lock import Lock
from tests.support.processes import first_line, launch, stop

HOLDER = """
import sys, time
from ser_core.storage.lock import Lock
from ser_core.storage.location import Location
with Lock(Location(sys.argv[1]), host=sys.argv[2], beat_seconds=0.05, watch_seconds=0.5).held(print):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def file(tmp_path: Path) -> Location:
    return Location(str(tmp_path / "_ser" / "lock.json"))


def _lock(file: Location, host: str | None = None, beat_seconds: float = 0.05, watch_seconds: float = 0.5) -> Lock:
    return Lock(file, host=host, beat_seconds=beat_seconds, watch_seconds=watch_seconds)


@contextmanager
def _holder(file: Location, host: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, file.url, host]
    process = launch(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first_line(process) == "held\n"
    yield process


def test_live_process_of_this_host_is_named_at_once(file: Location) -> None:
    host = socket.gethostname()
    with _holder(file, host) as process:
        began = time.monotonic()
        with pytest.raises(OutputBusyError) as refused, _lock(file, watch_seconds=60).held(print):
            pass
        assert time.monotonic() - began < 5
    assert host in str(refused.value)
    assert f"pid {process.pid}" in str(refused.value)
    assert time.strftime("%Y-%m-%d", time.gmtime()) in str(refused.value)


def test_killed_process_of_this_host_is_taken_over_at_once(file: Location) -> None:
    lines: list[str] = []
    with _holder(file, socket.gethostname()) as process:
        # Until its parent asks for its exit code, the process stays in the table as a zombie.
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with _lock(file, watch_seconds=60).held(lines.append):
            assert len(lines) == 1
    assert f"pid {process.pid}" in lines[0]
    assert not storage.exists(file)


def test_reused_pid_does_not_fool_it(file: Location) -> None:
    mine = psutil.Process()
    earlier = {"host": socket.gethostname(), "pid": mine.pid, "process_start": mine.create_time() - 60, "token": "x"}
    storage.put(file, json.dumps({**earlier, "beat": 3}).encode())
    lines: list[str] = []
    with _lock(file, watch_seconds=60).held(lines.append):
        assert "its process is gone" in lines[0]


def test_a_clock_that_jumps_does_not_make_a_live_holder_look_dead(file: Location) -> None:
    with _holder(file, socket.gethostname()) as process:
        # Start times are the boot's and the ticks since then: set forward, the clock moves the boot, and so all starts.
        process.send_signal(signal.SIGSTOP)
        holder = json.loads(storage.read(file))
        storage.put(file, json.dumps(holder | {"process_start": holder["process_start"] - 3600}).encode())
        with pytest.raises(OutputBusyError, match=f"pid {process.pid}"):
            _lock(file).held(print).__enter__()
        process.send_signal(signal.SIGCONT)


def test_a_lock_of_an_earlier_version_is_understood(file: Location) -> None:
    mine = psutil.Process()
    ours = {"host": socket.gethostname(), "pid": mine.pid, "process_start": mine.create_time(), "token": "x", "beat": 3}
    storage.put(file, json.dumps(ours).encode())
    with pytest.raises(OutputBusyError, match=f"pid {mine.pid}"):
        _lock(file).held(print).__enter__()


def test_a_later_process_with_its_pid_is_told_from_it(file: Location) -> None:
    with _holder(file, socket.gethostname()) as process:
        stop(process)
        holder = json.loads(storage.read(file))
        ticks, _, of_boot = holder["since_boot"].partition(" ")
        for since_boot in (f"{int(ticks) - 1} {of_boot}", f"{ticks} {of_boot[:-1]}"):
            storage.put(file, json.dumps(holder | {"since_boot": since_boot}).encode())
            with _lock(file).held(lambda line: None):
                pass
        process.kill()


def test_beat_from_another_host_refuses_before_the_watch_ends(file: Location) -> None:
    with _holder(file, "another-host") as process:
        began = time.monotonic()
        with pytest.raises(OutputBusyError, match=f"another-host, pid {process.pid}"):
            _lock(file, watch_seconds=60).held(print).__enter__()
        assert time.monotonic() - began < 30


def test_silent_host_is_taken_over_after_the_watch(file: Location) -> None:
    lines: list[str] = []
    with _holder(file, "another-host") as process:
        stop(process)
        began = time.monotonic()
        with _lock(file, watch_seconds=0.5).held(lines.append):
            assert time.monotonic() - began >= 0.5
            assert "another-host" in lines[0]
            process.send_signal(signal.SIGCONT)
            _let_go(process)
            assert storage.exists(file), "the one taken over has deleted the lock of the other"
    assert not storage.exists(file)


def _let_go(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.close()
    assert process.wait(30) == 0


def test_lock_let_go_during_the_watch_is_taken(file: Location) -> None:
    with _holder(file, "another-host") as process:
        stop(process)
        storage.delete(file)
        with _lock(file).held(print):
            process.send_signal(signal.SIGCONT)


def test_holder_beats_and_lets_go(file: Location) -> None:
    with _lock(file).held(print):
        first = json.loads(storage.read(file))
        deadline = time.monotonic() + 30
        while (now := json.loads(storage.read(file)))["beat"] < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert now["token"] == first["token"]
    assert not storage.exists(file)


def test_failing_beat_does_not_stop_the_run(file: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    real_put, num_failed = storage.put, 0

    def fail_twice(location: Location, data: bytes) -> None:
        nonlocal num_failed
        if num_failed < 2:
            num_failed += 1
            raise ServiceError("the disk is full")
        real_put(location, data)

    monkeypatch.setattr(storage, "put", fail_twice)
    with _lock(file).held(print):
        deadline = time.monotonic() + 30
        while json.loads(storage.read(file))["beat"] == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert num_failed == 2
    assert not storage.exists(file)


@pytest.mark.parametrize(
    "other",
    [
        b"", b"[]", b"[" * 2_000, b"\xff", b"{}",
        {"host": 1}, {"pid": "1"}, {"pid": -1}, {"pid": 10**30}, {"beat": None},
        {"process_start": "now"}, {"process_start": 1e99}, {"process_start": math.nan}, {"token": 5}, {"more": 1},
    ],
)  # fmt: skip
def test_foreign_lock_file_is_watched_then_taken_over(file: Location, other: bytes | dict[str, Any]) -> None:
    ours = {"host": socket.gethostname(), "pid": 1, "process_start": 1.0, "token": "a", "beat": 0}
    storage.put(file, other if isinstance(other, bytes) else json.dumps(ours | other).encode())
    lines: list[str] = []
    with Lock(file, beat_seconds=0.1, watch_seconds=0.01).held(lines.append):
        pass
    assert lines == [
        "took over the lock of a dead run (its file is no lock of this program): it gave no sign of life for 0.01 s"
    ]
    assert not storage.exists(file)


@pytest.mark.parametrize(
    ("put", "words"),
    [
        (Path.mkdir, "it is a folder, not a file"),
        (os.mkfifo, "it is a device or pipe, not a file"),
        (lambda place: place.symlink_to("/nowhere/at/all"), "it is a link that leads nowhere"),
        (lambda place: place.symlink_to("/dev/zero"), "it is a device or pipe, not a file"),
    ],
)
def test_what_is_no_file_in_the_place_of_the_lock_is_told(
    file: Location, put: Callable[[Path], None], words: str
) -> None:
    """And neither waited for nor tried again for ever."""
    Path(file.path).parent.mkdir()
    put(Path(file.path))
    with pytest.raises(OutputError, match=rf"lock.json: cannot be read \({words}\); delete it if no run is alive"):
        _lock(file).held(print).__enter__()


@pytest.mark.parametrize("text", ["5s", "0", "nan", "-1"])
def test_a_beat_that_is_no_number_of_seconds_is_one_line(
    file: Location, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SER_LOCK_BEAT_SECONDS", text)
    with pytest.raises(
        UsageError, match=f"^SER_LOCK_BEAT_SECONDS must be a number of seconds, 0.1 or more .* not '{text}'"
    ):
        Lock(file)
