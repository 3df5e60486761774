"""Settings of speech detection, free of what it computes with: they travel to the nodes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ser_core.vocabulary import SpeechMode

if TYPE_CHECKING:
    from ser_core.score_config import ScoreConfig


@dataclass(frozen=True, kw_only=True)
class SpeechSettings:
    """Which windows are judged."""

    mode: SpeechMode = "on"
    #: What a window needs; one that is shorter than twice that needs half of itself.
    min_speech_seconds: float = 0.3

    @classmethod
    def asked_for(cls, config: "ScoreConfig") -> Self:
        """What the settings of a verb say."""
        return cls(mode=config.speech, min_speech_seconds=config.min_speech_seconds)
