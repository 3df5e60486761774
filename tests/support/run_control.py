"""Starts, watches, stops and kills whole runs."""

import os
import random
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
from deltalake.exceptions import TableNotFoundError

from tests.support.cli import files, ser_here, start
from tests.support.processes import abort, kill_all
from tests.support.ray_cluster import RayCluster


def num_committed(output: str | Path, options: dict[str, str] | None = None) -> int:
    """Files in the files table now."""
    try:
        return files(output, options).num_rows
    except (TableNotFoundError, OSError):
        return 0


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], timeout: float = 180) -> None:
    """Wait until the condition holds; the run must not have ended before."""
    until = time.monotonic() + timeout
    while True:
        began = time.monotonic()
        if condition():
            return
        assert process.poll() is None, process.communicate(timeout=30)[1]
        assert time.monotonic() < until, abort(process)
        # Looking takes the processor from what is looked at: at most a third of the time.
        time.sleep(max(0.05, 2 * (time.monotonic() - began)))


def actors(cluster: RayCluster, process: subprocess.Popen[str], name: str) -> list[psutil.Process]:
    """The workers of a cluster's last run that hold an actor of this class."""
    began = psutil.Process(process.pid).create_time()
    found = []
    for child in psutil.Process(cluster.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.create_time() > began and name in " ".join(child.cmdline()):
                found.append(child)
    return found


class Follower:
    """Reads a run's standard error line by line, with the time of each."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[tuple[float, str]] = []
        self._process = process
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append((time.monotonic(), line))

    def has(self, words: str) -> bool:
        return any(words in line for _, line in self.lines)

    def wait_for(self, words: str, timeout: float = 180) -> None:
        """Wait until the run says these words; where it ends or takes too long, the failure is what it said."""
        until = time.monotonic() + timeout
        while not self.has(words):
            is_late = time.monotonic() > until
            if is_late:
                self.lines.append((time.monotonic(), abort(self._process)))
            assert not (self.is_over or is_late) or self.has(words), self.text
            time.sleep(0.05)

    @property
    def text(self) -> str:
        """All that the run has said until now."""
        return "".join(line for _, line in self.lines)

    @property
    def is_over(self) -> bool:
        """Whether the last line was read."""
        return not self._thread.is_alive()

    def close(self) -> None:
        """Wait for the last line."""
        self._thread.join(10)


def kill_at_five_moments(source: str | Path, output: str | Path, *options: str) -> None:
    """Start the run and kill it, five times, at random moments of every phase; prints the seed.

    What it leaves is whole each time, but for what the next run mends.
    """
    seed = int(os.environ.get("SER_TEST_SEED", random.randrange(10**6)))
    print(f"SER_TEST_SEED={seed}")
    chance = random.Random(seed)
    for phase, longest_seconds in (
        ("listing the source", 0.1),
        ("scoring", 8.0),
        ("comparing with what is there", 8.0),
        ("comparing with what is there", 12.0),
        ("finishing", 0.3),
    ):
        process = start("score", source, output, "--commit-seconds", "0.5", "--verbose", *options)
        follower = Follower(process)
        follower.wait_for(phase)
        until = time.monotonic() + chance.uniform(0, longest_seconds)
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        if process.poll() is None:
            kill_all(process)
        follower.close()
        left = ser_here("verify", output)
        assert left.code == 0 or "holds no results" in left.err, left
