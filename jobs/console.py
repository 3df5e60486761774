"""What a person or a program sees: results on standard output, progress and logs on standard error."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.progress import Progress

    from ser_core.tables import Totals

OutputMode = Literal["human", "json"]
_LINE_EVERY_SECONDS = 10.0
_VERBOSE_LINE_EVERY_SECONDS = 1.0


@dataclass
class Console:
    """One place that writes; `quiet` leaves results and errors alone."""

    mode: OutputMode = "human"
    quiet: bool = False
    verbose: bool = False

    def result(self, text: str, data: object) -> None:
        """The command's answer: `text` for people, or `data` as one JSON line."""
        print(json.dumps(data, ensure_ascii=False) if self.mode == "json" else text, flush=True)

    def say(self, line: str) -> None:
        """A line about the work."""
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)

    def detail(self, line: str) -> None:
        """A line that only --verbose shows."""
        if self.verbose:
            self.say(line)

    def fail(self, line: str) -> None:
        """The one line that ends a run."""
        print(f"ser: {line}", file=sys.stderr, flush=True)

    @contextmanager
    def progress(self, num_files: int) -> Iterator["ScoreProgress"]:
        """Live progress on a terminal, plain lines elsewhere, nothing when quiet."""
        if self.quiet:
            yield ScoreProgress(num_files, None, None)
        elif sys.stderr.isatty():
            with _live_bar() as bar:
                yield ScoreProgress(num_files, bar, None)
        else:
            yield ScoreProgress(num_files, None, self)


def _live_bar() -> "Progress":
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        MofNCompleteColumn(),
        TextColumn("files"),
        BarColumn(),
        TextColumn("{task.fields[rates]}"),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=RichConsole(stderr=True),
    )


@dataclass
class ScoreProgress:
    """Shows how far a scoring run is."""

    num_files: int
    _bar: "Progress | None"
    _lines: Console | None
    _began: float = field(default_factory=time.monotonic)
    _task: Any = None
    _last_line: float = field(default_factory=time.monotonic)

    def update(self, totals: "Totals") -> None:
        seconds = max(time.monotonic() - self._began, 1e-3)
        rates = (
            f"{totals.num_windows / seconds:.0f} windows/s, {totals.audio_seconds / 3600 / seconds:.3f} audio hours/s, "
            f"{totals.num_failed} failed"
        )
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task("score", total=self.num_files, rates=rates)
            self._bar.update(self._task, completed=totals.num_files, rates=rates)
        if self._lines is None:
            return
        every_seconds = _VERBOSE_LINE_EVERY_SECONDS if self._lines.verbose else _LINE_EVERY_SECONDS
        if time.monotonic() - self._last_line >= every_seconds:
            self._last_line = time.monotonic()
            left = f", {_minutes(seconds, totals.num_files, self.num_files)} left" if totals.num_files else ""
            done = f"{totals.num_files}/{self.num_files} files, {totals.num_windows} windows"
            self._lines.say(f"{done}, {rates}{left}")


def _minutes(seconds: float, done: int, total: int) -> str:
    left_seconds = seconds / done * (total - done)
    return f"{left_seconds / 60:.1f} min" if left_seconds >= 60 else f"{left_seconds:.0f} s"
