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
    num_samples, step = pcm_BN.shape[1], filters.decimation_SR.shape[0]
    num_steps = math.ceil(num_samples / step)
    reach = len(filters.low_pass_K) // 2 + 2 * _RATE_REACH - 1
    extended_BN = _extended(pcm_BN, num_real_B1.long().clamp(min=1), reach * step, (num_steps + 2 * reach) * step)
    phases_BKR = extended_BN.view(len(pcm_BN), -1, step) @ filters.decimation_SR
    num_low = phases_BKR.shape[1] - 2 * _RATE_REACH + 1
    low_BK = torch.stack([phases_BKR[:, place : place + num_low, place] for place in range(2 * _RATE_REACH)]).sum(dim=0)
    trend_BK = low_BK.unfold(1, len(filters.low_pass_K), 1) @ filters.low_pass_K
    trend_BN = (trend_BK.unfold(1, 2 * _RATE_REACH, 1) @ filters.interpolation_RS).flatten(1)[:, :num_samples]
    is_real_BN = torch.arange(num_samples, device=pcm_BN.device) < num_real_B1
    return (pcm_BN - trend_BN) * is_real_BN


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


class _Filters(NamedTuple):
    """From the full to the low rate, below the cutoff there, and back."""

    decimation_SR: Tensor
    low_pass_K: Tensor
    interpolation_RS: Tensor


@functools.lru_cache(maxsize=2)
def _filters(rate_hz: int, cutoff_hz: float, device: torch.device) -> _Filters:
    step = max(1, round(rate_hz / _LOW_RATE_HZ))
    rate_filter_N = _low_pass(rate_hz / step / 2, rate_hz, _RATE_REACH * step)[:-1]
    low_pass_K = _low_pass(cutoff_hz, rate_hz / step, round(_REACH_SECONDS * rate_hz / step))
    # Of samples that are one step apart, those before a place are seen by the later phases of the filter.
    phases_RS = rate_filter_N.view(2 * _RATE_REACH, step)
    return _Filters(
        decimation_SR=phases_RS.T.contiguous().to(device),
        low_pass_K=low_pass_K.to(device),
        interpolation_RS=(phases_RS.flip(0) * step).to(device),
    )


def _low_pass(cutoff_hz: float, rate_hz: float, reach: int) -> Tensor:
    """A windowed sinc of 2 `reach` + 1 samples whose sum is 1."""
    time_N = torch.arange(-reach, reach + 1, dtype=torch.float64) / rate_hz
    window_N = torch.kaiser_window(2 * reach + 1, periodic=False, beta=_KAISER_BETA, dtype=torch.float64)
    filter_N = torch.sinc(2 * cutoff_hz * time_N) * window_N
    return (filter_N / filter_N.sum()).float()
