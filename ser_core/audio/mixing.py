"""Mixes the channels of a recording; where they cancel out, takes one of them.

Shape letters: T samples, C channels, P pieces, S samples of a piece, M means, F frequencies.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

#: What is decided together, counted from the file's first sample, so that it does not matter how a file is read.
_PIECE_SECONDS = 0.5
#: What is compared of the channels: speech, without the offset, the hum and the rustle that they may share.
_SPEECH_HZ = (250.0, 4_000.0)
#: A piece cancels out where its mix has less than this part of the power that channels unlike each other would give it:
#: for two channels, 20 dB under their own.
_CANCELLED = 0.02
#: A piece is a mix again where it has so much of that power, and so many times what was left of those that cancelled.
_MIXED, _OVER_WHAT_WAS_LEFT = 0.2, 4.0
#: The first channel is taken unless another one has twice its power: which of two alike is louder changes all the time.
_AS_LOUD = 0.5
#: Mean square of what is too faint to cancel out: -80 dBFS.
_FAINT = 1e-8


class Mixer:
    """Mixes blocks of one recording in the order in which they come; it holds back less than a piece.

    Where channels cancel out one of them is taken, and from there on until a piece is surely none that does: what is
    faint between words says nothing of it.
    """

    def __init__(self, rate_hz: int, num_channels: int) -> None:
        self._rate_hz, self._num_channels = rate_hz, num_channels
        self._piece_samples = max(1, round(_PIECE_SECONDS * rate_hz))
        self._held_TC = np.zeros((0, num_channels), np.float32)
        self._num_cancelled = 0
        #: The channel that is taken; None: the mix.
        self._taken: int | None = None
        #: Most power that was left of a piece that cancelled out.
        self._left_over = 0.0

    def push(self, block_TC: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next samples; return the mix (T,) of what can be decided."""
        if self._num_channels == 1:
            return block_TC[:, 0]
        joined_TC = np.concatenate([self._held_TC, block_TC]) if len(self._held_TC) else block_TC
        num_whole = len(joined_TC) // self._piece_samples * self._piece_samples
        self._held_TC = joined_TC[num_whole:].copy()
        return self._mixed(joined_TC[:num_whole], self._piece_samples)

    def finish(self) -> NDArray[np.float32]:
        """The mix (T,) of what is left."""
        return self._mixed(self._held_TC, max(1, len(self._held_TC)))

    @property
    def note(self) -> str | None:
        """What is to be said of the mix."""
        if not self._num_cancelled:
            return None
        seconds = self._num_cancelled / self._rate_hz
        return f"the channels cancel out for {seconds:.1f} s, where one of them is taken instead of the mix"

    def _mixed(self, pcm_TC: NDArray[np.float32], piece_samples: int) -> NDArray[np.float32]:
        # Ten times as fast with each channel's samples side by side.
        pcm_CPS = np.ascontiguousarray(pcm_TC.T).reshape(self._num_channels, -1, piece_samples)
        with np.errstate(over="ignore", invalid="ignore"):
            mix_PS: NDArray[np.float32] = pcm_CPS.sum(axis=0) / np.float32(self._num_channels)
            if self._taken is None and (pcm_CPS[1:] == pcm_CPS[0]).all():
                return mix_PS.reshape(-1)
            for piece in range(len(mix_PS)):
                self._decide(*_speech_power(pcm_CPS[:, piece], self._rate_hz))
                if self._taken is not None:
                    mix_PS[piece] = pcm_CPS[self._taken, piece]
                    self._num_cancelled += piece_samples
        return mix_PS.reshape(-1)

    def _decide(self, power_C: NDArray[np.float32], of_mix: float) -> None:
        """Whether the next piece is a mix or a channel, by the power of its channels and of their mix."""
        unlike = float(power_C.sum()) / self._num_channels**2
        if of_mix < _CANCELLED * unlike and power_C.mean() > _FAINT:
            self._left_over = max(self._left_over, of_mix)
            is_loud_C = power_C >= _AS_LOUD * power_C.max()
            if self._taken is None or not is_loud_C[self._taken]:
                self._taken = int(is_loud_C.argmax())
        elif of_mix > max(_MIXED * unlike, _OVER_WHAT_WAS_LEFT * self._left_over, _FAINT):
            self._taken = None


def _speech_power(pcm_CS: NDArray[np.float32], rate_hz: int) -> tuple[NDArray[np.float32], float]:
    """Mean square, in the band of speech, of each of a piece's channels and of their mix."""
    # Means of a few samples at twice the band; what they fold into it adds up as the channels do.
    step = max(1, int(rate_hz / (2 * _SPEECH_HZ[1])))
    num_means = pcm_CS.shape[1] // step
    if not num_means:
        return np.zeros(len(pcm_CS), np.float32), 0.0
    # No product of matrices: the buffers of BLAS and its threads would count against what the decoder may take.
    pcm_CMS = pcm_CS[:, : num_means * step].reshape(-1, num_means, step)
    means_CM = sum((pcm_CMS[:, :, index] for index in range(1, step)), pcm_CMS[:, :, 0]) / np.float32(step)
    window_M = _window(num_means)
    first, last = (math.ceil(hz * num_means * step / rate_hz) for hz in _SPEECH_HZ)
    spectrum_CF = np.fft.rfft(means_CM * window_M)[:, first:last]
    scale = 2 / max(1.0, num_means * float(np.square(window_M).sum()))
    return scale * _power(spectrum_CF), scale * float(_power(spectrum_CF.mean(axis=0)))


@lru_cache(maxsize=4)
def _window(num_samples: int) -> NDArray[np.float32]:
    return np.hanning(num_samples).astype(np.float32)


def _power(spectrum_XF: NDArray[np.complexfloating]) -> NDArray[np.float32]:
    power_X: NDArray[np.float32] = (np.square(spectrum_XF.real) + np.square(spectrum_XF.imag)).sum(axis=-1)
    return power_X
