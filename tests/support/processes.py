"""Processes that tests start: none outlives its test, and with setpriv each dies with the test's own process."""

import os
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

#: What a process that was killed, or told to abort, may take to be gone.
_END_SECONDS = 30.0
#: What a killed process may take while the machine is busy.
_LAST_BREATH_SECONDS = 5.0
#: In front of a command; becomes the command itself.
_DYING_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
_of_this_test: "list[subprocess.Popen[Any]]" = []


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def num_descriptors() -> int:
    """Open descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


def launch(command: Sequence[str], *, outlives_test: bool = False, **options: Any) -> "subprocess.Popen[Any]":
    """Start a command in a session of its own; unless it `outlives_test`, `kill_launched` ends it."""
    process = subprocess.Popen([*_DYING_WITH_PARENT, *command], start_new_session=True, **options)
    if not outlives_test:
        _of_this_test.append(process)
    return process


def kill_launched() -> None:
    """Kill what is left of the test's processes, also of stopped ones, and of what they started themselves."""
    while _of_this_test:
        kill_all(_of_this_test.pop())


def first_line(process: subprocess.Popen[str], timeout: float = 120) -> str:
    """The first line on a process's standard output, for which it may take that many seconds."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], timeout)
    assert ready, f"no line in {timeout} s\n{abort(process)}"
    return process.stdout.readline()


def stop(process: "subprocess.Popen[Any]") -> None:
    """SIGSTOP; returns when no thread of the process runs any more, so that no write of it is on its way."""
    process.send_signal(signal.SIGSTOP)
    until = time.monotonic() + _END_SECONDS
    while any(state != "T" for state in _thread_states(process.pid)):
        assert time.monotonic() < until, "the process does not stop"
        time.sleep(0.01)


def kill_all(process: "subprocess.Popen[Any]") -> None:
    """SIGKILL to a launched process, and then to all that it started."""
    for pid in (process.pid, *session_of(process)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(_END_SECONDS)


def session_of(process: "subprocess.Popen[Any]") -> list[int]:
    """All processes of a launched one's session that have not ended; it may have left the session itself."""
    found = []
    for member in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            # What has ended may wait for long to be reaped by a process that took it over.
            if os.getsid(member.pid) == process.pid and member.status() != psutil.STATUS_ZOMBIE:
                found.append(member.pid)
    return found


def names_in(process: "subprocess.Popen[Any]") -> list[str]:
    """The names of all processes of a run."""
    found = []
    for pid in session_of(process):
        with suppress(psutil.Error):
            found.append(psutil.Process(pid).name())
    return found


def listeners(processes: list[psutil.Process]) -> set[str]:
    """The addresses that these processes take TCP connections at."""
    found = set()
    for process in processes:
        try:
            connections = process.net_connections("tcp")
        except psutil.Error:
            continue
        found |= {c.laddr.ip.removeprefix("::ffff:") for c in connections if c.status == psutil.CONN_LISTEN}
    return found


def assert_none_left(process: "subprocess.Popen[Any]") -> None:
    """All that an ended process started is gone, or is so in a moment: what was killed takes some time to end."""
    until = time.monotonic() + _LAST_BREATH_SECONDS
    while left := session_of(process):
        assert time.monotonic() < until, f"still there: {[_words_of(pid) for pid in left]}"
        time.sleep(0.05)


def _words_of(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        return f"{pid} ({process.name()}, {process.status()}): {' '.join(process.cmdline())}"
    except psutil.Error:
        return f"{pid}, which has ended"


def abort(process: "subprocess.Popen[str]") -> str:
    """End a process that hangs; what it has written and, started with PYTHONFAULTHANDLER, where its threads were."""
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGABRT)
    try:
        written = process.communicate(timeout=_END_SECONDS)
    except subprocess.TimeoutExpired as error:
        written = (error.output, error.stderr)
    kill_all(process)
    return "\n".join(text if isinstance(text, str) else text.decode() for text in written if text)


def peak_memory_bytes(pid: int | str = "self") -> int:
    """The most memory that a process ever held: its own, where getrusage counts in that of the one that started it."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def _thread_states(pid: int) -> list[str]:
    """The state of each thread, a letter as proc(5) has it."""
    return [stat.read_text().rpartition(") ")[2][0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
