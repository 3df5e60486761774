"""What every corpus module speaks of: the common labels, and what a clip's name says."""

import dataclasses
from pathlib import Path

#: The labels that every corpus is mapped to, in the order of the models' logits (RAVDESS's own order).
LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipName:
    """What a clip's path says about it, None where it says nothing."""

    #: One of `LABELS`.
    emotion: str
    #: Unique over all corpora: `<corpus>-<speaker>`.
    speaker: str
    #: "male" or "female".
    gender: str | None = None
    #: ISO 639-1, as "en".
    language: str | None = None
    modality: str | None = None
    vocal_channel: str | None = None
    intensity: str | None = None
    statement: str | None = None
    repetition: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """One labelled recording."""

    file: Path
    #: One of `LABELS`.
    emotion: str
    #: Unique over all corpora: `<corpus>-<speaker>`.
    speaker: str
