"""Settings of speech detection, free of what it computes with: they travel to the nodes."""

from dataclasses import dataclass

from ser_core.vocabulary import SpeechMode


@dataclass(frozen=True, kw_only=True)
class SpeechSettings:
    """Which windows are judged."""

    mode: SpeechMode = "on"
    #: What a window needs; one that is shorter than twice that needs half of itself.
    min_speech_seconds: float = 0.3
