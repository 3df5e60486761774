"""What a person or a program sees: results on standard output, progress and lines on standard error."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from jobs.streams import PlainStream
from ser_core.errors import SPECIAL_CHARACTER, printable, without_password

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

OutputMode = Literal["human", "json"]
_LINE_EVERY_SECONDS = 10.0
_VERBOSE_LINE_EVERY_SECONDS = 1.0
#: More of a line is never shown: what is wrong may be megabytes long.
_MAX_LINE_LETTERS = 4_000


@dataclass
class Console:
    """One place that writes; `quiet` leaves results and errors alone."""

    mode: OutputMode = "human"
    quiet: bool = False
    verbose: bool = False
    #: What the command is at.
    doing: ClassVar[str] = "ser"

    def result(self, lines: str | Sequence[str], data: object) -> None:
        """The command's answer: lines for people, or `data` as one JSON line.

        Raises:
            OutputError: standard output cannot be written.
        """
        print(_json(data) if self.mode == "json" else _text(lines), flush=True)

    def say(self, line: str) -> None:
        """A line about the work."""
        if not self.quiet:
            print(_line(line), file=sys.stderr, flush=True)

    def detail(self, line: str) -> None:
        """A line that only --verbose shows."""
        if self.verbose:
            self.say(line)

    def step(self, line: str) -> None:
        """What the command does from here on: a detail, and what an error that nobody foresaw is said to have met."""
        Console.doing = line
        self.detail(line)

    def fail(self, line: str) -> None:
        """The one line that ends a run; an empty one says nothing."""
        if line:
            print(_line(f"ser: {line}"), file=sys.stderr, flush=True)

    @contextmanager
    def progress(self) -> Iterator["Progress"]:
        """A live bar on a terminal, plain lines elsewhere, nothing when quiet."""
        if self.quiet or not sys.stderr.isatty():
            yield Progress(self, None)
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        words = (TextColumn("{task.description}", markup=False), TextColumn("{task.fields[detail]}", markup=False))
        drawn_on: Any = sys.stderr.raw() if isinstance(sys.stderr, PlainStream) else sys.stderr
        with RichProgress(words[0], BarColumn(), words[1], console=RichConsole(file=drawn_on)) as bar:
            # The bar makes itself standard error, so that lines go above it.
            sys.stderr = PlainStream(sys.stderr, must_arrive=False)
            yield Progress(self, bar)


class Progress:
    """Shows how far a command is, and how long it still takes at the speed so far."""

    def __init__(self, console: Console, bar: "RichProgress | None") -> None:
        self._console = console
        self._bar = bar
        self._task: TaskID | None = None
        self._last_line = time.monotonic()
        self.begin()

    def begin(self, done: float = 0) -> None:
        """Measure the speed from here, where so much is done already."""
        self._began = time.monotonic()
        self._done_before = done

    @property
    def seconds(self) -> float:
        """How long it has gone on; never quite 0."""
        return max(time.monotonic() - self._began, 1e-3)

    def update(self, done: float, total: float | None, what: str, detail: str = "", *, at_once: bool = False) -> None:
        """Show that so much of `total` (None: unknown) is done.

        Args:
            done: in any unit.
            total: in the same unit.
            what: that in words.
            detail: more words.
            at_once: whether a plain line comes now, not only when one is due.
        """
        left, what, detail = self._left(done, total), printable(what), printable(detail)
        if self._bar is not None:
            detail = ", ".join(filter(None, [detail, left]))
            if self._task is None:
                self._task = self._bar.add_task(what, total=total, detail=detail)
            self._bar.update(self._task, description=what, completed=done, total=total, detail=detail)
        elif at_once or self._is_line_due():
            self._last_line = time.monotonic()
            self._console.say(", ".join(filter(None, [what, detail, left])))

    def _left(self, done: float, total: float | None) -> str:
        done_here = done - self._done_before
        if total is None or done_here <= 0 or done >= total:
            return ""
        return f"{_duration(self.seconds / done_here * (total - done))} left"

    def _is_line_due(self) -> bool:
        every_seconds = _VERBOSE_LINE_EVERY_SECONDS if self._console.verbose else _LINE_EVERY_SECONDS
        return time.monotonic() - self._last_line >= every_seconds


def _duration(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"


def _line(text: str) -> str:
    """A text as one line that is not too long and tells no password."""
    line = printable(without_password(text))
    return line if len(line) <= _MAX_LINE_LETTERS else f"{line[:_MAX_LINE_LETTERS]} ..."


def _text(lines: str | Sequence[str]) -> str:
    """Lines, in which tabs stay."""
    lines = [lines] if isinstance(lines, str) else lines
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in lines)


def _json(data: object) -> str:
    """JSON that a terminal may show and its encoding can hold: what is special in a text is escaped as JSON has it."""
    is_utf_8 = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    text = json.dumps(data, ensure_ascii=not is_utf_8)
    return SPECIAL_CHARACTER.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
