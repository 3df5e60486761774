"""How a training goes, for people: a live line on a terminal, one line an epoch elsewhere, nothing when quiet."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jobs.console import Console
from ser_core.training import EpochDone, EpochRecord, Event, FoldBegan, FoldDone, Preparing, StepDone

if TYPE_CHECKING:
    from rich.progress import Progress

_SAY_EVERY_SECONDS = 10.0


@contextmanager
def train_progress(console: Console) -> Iterator["TrainProgress"]:
    """The progress of one command."""
    if console.quiet or not sys.stderr.isatty():
        yield TrainProgress(console, None)
        return
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[figures]}"),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=RichConsole(stderr=True)) as bar:
        yield TrainProgress(console, bar)


class TrainProgress:
    """Takes a training's events."""

    def __init__(self, console: Console, bar: "Progress | None") -> None:
        self._console, self._bar = console, bar
        self._task: Any = None
        self._begun: FoldBegan | None = None
        self._fold = FoldBegan(0, 1, 1, ())
        self._seconds: list[float] = []
        self._last_said = time.monotonic()

    def update(self, event: Event) -> None:
        """Show it."""
        match event:
            case Preparing():
                self._prepare(event)
            case FoldBegan():
                self._begin(event)
            case StepDone():
                self._step(event)
            case EpochDone():
                self._epoch(event)
            case FoldDone():
                if self._fold.num_folds > 1:
                    self._console.say(f"fold {event.fold + 1}/{self._fold.num_folds} is done")

    def _prepare(self, event: Preparing) -> None:
        if self._bar is not None:
            self._show(event.what, event.done / event.total, "")
        elif self._is_time():
            self._console.say(f"{event.what}: {event.done / event.total:.0%}")

    def _begin(self, event: FoldBegan) -> None:
        if self._begun is not None and self._begun.fold == event.fold:
            self._console.say("workers were lost; others take over")
        self._begun, self._fold, self._seconds = event, event, []
        if event.history:
            self._console.say(f"going on after epoch {event.history[-1].number}")
        self._show("", 0, "")

    def _step(self, event: StepDone) -> None:
        share = (event.epoch - 1 + event.step / event.num_steps) / self._fold.num_epochs
        if self._bar is not None:
            self._show(f"epoch {event.epoch}/{self._fold.num_epochs}", share, f"loss {event.loss:.4f}")
        elif self._is_time():
            self._console.say(f"epoch {event.epoch}, step {event.step}/{event.num_steps}: loss {event.loss:.4f}")

    def _epoch(self, event: EpochDone) -> None:
        self._seconds.append(event.seconds)
        number, total = event.record.number, self._fold.num_epochs
        figures = _figures(event.record)
        if self._bar is not None:
            self._show(f"epoch {number}/{total}", number / total, figures)
            return
        self._last_said = time.monotonic()
        left_seconds = sum(self._seconds) / len(self._seconds) * (total - number)
        fold = f"fold {event.fold + 1}/{self._fold.num_folds}, " if self._fold.num_folds > 1 else ""
        left = f", {_duration(left_seconds)} left" if number < total else ""
        self._console.say(f"{fold}epoch {number}/{total}: {figures}, {event.seconds:.1f} s{left}")

    def _show(self, what: str, share: float, figures: str) -> None:
        if self._bar is None:
            return
        if self._task is None:
            self._task = self._bar.add_task("train", total=1.0, figures="")
        fold = f"fold {self._fold.fold + 1}/{self._fold.num_folds} " if self._fold.num_folds > 1 else ""
        self._bar.update(self._task, description=fold + what, completed=share, figures=figures)

    def _is_time(self) -> bool:
        every_seconds = 1.0 if self._console.verbose else _SAY_EVERY_SECONDS
        if time.monotonic() - self._last_said < every_seconds:
            return False
        self._last_said = time.monotonic()
        return True


def _figures(record: EpochRecord) -> str:
    text = f"loss {record.loss:.4f}"
    if record.validation_uar is not None and record.validation_accuracy is not None:
        text += f", accuracy {record.validation_accuracy:.1%}, UAR {record.validation_uar:.1%} on the validation clips"
    return text


def _duration(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"
