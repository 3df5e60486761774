"""What a training reports while it goes on: plain data, from whatever process it runs in."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """What an epoch came to; the last three are of the validation clips, None where there are none."""

    #: From 1.
    number: int
    #: The mean over windows, as they were heard.
    loss: float
    #: At its end.
    learning_rate: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    validation_uar: float | None = None

    @property
    def merit(self) -> tuple[float, float]:
        """The best epoch has the most; without a validation set that is the last one."""
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
    #: The mean over what rank 0 has seen of the epoch.
    loss: float


@dataclasses.dataclass(frozen=True)
class EpochDone:
    """An epoch is over and kept."""

    fold: int
    record: EpochRecord
    seconds: float


@dataclasses.dataclass(frozen=True)
class FoldDone:
    """A fold's model is written."""

    fold: int


Event = Preparing | FoldBegan | StepDone | EpochDone | FoldDone
Callback = Callable[[Event], None]
