"""The time that a program sees, which passes by command."""

import time
from dataclasses import dataclass

import pytest


@dataclass
class Clock:
    """In the place of `time.monotonic`; `now` is in seconds."""

    now: float = 1000.0

    @classmethod
    def set_up(cls, monkeypatch: pytest.MonkeyPatch) -> "Clock":
        clock = cls()
        monkeypatch.setattr(time, "monotonic", lambda: clock.now)
        return clock
