"""The network of Silero VAD for 16 kHz (MIT; github.com/snakers4/silero-vad, version 6), over many windows at once.

Shape letters: B windows, C chunks of a window, M = C x B chunks of a batch, T samples of a window, L hidden units.

The weights and what is computed are those of the published model; the way is another. What its encoder makes of a
chunk needs no other chunk, so chunks of all windows go through it together, and its LSTM takes one chunk of every
window in a step. A convolution over four frames is a few products of matrices, as frames come first: (4, M, channels).
"""

from pathlib import Path

import torch
from torch import Tensor

SAMPLE_RATE_HZ = 16_000
#: Samples of a chunk, which has one probability.
CHUNK_SAMPLES = 512
#: Samples before a chunk that it is seen with: zeros before the first.
_CONTEXT_SAMPLES = 64
_N_FFT = 256
_FRAME_STARTS = (0, 128, 256, 384)
_MIRRORED_SAMPLES = 64
#: Chunks that go through the encoder together: what is computed of them stays in the cache of a core.
_ENCODER_CHUNKS = 512


class SileroNetwork:
    """Weights and forward pass; float32 on the CPU. Calls from several threads do not disturb each other."""

    def __init__(self, weights_file: Path) -> None:
        from safetensors.torch import load_file

        weights = load_file(weights_file)
        self._window = torch.hann_window(_N_FFT)
        #: (taps, channels in, channels out) and (channels out,) of each convolution.
        self._convs = [
            (weights[f"conv{n}.weight"].permute(2, 1, 0).contiguous(), weights[f"conv{n}.bias"]) for n in (1, 2, 3, 4)
        ]
        num_units = weights["lstm_cell.weight_hh"].shape[1]
        self._lstm = torch.nn.LSTM(num_units, num_units)
        with torch.no_grad():
            for name, parameter in self._lstm.named_parameters():
                parameter.copy_(weights[f"lstm_cell.{name.removesuffix('_l0')}"])
        self._out_weight = weights["final_conv.weight"][0, :, 0]
        self._out_bias = weights["final_conv.bias"]

    def probabilities(self, pcm_BT: Tensor) -> Tensor:
        """Probability of speech in each chunk, (B, C), of windows (B, T) at 16 kHz; T is a multiple of 512.

        The state is zero where a window starts.
        """
        num_windows, num_chunks = pcm_BT.shape[0], pcm_BT.shape[1] // CHUNK_SAMPLES
        padded = torch.nn.functional.pad(pcm_BT, (_CONTEXT_SAMPLES, 0))
        chunks_CBS = padded.unfold(1, _CONTEXT_SAMPLES + CHUNK_SAMPLES, CHUNK_SAMPLES).transpose(0, 1)
        steps = max(1, _ENCODER_CHUNKS // num_windows)
        encoded = [
            self._encode(chunks_CBS[first : first + steps].reshape(-1, _CONTEXT_SAMPLES + CHUNK_SAMPLES))
            for first in range(0, num_chunks, steps)
        ]
        hidden_CBL, _ = self._lstm(torch.cat(encoded).view(num_chunks, num_windows, -1))
        return torch.sigmoid(hidden_CBL.relu() @ self._out_weight + self._out_bias).T

    def _encode(self, chunks_MS: Tensor) -> Tensor:
        """What the LSTM is given of each chunk, (M, L)."""
        # Mirrored at its end, without the last sample itself.
        mirrored = torch.cat([chunks_MS, chunks_MS[:, -1 - _MIRRORED_SAMPLES : -1].flip(1)], dim=1)
        frames_4MS = torch.stack([mirrored[:, first : first + _N_FFT] for first in _FRAME_STARTS]).mul_(self._window)
        spectrum_4MK = torch.fft.rfft(frames_4MS)
        # abs() of complex numbers takes three times as long.
        magnitude_4MK = (spectrum_4MK.real.square() + spectrum_4MK.imag.square()).sqrt_()
        y_2MF = _conv_stride_2(_conv(magnitude_4MK, *self._convs[0]), *self._convs[1])
        return _conv(_conv_stride_2(y_2MF, *self._convs[2]), *self._convs[3])[0]


def _conv(x_TMF: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution of three taps over the T frames, zeros beyond them, and a ReLU: (T, M, channels out)."""
    y_TMF = _product(x_TMF, weight[1], bias)
    if len(x_TMF) > 1:
        _add_product(y_TMF[1:], x_TMF[:-1], weight[0])
        _add_product(y_TMF[:-1], x_TMF[1:], weight[2])
    return y_TMF.relu_()


def _conv_stride_2(x_TMF: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same at every second of the T frames (an even number), from the first: (T / 2, M, channels out)."""
    even, odd = x_TMF[0::2], x_TMF[1::2]
    y_TMF = torch.stack([_product(frame[None], weight[1], bias)[0] for frame in even])
    for index, frame in enumerate(odd):
        y_TMF[index].addmm_(frame, weight[2])
        if index + 1 < len(y_TMF):
            y_TMF[index + 1].addmm_(frame, weight[0])
    return y_TMF.relu_()


def _product(x_TMF: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.addmm(bias, x_TMF.flatten(0, 1), weight).view(*x_TMF.shape[:2], -1)


def _add_product(y_TMF: Tensor, x_TMF: Tensor, weight: Tensor) -> None:
    y_TMF.flatten(0, 1).addmm_(x_TMF.flatten(0, 1), weight)
