"""Ctrl-C, SIGTERM and SIGHUP, so that a run ends cleanly and says how to go on."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jobs.signals import SIGNALS
from ser_core.errors import InterruptedRunError


class Interrupts:
    """Within it, a signal is an exception at once, or sets an event while `calm`; a second one always ends the run."""

    def __init__(self) -> None:
        self._calm: threading.Event | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                # nohup has this one ignored.
                if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._on_signal)
        return self

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

    def _on_signal(self, *_: object) -> None:
        if self._calm is not None and not self._calm.is_set():
            self._calm.set()
            return
        raise InterruptedRunError("stopped; run the same command to go on")
