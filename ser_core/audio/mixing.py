"""The channels of a recording -> one: their mean, or the loudest one where they cancel out.

Shape letters: T samples, C channels, P pieces, S samples of a piece.
"""

import numpy as np
from numpy.typing import NDArray

#: What is decided together, counted from the file's first sample, so that it does not matter how a file is read.
_PIECE_SECONDS = 0.5
#: A piece cancels out where its mean has less than this part of the channels' power: 20 dB.
_CANCELLED = 0.01
#: The first channel is taken unless another one has twice its power: which of two alike is louder changes all the time.
_AS_LOUD = 0.5
#: Mean square of what is too faint to cancel out: -80 dBFS.
_FAINT = 1e-8


class Mixer:
    """Mixes blocks of one recording in the order in which they come; it holds back less than a piece."""

    def __init__(self, rate_hz: int, num_channels: int) -> None:
        self._rate_hz, self._num_channels = rate_hz, num_channels
        self._piece_samples = max(1, round(_PIECE_SECONDS * rate_hz))
        self._held_TC = np.zeros((0, num_channels), np.float32)
        self._num_cancelled = 0

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
            power_CP = np.einsum("cps,cps->cp", pcm_CPS, pcm_CPS) / piece_samples
            mean_P = power_CP.mean(axis=0)
            is_cancelled_P = np.einsum("ps,ps->p", mix_PS, mix_PS) / piece_samples < _CANCELLED * mean_P
        for piece in np.flatnonzero(is_cancelled_P & (mean_P > _FAINT)):
            channel = np.flatnonzero(power_CP[:, piece] >= _AS_LOUD * power_CP[:, piece].max())[0]
            mix_PS[piece] = pcm_CPS[channel, piece]
            self._num_cancelled += piece_samples
        return mix_PS.reshape(-1)
