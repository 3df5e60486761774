"""Ctrl-C, SIGTERM and SIGHUP, so that a run ends cleanly and says how to go on."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from jobs.console import Console
from jobs.signals import SIGNALS
from ser_core.errors import InterruptedRunError

#: Longest time that the end takes after a signal while Ray starts; storage that is away would hold it up.
_LONGEST_END_SECONDS = 5.0


class Interrupts:
    """Within it, a signal is an exception at once, or sets an event while `calm`; a second one always ends the run."""

    def __init__(self) -> None:
        self._calm: threading.Event | None = None
        self._is_watched = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self.install()
        return self

    def install(self) -> None:
        """Take the signals; again after code that took them for itself, as Ray does."""
        for number in SIGNALS:
            # nohup has this one ignored.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                previous = signal.signal(number, self._on_signal)
                self._previous.setdefault(number, previous)

    def __exit__(self, *_: object) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)

    @contextmanager
    def calm(self, event: threading.Event) -> Iterator[None]:
        """Within this, the first signal sets `event` instead of raising."""
        self._calm = event
        try:
            yield
        finally:
            self._calm = None

    @contextmanager
    def ends_by(self, end: Callable[[], None]) -> Iterator[None]:
        """Within this, a signal calls `end`, which must end the process, in a thread of its own.

        For code of others that may swallow an exception, take the signals for itself, or be stuck out of Python.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers, written = socket.socketpair()
        written.setblocking(False)

        def watch() -> None:
            while number := numbers.recv(1):
                if number[0] in SIGNALS:
                    end()

        watching = threading.Thread(target=watch, name="ser-signals", daemon=True)
        watching.start()
        previous = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
        self._is_watched = True
        try:
            yield
        finally:
            self.install()
            signal.set_wakeup_fd(previous)
            written.close()
            # A signal that came just now still ends the process.
            watching.join()
            self._is_watched = False
            numbers.close()

    def _on_signal(self, *_: object) -> None:
        if self._is_watched:
            return
        if self._calm is not None and not self._calm.is_set():
            self._calm.set()
            return
        raise InterruptedRunError("stopped; run the same command to go on")


def end_while_ray_starts(console: Console, close: Callable[[], None]) -> NoReturn:
    """Say so, `close` what is open as far as a few seconds allow, and end the process; for `Interrupts.ends_by`."""
    from cluster.session import leave

    console.fail("stopped while Ray started; run the same command to go on")
    code = InterruptedRunError.exit_code
    late = threading.Timer(_LONGEST_END_SECONDS, leave, (code,))
    late.daemon = True
    late.start()
    try:
        close()
    finally:
        leave(code)
