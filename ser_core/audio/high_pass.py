"""A high-pass filter of linear phase: what lies below speech (drift, rumble, traction current) is taken away.

Shape letters: B windows, N samples, E samples beyond an end, S samples of a step, K samples at the low rate (one a
step), R of them that a filter between the rates reaches, both sides together.

What lies below the cutoff is found at a low rate, brought back to the full one and subtracted, which costs a hundredth
of a filter as steep at the full rate. Nothing outside a window matters to it: beyond its ends the window is continued
by its own image, turned by 180 degrees about its last sample (as scipy's `filtfilt` does).
"""

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

#: What lies below the cutoff is looked for at about this rate.
_LOW_RATE_HZ = 500.0
#: How far the low pass looks to each side, and those that change the rate, in samples of the low one.
_REACH_SECONDS, _RATE_REACH = 0.16, 3
#: The stop bands of all three lie 53 dB down.
_KAISER_BETA = 5.0


def high_pass(pcm_BN: Tensor, num_real_B1: Tensor, rate_hz: int, cutoff_hz: float) -> Tensor:
    """Windows (B, N) without what lies below the cutoff; padding stays zero.

    At the cutoff half of the amplitude is left; 6 Hz above it all, and 6 Hz below it nothing.

    Args:
        pcm_BN: float32 samples, without offset.
        num_real_B1: how many of each window's samples come before its padding.
        rate_hz: of the samples.
        cutoff_hz: at most 120, and below a quarter of the rate.
    """
    filters = _filters(rate_hz, cutoff_hz, pcm_BN.device)
    num_samples, step = pcm_BN.shape[1], filters.interpolation_RS.shape[1]
    num_trend = math.ceil(num_samples / step) + 2 * _RATE_REACH - 1
    num_beyond = (filters.num_low_pass // 2 + 2 * _RATE_REACH - 1) * step
    num_wanted = filters.decimation.num_wanted(filters.low_pass.num_wanted(num_trend))
    extended_BN = _extended(pcm_BN, num_real_B1.long().clamp(min=1), num_beyond, num_wanted)
    trend_BK = filters.low_pass(filters.decimation(extended_BN))[:, :num_trend]
    trend_BN = (trend_BK.unfold(1, 2 * _RATE_REACH, 1) @ filters.interpolation_RS).flatten(1)[:, :num_samples]
    return without_padding(pcm_BN - trend_BN, num_real_B1)


def without_padding(pcm_BN: Tensor, num_real_B1: Tensor) -> Tensor:
    """Windows with zeros behind their first `num_real_B1` samples; `pcm_BN` itself, on a CPU."""
    if pcm_BN.device.type == "cpu":
        for row_N, num_real in zip(pcm_BN, num_real_B1.flatten().long().tolist(), strict=True):
            row_N[num_real:] = 0
        return pcm_BN
    return pcm_BN * (torch.arange(pcm_BN.shape[1], device=pcm_BN.device) < num_real_B1)


def _extended(pcm_BN: Tensor, num_real_B1: Tensor, num_beyond: int, num_samples: int) -> Tensor:
    """Each window with its turned images before its first and behind its last sample, in all `num_samples` long."""
    distance_E = torch.arange(1, num_beyond + 1, device=pcm_BN.device)
    last_B1 = num_real_B1 - 1
    before_BE = distance_E.flip(0).minimum(last_B1)
    behind_BE = (last_B1 - distance_E).clamp(min=0)
    extended_BN = pcm_BN.new_zeros(len(pcm_BN), num_samples)
    extended_BN[:, :num_beyond] = 2 * pcm_BN[:, :1] - pcm_BN.gather(1, before_BE)
    extended_BN[:, num_beyond : num_beyond + pcm_BN.shape[1]] = pcm_BN
    turned_BE = 2 * pcm_BN.gather(1, last_B1) - pcm_BN.gather(1, behind_BE)
    return extended_BN.scatter_(1, num_beyond + last_B1 + distance_E, turned_BE)


class DecimatingFilter(NamedTuple):
    """A filter of K taps at every `step`-th sample, as a product of matrices: G places at a time.

    A convolution of one channel, or a product with G = 1, takes three times as long.
    """

    taps_KG: Tensor
    step: int

    @classmethod
    def of(cls, taps_N: Tensor, step: int, num_together: int, device: torch.device) -> "DecimatingFilter":
        """From its N taps, each of which is at the sample of the same number behind a place."""
        taps_KG = taps_N.new_zeros(len(taps_N) + step * (num_together - 1), num_together)
        for place in range(num_together):
            taps_KG[place * step : place * step + len(taps_N), place] = taps_N
        return cls(taps_KG.to(device), step)

    def num_wanted(self, num_places: int) -> int:
        """Number of samples that this many places, and those that are computed with them, want."""
        num_taps, num_together = self.taps_KG.shape
        return num_taps + self.step * num_together * (math.ceil(num_places / num_together) - 1)

    def __call__(self, pcm_BN: Tensor) -> Tensor:
        """The places (B, K) of signals of `num_wanted` samples."""
        num_taps, num_together = self.taps_KG.shape
        return (pcm_BN.unfold(1, num_taps, self.step * num_together) @ self.taps_KG).flatten(1)


class _Filters(NamedTuple):
    """From the full to the low rate, below the cutoff there, and back."""

    decimation: DecimatingFilter
    low_pass: DecimatingFilter
    #: Number of taps of `low_pass`.
    num_low_pass: int
    interpolation_RS: Tensor


@functools.lru_cache(maxsize=2)
def _filters(rate_hz: int, cutoff_hz: float, device: torch.device) -> _Filters:
    step = max(1, round(rate_hz / _LOW_RATE_HZ))
    rate_filter_N = _low_pass(rate_hz / step / 2, rate_hz, _RATE_REACH * step)[:-1]
    low_pass_K = _low_pass(cutoff_hz, rate_hz / step, round(_REACH_SECONDS * rate_hz / step))
    # Of samples that are one step apart, those before a place are seen by the later phases of the filter.
    phases_RS = rate_filter_N.view(2 * _RATE_REACH, step)
    return _Filters(
        decimation=DecimatingFilter.of(rate_filter_N, step, num_together=16, device=device),
        low_pass=DecimatingFilter.of(low_pass_K, 1, num_together=64, device=device),
        num_low_pass=len(low_pass_K),
        interpolation_RS=(phases_RS.flip(0) * step).to(device),
    )


def _low_pass(cutoff_hz: float, rate_hz: float, reach: int) -> Tensor:
    """A windowed sinc of 2 `reach` + 1 samples whose sum is 1."""
    time_N = torch.arange(-reach, reach + 1, dtype=torch.float64) / rate_hz
    window_N = torch.kaiser_window(2 * reach + 1, periodic=False, beta=_KAISER_BETA, dtype=torch.float64)
    filter_N = torch.sinc(2 * cutoff_hz * time_N) * window_N
    return (filter_N / filter_N.sum()).float()
