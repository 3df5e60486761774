"""What a training reports while it goes on: plain data, from whatever process it runs in; and its curves on disk."""

import dataclasses
from collections.abc import Callable, Iterable

from ser_core import storage
from ser_core.storage import Location, faults_of, write
from ser_core.temporary import temporary_folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """The metrics of an epoch; the last three are of the validation clips, None where there are none."""

    #: Number of the epoch, from 1 on.
    number: int
    #: Mean loss over the windows that were learned from.
    loss: float
    #: Learning rate at the end of the epoch.
    learning_rate: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    validation_uar: float | None = None

    @property
    def score(self) -> tuple[float, float]:
        """The best epoch has the highest; without a validation set that is the last one."""
        if self.validation_uar is None or self.validation_loss is None:
            return float(self.number), 0.0
        return self.validation_uar, -self.validation_loss


@dataclasses.dataclass(frozen=True)
class Preparing:
    """Something is computed before the first epoch."""

    what: str
    done: int
    total: int


@dataclasses.dataclass(frozen=True)
class FoldBegan:
    """A fold's epochs begin, or go on after those of `history`."""

    fold: int
    num_folds: int
    num_epochs: int
    history: tuple[EpochRecord, ...]


@dataclasses.dataclass(frozen=True)
class StepDone:
    """How far an epoch is; reported now and then."""

    epoch: int
    step: int
    num_steps: int
    #: Mean loss over what rank 0 has seen of the epoch.
    loss: float


@dataclasses.dataclass(frozen=True)
class EpochDone:
    """An epoch is over, and its checkpoint written."""

    fold: int
    record: EpochRecord
    seconds: float


@dataclasses.dataclass(frozen=True)
class FoldDone:
    """A fold's model is written."""

    fold: int


Event = Preparing | FoldBegan | StepDone | EpochDone | FoldDone
Callback = Callable[[Event], None]

_TAGS = {
    "loss": "loss/training",
    "validation_loss": "loss/validation",
    "validation_accuracy": "validation/accuracy",
    "validation_uar": "validation/uar",
    "learning_rate": "learning_rate",
}
#: Tag, value and epoch of a point of a curve.
_Scalar = tuple[str, float, int]


class TrainingLog:
    """Follows a training's events as TensorBoard's curves, in a folder or a bucket: a small file for each epoch.

    A fold that goes on is written anew from its first epoch: none is there twice.
    """

    def __init__(self, folder: Location) -> None:
        self._folder = self._where = folder

    def follow(self, event: Event) -> None:
        """Take what a training reports.

        Raises:
            OutputError: the curves cannot be written.
            ServiceError: the disk is full, or the bucket failed as a whole.
        """
        if isinstance(event, FoldBegan):
            self._where = self._folder.join(f"fold-{event.fold + 1}") if event.num_folds > 1 else self._folder
            for name, _ in storage.list_files(self._where):
                if "/" not in name:
                    storage.delete(self._where.join(name))
            self._write([scalar for record in event.history for scalar in _scalars(record)], len(event.history))
        elif isinstance(event, EpochDone):
            number = event.record.number
            self._write([*_scalars(event.record), ("seconds", event.seconds, number)], number)

    def _write(self, scalars: Iterable[_Scalar], number: int) -> None:
        from tensorboardX import SummaryWriter

        with temporary_folder() as local, faults_of(Location(str(local.parent))):
            # The epoch is in the name: the time in it counts seconds, and epochs may be shorter.
            with SummaryWriter(str(local), filename_suffix=f".{number:06d}") as writer:
                for tag, value, epoch in scalars:
                    writer.add_scalar(tag, value, epoch)
            for file in local.iterdir():
                write(self._where.join(file.name), file.read_bytes())


def _scalars(record: EpochRecord) -> list[_Scalar]:
    return [
        (tag, value, record.number) for field, tag in _TAGS.items() if (value := getattr(record, field)) is not None
    ]
