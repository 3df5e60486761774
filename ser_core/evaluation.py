"""Clips -> answers, by the very code of scoring, and how good they are.

Shape letters: N windows, S samples of a window, G clips, C labels.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ser_core.answers import answer, log_probability_sums
from ser_core.audio import iter_segments
from ser_core.config import WindowSettings
from ser_core.corpora import LABELS, Clip
from ser_core.errors import SourceError
from ser_core.predictor import Predictor


@dataclasses.dataclass(frozen=True)
class ClipWindows:
    """The windows of several clips, one after the other."""

    pcm_NS: npt.NDArray[np.float32]
    #: Audio in each window, padding left out.
    seconds_N: npt.NDArray[np.float64]
    #: The clip of each window.
    clip_N: npt.NDArray[np.int64]
    #: The emotion of each clip, as its place in `LABELS`.
    label_G: npt.NDArray[np.int64]


def read_windows(clips: Sequence[Clip], settings: WindowSettings) -> ClipWindows:
    """Decode clips (all channels mixed) and cut them into windows as scoring does.

    Raises:
        SourceError: a clip cannot be decoded to its end.
    """
    pcm, seconds, owners = [], [], []
    for index, clip in enumerate(clips):
        for segment in iter_segments(clip.file, channels="mix", windows=settings):
            if segment.reason is not None:
                raise SourceError(f"{clip.file}: {segment.reason} ({segment.detail}); repair it or take it away")
            pcm.append(segment.pcm_NS)
            seconds.append(np.array(segment.end_seconds) - np.array(segment.window_index) * settings.hop_seconds)
            owners.append(np.full(len(segment.pcm_NS), index))
    return ClipWindows(
        np.concatenate(pcm),
        np.concatenate(seconds),
        np.concatenate(owners),
        np.array([LABELS.index(clip.emotion) for clip in clips]),
    )


def read_waveform(clip: Clip, sample_rate_hz: int) -> npt.NDArray[np.float32]:
    """A whole clip, all channels mixed, decoded and resampled as scoring does.

    Raises:
        SourceError: it cannot be decoded to its end.
    """
    pieces = WindowSettings(sample_rate_hz=sample_rate_hz, window_seconds=30, hop_seconds=30, min_tail_seconds=0)
    windows = read_windows([clip], pieces)
    lengths_N = np.rint(windows.seconds_N * sample_rate_hz).astype(int)
    return np.concatenate([pcm_S[:length] for pcm_S, length in zip(windows.pcm_NS, lengths_N, strict=True)])


def answer_clips(predictor: Predictor, clips: Sequence[Clip], settings: WindowSettings) -> npt.NDArray[np.float64]:
    """The answer (G, C) to each clip, of a predictor with features on its device.

    Raises:
        SourceError: a clip cannot be decoded to its end.
    """
    windows = read_windows(clips, settings)
    probabilities_NC = predictor.predict(windows.pcm_NS)
    return answer(log_probability_sums(probabilities_NC, windows.seconds_N, windows.clip_N, len(clips)))


def unweighted_recall(label_G: npt.NDArray[np.int64], answer_GC: npt.NDArray[np.float64]) -> float:
    """Unweighted average recall (UAR): the mean over the labels that occur of the share of their clips found."""
    right_G = answer_GC.argmax(axis=1) == label_G
    return float(np.mean([right_G[label_G == label].mean() for label in np.unique(label_G)]))
