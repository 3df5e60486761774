"""The politeness lock: a file that names the run that holds it, and beats.

It spares a second run its work, no more: it may fail in any way, and the tables stay exact (table_pair.py).
"""

import os
import socket
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import psutil

from ser_core.encoding import json_bytes, read_json
from ser_core.errors import OutputBusyError, SerError
from ser_core.settings import seconds_from_environment
from ser_core.storage import location as storage
from ser_core.storage.location import Location, one_line_faults

#: What a lock of before this program noted the boot may differ by: the clock is corrected a little.
_START_TOLERANCE_SECONDS = 1.0
_BEAT_SECONDS = 5.0
_SHORTEST_BEAT_SECONDS = 0.1
_BEATS_WATCHED = 3
_LOOKS_PER_BEAT = 4
#: A lock file with larger numbers was not written by this program.
_LARGEST_PID = 2**31 - 1
_LATEST_START = 1e11


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock."""

    host: str
    pid: int
    #: Seconds since the epoch, by the clock as it was then: for people.
    process_start: float
    token: str
    beat: int = 0
    #: When the process started, whatever becomes of the clock; by it none is taken for a later one with its pid.
    since_boot: str = ""

    def __str__(self) -> str:
        if not self.host:
            return "its file is no lock of this program"
        start = datetime.fromtimestamp(self.process_start, UTC).isoformat(" ", "seconds")
        return f"host {self.host}, pid {self.pid}, started {start}"

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read what `to_json` wrote; ValueError or TypeError where it is anything else."""
        holder = cls(**read_json(data))
        kinds = {"host": str, "pid": int, "process_start": float, "token": str, "beat": int, "since_boot": str}
        if any(type(value) is not kinds[name] for name, value in asdict(holder).items()):
            raise TypeError
        if not (0 < holder.pid <= _LARGEST_PID and 0 <= holder.process_start <= _LATEST_START):
            raise ValueError
        return holder

    def to_json(self) -> bytes:
        return json_bytes(asdict(self))

    def is_alive(self) -> bool:
        """Whether the process still runs; only its own host can know."""
        try:
            process = psutil.Process(self.pid)
            if self.since_boot:
                is_same = _since_boot(self.pid) == self.since_boot
            else:
                is_same = abs(process.create_time() - self.process_start) <= _START_TOLERANCE_SECONDS
            return is_same and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, OSError):
            return False


def _since_boot(pid: int) -> str:
    """Which boot of this machine a process is of, and after how many clock ticks of it it started; see proc(5)."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return f"{fields[19]} ticks after the start of boot {boot}"


class Lock:
    """The lock of one output; making one touches nothing."""

    def __init__(
        self,
        file: Location,
        *,
        host: str | None = None,
        beat_seconds: float | None = None,
        watch_seconds: float | None = None,
    ) -> None:
        """Settle who the holder would be.

        Args:
            file: where the lock lies.
            host: the holder's; None: this machine's name.
            beat_seconds: between two signs of life; None: the environment variable SER_LOCK_BEAT_SECONDS, or 5.
            watch_seconds: how long a lock of another host is watched for a sign of life; None: three beats.

        Raises:
            UsageError: SER_LOCK_BEAT_SECONDS holds no number of seconds.
        """
        self._file = file
        self._beat_seconds = (
            seconds_from_environment("SER_LOCK_BEAT_SECONDS", _BEAT_SECONDS, minimum=_SHORTEST_BEAT_SECONDS)
            if beat_seconds is None
            else beat_seconds
        )
        self._watch_seconds = _BEATS_WATCHED * self._beat_seconds if watch_seconds is None else watch_seconds
        pid = os.getpid()
        self._me = Holder(
            host=host or socket.gethostname(),
            pid=pid,
            process_start=psutil.Process().create_time(),
            token=uuid.uuid4().hex,
            since_boot=_since_boot(pid),
        )

    @contextmanager
    def held(self, on_takeover: Callable[[str], None]) -> Iterator[None]:
        """Hold the lock; `on_takeover` gets a line when it was a dead run's.

        Raises:
            OutputBusyError: a live run holds it, naming host, pid and start.
        """
        self._acquire(on_takeover)
        released = threading.Event()
        beating = threading.Thread(target=self._beat, args=(released,), name="ser-lock", daemon=True)
        beating.start()
        try:
            yield
        finally:
            released.set()
            beating.join()
            # The run's own outcome matters more than a lock left behind.
            with suppress(SerError, OSError):
                if self._is_mine():
                    storage.delete(self._file)

    def _acquire(self, on_takeover: Callable[[str], None]) -> None:
        while not storage.put_new(self._file, self._me.to_json()):
            holder = self._read()
            why_dead = self._why_dead(holder) if holder else None
            if why_dead:
                storage.put(self._file, self._me.to_json())
                on_takeover(f"took over the lock of a dead run ({holder}): {why_dead}")
                return

    def _why_dead(self, holder: Holder) -> str | None:
        """Why the holder is taken for dead; None if it let go of the lock meanwhile."""
        if holder.host == self._me.host:
            if holder.is_alive():
                raise OutputBusyError(f"another run holds the output: {holder}; wait for it or stop it")
            return "its process is gone"
        deadline = time.monotonic() + self._watch_seconds
        while time.monotonic() < deadline:
            time.sleep(min(self._beat_seconds / _LOOKS_PER_BEAT, self._watch_seconds))
            seen = self._read()
            if seen is None:
                return None
            if seen != holder:
                raise OutputBusyError(f"another run holds the output and beats: {seen}; wait for it or stop it")
        return f"it gave no sign of life for {self._watch_seconds:g} s"

    def _beat(self, released: threading.Event) -> None:
        while not released.wait(self._beat_seconds):
            # A missed beat harms nobody; the next one may succeed.
            with suppress(Exception):
                if not self._is_mine():
                    return
                self._me = replace(self._me, beat=self._me.beat + 1)
                storage.put(self._file, self._me.to_json())

    def _is_mine(self) -> bool:
        holder = self._read()
        return holder is not None and holder.token == self._me.token

    def _read(self) -> Holder | None:
        advice = "delete it if no run is alive"
        try:
            with one_line_faults(self._file, "cannot be read", advice, passes=FileNotFoundError):
                data = storage.read(self._file)
        except FileNotFoundError:
            return None
        try:
            return Holder.from_json(data)
        except (ValueError, TypeError):
            # Whoever holds it, and if anyone does, shows in whether it changes.
            return Holder(host="", pid=0, process_start=0, token="", beat=zlib.crc32(data))
