"""Ctrl-C and SIGTERM at any moment: one line, exit 130 in seconds, and nothing left running."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from jobs.interrupts import Interrupts
from ser_core.errors import InterruptedRunError
from tests.support.archive import write_archive
from tests.support.cli import ROOT, assert_one_line, finish, start
from tests.support.processes import assert_none_left, session_of
from tests.support.run_control import wait_for

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_raises_at_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(InterruptedRunError, match="run the same command"), Interrupts():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_a_hangup_that_nohup_keeps_away_stays_away() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


_SIGNALLED_WHILE_LOADING = """
import os, sys
module, number = sys.argv.pop(1), int(sys.argv.pop(1))
class Finder:
    def find_spec(name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), number)
sys.meta_path.insert(0, Finder)
from jobs.start import main
main()
"""


@pytest.mark.parametrize(
    ("module", "number"),
    [
        ("jobs.cli", signal.SIGINT),
        ("pydantic", signal.SIGTERM),
        ("jobs.score", signal.SIGHUP),
        ("torch", signal.SIGINT),
    ],
)
def test_a_signal_while_the_command_loads_ends_it_in_a_line(
    tmp_path: Path, module: str, number: signal.Signals
) -> None:
    write_archive(tmp_path / "in", 1)
    words = ["score", str(tmp_path / "in"), str(tmp_path / "out")]
    command = [sys.executable, "-c", _SIGNALLED_WHILE_LOADING, module, str(int(number)), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    assert (done.returncode, done.stderr) == (130, "ser: interrupted\n")
    assert not (tmp_path / "out").exists()


def test_nothing_is_loaded_before_signals_are_handled() -> None:
    """What Python has not loaded by itself (as it has os) takes time, in which Ctrl-C would be a traceback."""
    program = "import os, sys; before = {*sys.modules}; import jobs.start; print(*sorted({*sys.modules} - before))"
    command = [sys.executable, "-S", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=ROOT)
    assert done.stdout.split() == ["jobs", "jobs.signals", "jobs.start"]


def test_while_calm_the_first_signal_sets_the_event_and_the_second_raises() -> None:
    stop = threading.Event()
    with Interrupts() as interrupts, interrupts.calm(stop):
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_set()
        with pytest.raises(InterruptedRunError):
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive") / "in"
    write_archive(folder, 60)
    return folder


def commands(process: "subprocess.Popen[str]") -> list[str]:
    """The command lines of a run's processes."""
    found = []
    for pid in session_of(process):
        with suppress(psutil.Error):
            found.append(" ".join(psutil.Process(pid).cmdline()))
    return found


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """For temporary files; Ray's sockets lie there too, and their paths may not be long."""
    folder = Path(tempfile.mkdtemp())
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.ray
@pytest.mark.parametrize(
    ("number", "started"),
    [
        (signal.SIGTERM, "gcs_server"),
        # Not heavy, with Ray further on its way: the test of Ctrl-C in tests/cluster/test_session.py.
        pytest.param(signal.SIGINT, "raylet/raylet", marks=pytest.mark.heavy),
        pytest.param(signal.SIGINT, "gcs_server", marks=pytest.mark.heavy),
        pytest.param(signal.SIGTERM, "raylet/raylet", marks=pytest.mark.heavy),
        pytest.param(signal.SIGINT, "DashboardAgent", marks=pytest.mark.heavy),
        pytest.param(signal.SIGTERM, "DashboardAgent", marks=pytest.mark.heavy),
    ],
)
def test_a_signal_while_ray_starts_ends_all(
    source: Path, tmp_path: Path, short_folder: Path, number: signal.Signals, started: str
) -> None:
    output = tmp_path / "out"
    process = start("score", source, output, "--engine", "ray", TMPDIR=str(short_folder))
    wait_for(lambda: any(started in command for command in commands(process)), process)
    before = time.monotonic()
    # Ctrl-C reaches everything that the terminal runs; SIGTERM the process it is sent to.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    answer = finish(process, timeout=60)
    assert time.monotonic() - before < 10
    assert_one_line(answer, 130, "run the same command to go on")
    assert answer.err.count("ser: ") == 1
    assert_none_left(process)
    assert json.loads((output / "run.json").read_text())["state"] == "stopped"
    assert not (output / "_ser" / "lock.json").exists()
    assert not list(short_folder.glob("ser-*"))
