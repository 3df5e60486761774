"""Seconds of speech in windows: what is made of a window before the network sees it, and of its probabilities.

Shape letters: B windows, C chunks of a window, T samples of a window.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ser_core.speech.network import CHUNK_SAMPLES, SAMPLE_RATE_HZ, SileroNetwork
from ser_core.speech.voiced import gliding_seconds

WEIGHTS_FILE = Path(__file__).parent.parent / "bundled" / "silero-vad" / "silero_vad_16k.safetensors"
#: Windows that go through the network together.
_BATCH_WINDOWS = 32
#: A chunk counts not at all where its probability is the first of these, wholly from the second on, in between by part.
#: So rounding moves the sum by no more than itself, and a window's answer with it.
_PROBABILITY_RANGE = (0.2, 0.8)
#: Where the network finds less speech than this, and yet the mean of its ten highest probabilities is above that, it
#: hears the window again, slower and so lower, as if it was played from a tape: shouts, laughter and cries are emotion,
#: and half of them too high for it.
_UNDECIDED_SECONDS = 0.5
_UNDECIDED_PROBABILITY = 0.03
_UNDECIDED_CHUNKS = 10
_SLOWER = (1.5, 2.0)
#: Where it still finds less, and yet this, the pitch is asked. What that finds counts for no more than the seconds
#: above: bowed strings glide too.
_PITCH_PROBABILITY = 0.2
#: The RMS level that a window is brought to: the network misses what is far below that.
_LEVEL = 0.05
#: Most amplification, which brings -86 dBFS to that level; what is below a step of 16 bits is silence.
_MAX_GAIN = 1000.0
_SILENCE_PEAK = 1.5 / 32_768


class SpeechDetector:
    """Says how many seconds of a window are speech. It is loaded once, and may be called from several threads."""

    def __init__(self, sample_rate_hz: int = SAMPLE_RATE_HZ) -> None:
        """
        Args:
            sample_rate_hz: of the windows to come; what is not 16 kHz is resampled.
        """
        self._sample_rate_hz = sample_rate_hz
        self._network = SileroNetwork(WEIGHTS_FILE)

    def speech_seconds(self, windows_BT: NDArray[np.float32], lengths_B: NDArray[np.int64]) -> NDArray[np.float64]:
        """Seconds of speech in each window, (B,): at most its length.

        A window's answer hangs on its own samples alone, to 1e-5 s a second of it whatever else is in the call, and
        not on its level or on a constant that is added to it.

        Args:
            windows_BT: finite float32 samples at `sample_rate_hz`; full scale is 1.
            lengths_B: how many samples of each window are audio; what comes after them is padding and does not count.
        """
        seconds_B = np.zeros(len(windows_BT))
        heard = [
            (index, levelled)
            for index, (window_T, length) in enumerate(zip(windows_BT, lengths_B, strict=True))
            if (levelled := _levelled(self._resampled(window_T[:length]))) is not None
        ]
        # Windows of one length go together, so that little padding is computed.
        heard.sort(key=lambda numbered: len(numbered[1]))
        with torch.inference_mode():
            for first in range(0, len(heard), _BATCH_WINDOWS):
                indices, parts = zip(*heard[first : first + _BATCH_WINDOWS], strict=True)
                seconds_B[list(indices)] = self._batch_seconds(parts)
        return np.minimum(seconds_B, lengths_B / self._sample_rate_hz)

    def _resampled(self, pcm_T: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._sample_rate_hz == SAMPLE_RATE_HZ:
            return pcm_T
        return _resample(pcm_T, self._sample_rate_hz, SAMPLE_RATE_HZ)

    def _batch_seconds(self, parts: tuple[NDArray[np.float32], ...]) -> NDArray[np.float64]:
        seconds_B, highest_B = self._heard(parts, 1.0)
        undecided = np.flatnonzero((seconds_B < _UNDECIDED_SECONDS) & (highest_B > _UNDECIDED_PROBABILITY))
        for slower in _SLOWER:
            if not len(undecided):
                return seconds_B
            slow = [_resample(parts[index], 1.0, slower) for index in undecided]
            seconds_U, highest_U = self._heard(slow, slower)
            seconds_B[undecided] = np.maximum(seconds_B[undecided], seconds_U)
            highest_B[undecided] = np.maximum(highest_B[undecided], highest_U)
            undecided = undecided[seconds_B[undecided] < _UNDECIDED_SECONDS]
        for index in undecided[highest_B[undecided] > _PITCH_PROBABILITY]:
            gliding = gliding_seconds(parts[index], SAMPLE_RATE_HZ)
            seconds_B[index] = max(seconds_B[index], min(gliding, _UNDECIDED_SECONDS))
        return seconds_B

    def _heard(
        self, parts: Sequence[NDArray[np.float32]], slower: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What the network finds in windows that are played so many times slower: seconds of speech before they were
        slowed down, and the mean of the highest probabilities, (B,) each."""
        lengths_B = np.array([len(part_T) for part_T in parts])
        num_chunks = -(-int(lengths_B.max()) // CHUNK_SAMPLES)
        pcm_BT = torch.zeros(len(parts), num_chunks * CHUNK_SAMPLES)
        for row_T, part_T in zip(pcm_BT, parts, strict=True):
            row_T[: len(part_T)] = torch.from_numpy(part_T)
        probability_BC = self._network.probabilities(pcm_BT).numpy().astype(np.float64)
        low, high = _PROBABILITY_RANGE
        samples_BC = np.clip(lengths_B[:, None] - CHUNK_SAMPLES * np.arange(num_chunks), 0, CHUNK_SAMPLES)
        chunk_BC = np.clip((probability_BC - low) / (high - low), 0, 1) * samples_BC / (SAMPLE_RATE_HZ * slower)
        highest = round(_UNDECIDED_CHUNKS * slower)
        highest_BC = np.sort(np.where(samples_BC > 0, probability_BC, 0), axis=1)[:, -highest:]
        # Of a short window fewer: how many follows from its own length, not from that of others.
        return chunk_BC.sum(axis=1), highest_BC.sum(axis=1) / np.minimum((samples_BC > 0).sum(axis=1), highest)


def _resample(pcm_T: NDArray[np.float32], from_hz: float, to_hz: float) -> NDArray[np.float32]:
    import soxr

    resampled_T: NDArray[np.float32] = soxr.resample(pcm_T, from_hz, to_hz)
    return resampled_T


def _levelled(pcm_T: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The window without its mean and at one level; None where it is silence."""
    if not len(pcm_T):
        return None
    centred_T = pcm_T - float(pcm_T.mean(dtype=np.float64))
    if np.abs(centred_T).max() < _SILENCE_PEAK:
        return None
    rms = float(np.sqrt(np.square(centred_T, dtype=np.float64).mean()))
    return centred_T * min(_LEVEL / rms, _MAX_GAIN)
