"""What a model's config tells of its training: the epochs, for the curves of a page, and whose clips were in it."""

import dataclasses
import math
from collections.abc import Collection
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from ser_core.audio import AUDIO_HASH_CHARACTERS
from ser_core.corpora import Manifest

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSpeakers:
    """Whose clips made a model, as "<corpus>-<id>", and hashes of the audio that it was fitted to."""

    #: The weights were fitted to them.
    training: tuple[str, ...] = ()
    #: The best epoch was chosen by them.
    validation: tuple[str, ...] = ()
    #: The temperature was fitted to them.
    calibration: tuple[str, ...] = ()
    #: Of the clips that the weights were fitted to, see `Segment.audio_hash`; None: they are not known.
    audio_hashes: frozenset[str] | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def of_training(cls, training: dict[str, Any]) -> Self | None:
        """The speakers that `training` of a model's config names; None where it does not say.

        It reads the lists `speakers`, `validation_speakers` and `calibration_speakers`, of which only the first must be
        there, and the text `audio_hashes`, one hash after the other.
        """
        seen, validation, calibration = (
            _texts(training.get(name)) for name in ("speakers", "validation_speakers", "calibration_speakers")
        )
        if seen is None:
            return None
        hashes = _hashes(training.get("audio_hashes"))
        return cls(training=seen, validation=validation or (), calibration=calibration or (), audio_hashes=hashes)

    def among(self, speakers: Collection[str]) -> Self:
        """Those who are among these speakers, in their order; no audio is compared."""
        training, validation, calibration = (
            tuple(name for name in speakers if name in names)
            for names in map(set, (self.training, self.validation, self.calibration))
        )
        return type(self)(training=training, validation=validation, calibration=calibration)

    def heard(self, manifest: Manifest) -> npt.NDArray[np.bool_] | None:
        """(G,) Of which clips the model was fitted to the audio; None where hashes of one side are not known."""
        hashes = manifest.audio_hashes
        if self.audio_hashes is None or hashes is None:
            return None
        return np.array([one in self.audio_hashes for one in hashes], dtype=bool)

    def to_dict(self) -> dict[str, list[str]]:
        """The speakers, as plain values for JSON."""
        return {part: list(getattr(self, part)) for part in ("training", "validation", "calibration")}


def _texts(value: Any) -> tuple[str, ...] | None:
    is_list_of_texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return tuple(value) if is_list_of_texts else None


def _hashes(value: Any) -> frozenset[str] | None:
    if not isinstance(value, str):
        return None
    starts = range(0, len(value), AUDIO_HASH_CHARACTERS)
    return frozenset(value[start : start + AUDIO_HASH_CHARACTERS] for start in starts)
