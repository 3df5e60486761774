"""Speech corpora: a file's name -> what is said about it. One corpus a file."""

import dataclasses
from pathlib import Path

#: The labels that every corpus is mapped to, in the order of the models' logits (RAVDESS's own order).
LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """One labelled recording."""

    file: Path
    #: One of `LABELS`.
    emotion: str
    #: Unique over all corpora: `<corpus>-<speaker>`.
    speaker: str
