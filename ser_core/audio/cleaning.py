"""Windows without what recorders add below and beside speech: offset, drift, rumble, and the hum of the mains.

Shape letters: B windows (or blocks of them), N samples, P pieces, S samples of a piece at the low rate, W waves,
C coefficients of all waves.

Hum is fitted by weighted least squares and taken away. What weighs is what is quiet: where somebody speaks, hum can
hardly be told from the voice, and in pauses there is nothing else. So no frequency is cut out, as a filter would do it,
of a voice whose pitch lies there; `high_pass` does where no pitch lies. Each window is taken by itself, and all is
smooth: rounding turns no decision.
"""

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, pad

from ser_core.audio.high_pass import DecimatingFilter, high_pass, without_padding

#: The mains of the world, with two harmonics.
_HUM_HZ = (50.0, 60.0, 100.0, 120.0, 150.0, 180.0)
#: Hum is looked for at about this rate, behind a low pass of so many of its samples to each side.
_LOW_RATE_HZ, _LOW_PASS_SAMPLES, _LOW_PASS_HZ, _KAISER_BETA = 500.0, 6, 250.0, 5.0
#: A wave's amplitude and phase may change as polynomials of time do: mains and recorders are not exact.
_NUM_POLYNOMIALS = 4
#: Seconds of audio that each polynomial takes: in less, hum cannot be told from a voice.
_SECONDS_PER_POLYNOMIAL = 0.7
#: Longer windows are taken in blocks.
_MAX_BLOCK_SECONDS = 6.0
#: Loudness is taken of pieces of so many samples, smoothed over three; so far below the loudest it is all the same.
_PIECE_SAMPLES, _LEAST_LOUDNESS = 20, 1e-6
#: The weights follow from what the last fit left.
_NUM_FITS = 3
#: A wave whose power is less than this times the number of its coefficients, by what noise is there, is chance.
_SIGNIFICANCE = 30.0


def clean(pcm_BN: Tensor, rate_hz: int, high_pass_hz: float = 0.0) -> Tensor:
    """Windows (B, N) without offset and hum, scaled so that the loudest sample was 1; padding stays zero.

    Args:
        pcm_BN: float32 samples, finite; zeros at a window's end are its padding.
        rate_hz: of the samples.
        high_pass_hz: what lies below it is taken away too; 0 for nothing.
    """
    pcm_BN = _scaled(pcm_BN)
    num_samples = pcm_BN.shape[1]
    num_real_B1 = _num_real(pcm_BN)
    mean_B1 = pcm_BN.sum(dim=1, keepdim=True, dtype=torch.float64) / num_real_B1.clamp(min=1)
    pcm_BN = without_padding(pcm_BN - mean_B1.float(), num_real_B1)
    if high_pass_hz:
        pcm_BN = _scaled(high_pass(pcm_BN, num_real_B1, rate_hz, high_pass_hz))
    num_blocks = math.ceil(num_samples / (_MAX_BLOCK_SECONDS * rate_hz))
    block = math.ceil(num_samples / num_blocks)
    if block < _SECONDS_PER_POLYNOMIAL * rate_hz or rate_hz < _LOW_RATE_HZ:
        return pcm_BN
    num_more = num_blocks * block - num_samples
    blocks_BN = (pad(pcm_BN, (0, num_more)) if num_more else pcm_BN).reshape(-1, block)
    first_1B = torch.arange(num_blocks, device=pcm_BN.device) * block
    waves = _waves(block, rate_hz, tuple(hz for hz in _HUM_HZ if hz > high_pass_hz), pcm_BN.device)
    hum_BN = _hum(blocks_BN, (num_real_B1 - first_1B).clamp(0, block).reshape(-1, 1), rate_hz, waves)
    if hum_BN is None:
        return pcm_BN
    return pcm_BN - without_padding(hum_BN.reshape(len(pcm_BN), -1)[:, :num_samples], num_real_B1)


def _num_real(pcm_BN: Tensor) -> Tensor:
    """Number of samples (B, 1), as float32, up to the last one that is not zero."""
    is_sound_BN = pcm_BN != 0
    if pcm_BN.device.type == "cpu":
        # numpy ends at the first that is true.
        behind_B = [int(row_N[::-1].argmax()) if row_N.any() else len(row_N) for row_N in is_sound_BN.numpy()]
        return pcm_BN.shape[1] - torch.tensor(behind_B, dtype=torch.float32)[:, None]
    position_N = torch.arange(1, pcm_BN.shape[1] + 1, device=pcm_BN.device, dtype=torch.float32)
    return torch.where(is_sound_BN, position_N, 0.0).amax(dim=1, keepdim=True)


def _scaled(pcm_BN: Tensor) -> Tensor:
    return pcm_BN / pcm_BN.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)


class _Waves(NamedTuple):
    """All that does not depend on the samples."""

    low_pass: DecimatingFilter
    #: Sines and cosines, each times a polynomial, as they come through the low pass; and as they are.
    low_CN: Tensor
    full_CN: Tensor
    #: Products of any two of them, summed over each piece (P, C x C).
    products_PX: Tensor
    #: Last sample that a piece hangs on.
    last_P: Tensor
    #: Which polynomial each is of.
    number_C: Tensor


def _hum(pcm_BN: Tensor, num_real_B1: Tensor, rate_hz: int, waves: _Waves) -> Tensor | None:
    """The hum of each window (B, N); None: there is none in any."""
    num_low, num_coefficients = waves.low_CN.shape[1], len(waves.low_CN)
    num_more = max(0, waves.low_pass.num_wanted(num_low) - pcm_BN.shape[1])
    # In double precision, so that it does not matter what a window is computed with.
    low_BN = waves.low_pass(pad(pcm_BN, (0, num_more)))[:, :num_low].double()
    is_real_BP = (waves.last_P < num_real_B1).to(low_BN.dtype)
    is_allowed_BC = num_real_B1 >= _SECONDS_PER_POLYNOMIAL * rate_hz * (waves.number_C + 1)
    left_BN = low_BN
    for _ in range(_NUM_FITS):
        power_BP = left_BN.square().view(len(pcm_BN), -1, _PIECE_SAMPLES).mean(dim=2)
        weight_BP = _weights(power_BP, is_real_BP)
        gram_BCC = (weight_BP @ waves.products_PX).view(-1, num_coefficients, num_coefficients)
        weighted_BN = low_BN * weight_BP.repeat_interleave(_PIECE_SAMPLES, dim=1)
        right_BC1 = (weighted_BN @ waves.low_CN.T)[:, :, None]
        typical_B1 = gram_BCC.diagonal(dim1=1, dim2=2).mean(dim=1, keepdim=True) + 1e-30
        ridge_BC = torch.where(is_allowed_BC, 1e-5, 1e9) * typical_B1
        fit_BC = torch.linalg.solve(gram_BCC + torch.diag_embed(ridge_BC), right_BC1)[:, :, 0]
        left_BN = low_BN - fit_BC @ waves.low_CN
    fit_BC = fit_BC * _shrinkage(fit_BC, gram_BCC, is_allowed_BC)
    # Most recordings have none.
    if not (rows := fit_BC.any(dim=1).nonzero().flatten().tolist()):
        return None
    hum_BN = torch.zeros_like(pcm_BN)
    # One by one, again, so that others do not matter.
    for row in rows:
        hum_BN[row] = fit_BC[row].float() @ waves.full_CN
    return hum_BN


def _weights(power_BP: Tensor, is_real_BP: Tensor) -> Tensor:
    """The inverse of the power around each piece (B, P); 0 for those that are not whole."""
    around_BP = _smooth(power_BP * is_real_BP) / _smooth(is_real_BP).clamp(min=1e-6)
    least_B1 = _LEAST_LOUDNESS * around_BP.amax(dim=1, keepdim=True) + 1e-20
    return is_real_BP / (around_BP + least_B1)


def _smooth(values_BP: Tensor) -> Tensor:
    return avg_pool1d(values_BP[:, None], 3, stride=1, padding=1)[:, 0]


def _shrinkage(fit_BC: Tensor, gram_BCC: Tensor, is_allowed_BC: Tensor) -> Tensor:
    """0 to 1 for each wave: less where it is no larger than chance makes it (James and Stein 1961)."""
    power_BW = torch.stack(
        [
            torch.einsum("bc,bcd,bd->b", fit_BC[:, wave], gram_BCC[:, wave, wave], fit_BC[:, wave])
            for wave in _slices(fit_BC.shape[1])
        ],
        dim=1,
    )
    chance_B1 = _SIGNIFICANCE / power_BW.shape[1] * is_allowed_BC.sum(dim=1, keepdim=True)
    shrunk_BW = (1 - chance_B1 / power_BW.clamp(min=1e-30)).clamp(min=0)
    return shrunk_BW.repeat_interleave(2 * _NUM_POLYNOMIALS, dim=1)


def _slices(num_coefficients: int) -> list[slice]:
    size = 2 * _NUM_POLYNOMIALS
    return [slice(first, first + size) for first in range(0, num_coefficients, size)]


@functools.lru_cache(maxsize=2)
def _waves(num_samples: int, rate_hz: int, waves_hz: tuple[float, ...], device: torch.device) -> _Waves:
    step = round(rate_hz / _LOW_RATE_HZ)
    half = _LOW_PASS_SAMPLES * step
    time_N = torch.arange(-half, half + 1, dtype=torch.float64) / rate_hz
    window_N = torch.kaiser_window(2 * half + 1, periodic=False, beta=_KAISER_BETA, dtype=torch.float64)
    low_pass_N = torch.sinc(2 * _LOW_PASS_HZ * time_N) * window_N
    low_pass_N = low_pass_N / low_pass_N.sum()
    num_pieces = ((num_samples - 2 * half - 1) // step + 1) // _PIECE_SAMPLES
    sample_N = torch.arange(num_samples, dtype=torch.float64)
    full_WCN = _slow_waves(sample_N / rate_hz, num_samples / rate_hz, waves_hz)
    low_WCN = full_WCN[:, :, half::step][:, :, : num_pieces * _PIECE_SAMPLES].clone()
    for wave, hz in enumerate(waves_hz):
        low_WCN[wave] *= (low_pass_N * torch.cos(2 * math.pi * hz * time_N)).sum()
    low_CN = low_WCN.flatten(0, 1)
    pieces_PCS = low_CN.view(len(low_CN), num_pieces, _PIECE_SAMPLES).transpose(0, 1)
    products_PX = (pieces_PCS @ pieces_PCS.transpose(1, 2)).flatten(1)
    last_P = 2 * half + step * (_PIECE_SAMPLES * torch.arange(1, num_pieces + 1) - 1)
    number_C = (torch.arange(2 * _NUM_POLYNOMIALS) // 2).repeat(len(waves_hz))
    return _Waves(
        low_pass=DecimatingFilter.of(low_pass_N.float(), step, num_together=16, device=device),
        low_CN=low_CN.to(device),
        full_CN=full_WCN.flatten(0, 1).float().to(device),
        products_PX=products_PX.to(device),
        last_P=last_P.to(device),
        number_C=number_C.to(device),
    )


def _slow_waves(time_N: Tensor, seconds: float, waves_hz: tuple[float, ...]) -> Tensor:
    """Cosines and sines (W, C, N), each times a Legendre polynomial of time."""
    share_N = 2 * time_N / seconds - 1
    slow_PN = torch.stack([torch.special.legendre_polynomial_p(share_N, n) for n in range(_NUM_POLYNOMIALS)])
    angle_WN = 2 * math.pi * torch.tensor(waves_hz, dtype=torch.float64)[:, None] * time_N
    waves_W2N = torch.stack([angle_WN.cos(), angle_WN.sin()], dim=1)
    return (slow_PN[None, :, None] * waves_W2N[:, None]).flatten(1, 2)
