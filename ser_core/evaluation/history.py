"""The epochs of a model's training, as its config tells them: for the curves of a page."""

import math
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

#: More epochs than anybody trains: a config that says more is not believed.
_MAX_EPOCHS = 100_000


class Epoch(BaseModel):
    """The metrics of one; those of the validation clips are None where there are none."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    #: From 1 on.
    number: int
    loss: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    validation_uar: float | None = None


class History(BaseModel):
    """All epochs, and whose weights were kept."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    history: tuple[Epoch, ...] = ()
    best_epoch: int | None = None

    @classmethod
    def of_training(cls, training: dict[str, Any]) -> Self:
        """What `training` of a model's config says; without an epoch where it says nothing that can be one."""
        try:
            found = cls.model_validate(training)
        except ValidationError:
            return cls()
        values = [value for epoch in found.history for value in epoch.model_dump().values() if value is not None]
        return found if len(found.history) <= _MAX_EPOCHS and all(map(math.isfinite, values)) else cls()
