"""Which windows are judged: those with speech enough. Scoring, evaluation and training ask here.

Shape letters: N windows, S samples of a window.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ser_core.speech.settings import SpeechSettings

if TYPE_CHECKING:
    from ser_core.speech.detector import SpeechDetector

Floats = npt.NDArray[np.float64]
#: Windows are listened to together up to so many seconds, which bounds memory.
_MAX_SECONDS = 320.0


@dataclass(frozen=True)
class Heard:
    """What was heard in N windows."""

    #: Of each window's audio the part that is speech; NaN where nobody listened.
    share_N: Floats
    #: Seconds of each window that count for its file: those of speech, or all where nobody listened.
    seconds_N: Floats
    is_judged_N: npt.NDArray[np.bool_]

    def part(self, windows: slice) -> "Heard":
        """Of some of the windows."""
        return Heard(self.share_N[windows], self.seconds_N[windows], self.is_judged_N[windows])


def _load_detector(sample_rate_hz: int) -> "SpeechDetector":
    from ser_core.speech.detector import SpeechDetector

    return SpeechDetector(sample_rate_hz)


class SpeechListener:
    """Listens to windows. What it says of one follows from that one's samples alone."""

    def __init__(self, settings: SpeechSettings, sample_rate_hz: int) -> None:
        self._settings, self._sample_rate_hz = settings, sample_rate_hz
        self._detector = _load_detector(sample_rate_hz) if settings.mode == "on" else None

    @property
    def is_on(self) -> bool:
        """Whether it listens at all; else every window is judged."""
        return self._detector is not None

    def listen(self, pcm_NS: npt.NDArray[np.float32], length_N: npt.NDArray[np.int64]) -> Heard:
        """What there is in windows.

        Args:
            pcm_NS: their samples, finite; full scale is 1.
            length_N: how many of each one's samples are audio, at least one; what follows is padding.
        """
        whole_N = length_N / self._sample_rate_hz
        if self._detector is None:
            return Heard(np.full(len(whole_N), np.nan), whole_N, np.ones(len(whole_N), bool))
        step = max(1, int(_MAX_SECONDS * self._sample_rate_hz / max(1, pcm_NS.shape[1])))
        parts = [
            self._detector.speech_seconds(pcm_NS[first : first + step], length_N[first : first + step])
            for first in range(0, len(pcm_NS), step)
        ]
        seconds_N: Floats = np.concatenate([np.zeros(0), *parts])
        return Heard(
            share_N=seconds_N / whole_N,
            seconds_N=seconds_N,
            is_judged_N=seconds_N >= np.minimum(self._settings.min_speech_seconds, whole_N / 2),
        )
