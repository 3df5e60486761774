"""The politeness lock: a file that says who runs, and beats.

It spares a second run its work, no more: it may fail in any way, and the tables stay exact (table_pair.py).
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

import psutil

from ser_core.errors import OutputBusyError, OutputError, SerError
from ser_core.storage import location as storage
from ser_core.storage.location import Location

#: Process start times are derived from the boot time, which a correction of the clock shifts a little.
_START_TOLERANCE_SECONDS = 1.0
_LOOKS_PER_BEAT = 4


@dataclass(frozen=True)
class Holder:
    """Who holds the lock. `process_start` (seconds since the epoch) tells a process from a later one of its pid."""

    host: str
    pid: int
    process_start: float
    token: str
    beat: int = 0

    def __str__(self) -> str:
        start = datetime.fromtimestamp(self.process_start, UTC).isoformat(" ", "seconds")
        return f"host {self.host}, pid {self.pid}, started {start}"

    def is_alive(self) -> bool:
        """Whether the process still runs; of use on its own host alone."""
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.process_start) <= _START_TOLERANCE_SECONDS
            return is_same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


class Lock:
    """The lock of one output; making one touches nothing."""

    def __init__(self, file: Location, *, host: str | None, beat_seconds: float, watch_seconds: float) -> None:
        """`host`: None for this machine's name. A lock of another host is watched for `watch_seconds`."""
        self._file = file
        self._beat_seconds = beat_seconds
        self._watch_seconds = watch_seconds
        process_start = psutil.Process().create_time()
        self._me = Holder(host or socket.gethostname(), os.getpid(), process_start, uuid.uuid4().hex)

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
        while not storage.put_new(self._file, _to_json(self._me)):
            holder = self._read()
            why_dead = self._why_dead(holder) if holder else None
            if why_dead:
                storage.put(self._file, _to_json(self._me))
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
                storage.put(self._file, _to_json(self._me))

    def _is_mine(self) -> bool:
        holder = self._read()
        return holder is not None and holder.token == self._me.token

    def _read(self) -> Holder | None:
        try:
            return Holder(**json.loads(storage.read(self._file)))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise OutputError(f"{self._file} is no lock of this program; delete it if no run is alive") from error


def _to_json(holder: Holder) -> bytes:
    return json.dumps(asdict(holder), indent=2).encode()
