"""The first blocks of Moonshine's encoder (Jeffries et al. 2024, arXiv 2410.15608), for windows of any length.

It reads samples: three convolutions take the place of a spectrogram. Rotary positions (Su et al. 2021, arXiv
2104.09864) turn the first features of each head alone, in pairs that lie side by side.

Shape letters: B windows, N samples at 16 kHz, T columns of them, S steps of 24 ms, L layers, H features (or samples
of a column), P statistics, A heads, D features of a head, R of them that turn.

Parameters are named as in the published checkpoints (`model.encoder.` of UsefulSensors/moonshine-base), so they load as
they are. The last layer norm is not here: what this program reads is the blocks themselves.
"""

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, pad, scaled_dot_product_attention

from ser_core.models.layers import weighted_statistics
from ser_core.models.pretrained import load_encoder, read_checkpoint, without_prefix

#: Kernel and stride of each convolution, in what comes into it.
_KERNELS, _STRIDES = (127, 7, 3), (64, 3, 2)
#: Samples from one step to the next, and that a step hears.
_STEP_SAMPLES = math.prod(_STRIDES)
_FIELD_SAMPLES = _KERNELS[0] + _STRIDES[0] * (_KERNELS[1] - 1 + _STRIDES[1] * (_KERNELS[2] - 1))
_NUM_HEADS = 8
#: Share of a head's features that turn with the position, and the base of their wavelengths.
_TURNING, _BASE = 0.62, 10_000.0
_MLP_RATIO = 4
#: What a step counts at least, so that a sum is never nothing.
_LEAST_COUNT = 1e-6
#: Peak of what the encoder hears: about that of the recordings it was trained on.
_LEVEL = 0.5


class MoonshineEncoder(nn.Module):
    """Three convolutions, the first one normed over the whole window, then pre-norm blocks of self-attention."""

    def __init__(self, width: int, num_layers: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(1, width, _KERNELS[0], _STRIDES[0], bias=False)
        self.groupnorm = nn.GroupNorm(1, width)
        self.conv2 = nn.Conv1d(width, 2 * width, _KERNELS[1], _STRIDES[1])
        self.conv3 = nn.Conv1d(2 * width, width, _KERNELS[2], _STRIDES[2])
        self.layers = nn.ModuleList(_Block(width) for _ in range(num_layers))

    def forward(self, pcm_BN: Tensor, num_real_B: Tensor) -> tuple[list[Tensor], Tensor]:
        """Each block's output (B, S, H), and which steps are audio (B, S): what comes of padding counts nowhere.

        Args:
            pcm_BN: float32 samples at the level of speech, as many as a step hears at least.
            num_real_B: samples of each window before its padding.
        """
        maps_BHS = self.conv1(pcm_BN[:, None]).tanh()
        num_real_B = (num_real_B - _KERNELS[0]).div(_STRIDES[0], rounding_mode="floor") + 1
        maps_BHS = self._normed(maps_BHS, _first(num_real_B, maps_BHS.shape[2]))
        for convolve, kernel, stride in (
            (self.conv2, _KERNELS[1], _STRIDES[1]),
            (self.conv3, _KERNELS[2], _STRIDES[2]),
        ):
            maps_BHS = gelu(convolve(maps_BHS))
            num_real_B = (num_real_B - kernel).div(stride, rounding_mode="floor") + 1
        steps_BSH = maps_BHS.transpose(1, 2).contiguous()
        is_audio_BS = _first(num_real_B.clamp(min=1), steps_BSH.shape[1])
        turn_2SR = _turns(steps_BSH)
        layers = []
        for block in self.layers:
            steps_BSH = block(steps_BSH, is_audio_BS, turn_2SR)
            layers.append(steps_BSH)
        return layers, is_audio_BS

    def _normed(self, maps_BHS: Tensor, is_audio_BS: Tensor) -> Tensor:
        """The group norm over what is audio alone; padding becomes 0."""
        norm, audio_B1S = self.groupnorm, is_audio_BS[:, None].float()
        with torch.autocast(maps_BHS.device.type, enabled=False):
            maps_BHS = maps_BHS.float()
            count_B11 = maps_BHS.shape[1] * audio_B1S.sum(dim=2, keepdim=True).clamp(min=1)
            mean_B11 = (maps_BHS * audio_B1S).sum(dim=(1, 2), keepdim=True) / count_B11
            away_BHS = (maps_BHS - mean_B11) * audio_B1S
            variance_B11 = away_BHS.square().sum(dim=(1, 2), keepdim=True) / count_B11
            normed_BHS = away_BHS * (variance_B11 + norm.eps).rsqrt()
            scaled_BHS: Tensor = normed_BHS * norm.weight.float()[:, None] + norm.bias.float()[:, None]
            return scaled_BHS * audio_B1S

    def load_published(self, file: Path) -> None:
        """Take the weights of the published UsefulSensors/moonshine-base, or of its encoder alone; blocks above go.

        Raises:
            UsageError: the file cannot be read, or holds no encoder of these sizes.
        """
        load_encoder(self, without_prefix(read_checkpoint(file)), file, "UsefulSensors/moonshine-base")


def is_moonshine(file: Path) -> bool:
    """Whether a file of weights is of Moonshine.

    Raises:
        UsageError: it cannot be read.
    """
    return "groupnorm.weight" in without_prefix(read_checkpoint(file))


def _first(num_B: Tensor, num_steps: int) -> Tensor:
    """Which steps (B, S) are among the first `num_B`."""
    return torch.arange(num_steps, device=num_B.device) < num_B[:, None]


def _at_steps(counts_BT: Tensor, samples_per_count: int, num_steps: int) -> Tensor:
    """What is counted where the middle of each step lies (B, S): between two, as much of either as it is near."""
    step_S = torch.arange(num_steps, device=counts_BT.device)
    position_S = (_STEP_SAMPLES * step_S + (_FIELD_SAMPLES - samples_per_count) / 2) / samples_per_count
    position_S = position_S.clamp(0, counts_BT.shape[1] - 1)
    before_S = position_S.floor().long()
    after_S = (before_S + 1).clamp(max=counts_BT.shape[1] - 1)
    share_S = position_S - before_S
    return counts_BT[:, before_S] * (1 - share_S) + counts_BT[:, after_S] * share_S


def _turns(steps_BSH: Tensor) -> Tensor:
    """Cosines and sines (2, S, R / 2) by which positions turn pairs of features."""
    num_turning = int(_TURNING * (steps_BSH.shape[2] // _NUM_HEADS)) // 2 * 2
    exponent_R = torch.arange(0, num_turning, 2, device=steps_BSH.device) / num_turning
    angle_SR = torch.arange(steps_BSH.shape[1], device=steps_BSH.device)[:, None] * _BASE**-exponent_R
    return torch.stack([angle_SR.cos(), angle_SR.sin()])


def _turned(values_BASD: Tensor, turn_2SR: Tensor) -> Tensor:
    """Queries or keys, of which the first features are turned in pairs."""
    cos_SR, sin_SR = turn_2SR.to(values_BASD.dtype)
    num_turning = 2 * cos_SR.shape[1]
    even, odd = values_BASD[..., 0:num_turning:2], values_BASD[..., 1:num_turning:2]
    turned = torch.stack([even * cos_SR - odd * sin_SR, odd * cos_SR + even * sin_SR], dim=-1).flatten(-2)
    return torch.cat([turned, values_BASD[..., num_turning:]], dim=-1)


class MoonshineStatistics(nn.Module):
    """Samples -> mean and standard deviation over time of the normed blocks, which are frozen."""

    def __init__(self, width: int, num_layers: int, first_layer: int) -> None:
        """Read the blocks from `first_layer` on, of `num_layers`; the first one is 1."""
        super().__init__()
        self.encoder = MoonshineEncoder(width, num_layers)
        self.requires_grad_(False)
        self._first = first_layer - 1
        #: Number of features of a view.
        self.num_features = 2 * width * (num_layers - self._first)

    def forward(self, samples_BHT: Tensor, num_real_B: Tensor, counts: list[Tensor]) -> list[Tensor]:
        """The statistics (B, P) of each view.

        Args:
            samples_BHT: columns of samples, one after the other; their peak is 1.
            num_real_B: samples of each window before its padding.
            counts: of each view, what each two columns count (B, T / 2).
        """
        pcm_BN = _LEVEL * samples_BHT.transpose(1, 2).flatten(1)
        pcm_BN = pad(pcm_BN, (0, max(0, _FIELD_SAMPLES - pcm_BN.shape[1])))
        layers, is_audio_BS = self.encoder(pcm_BN, num_real_B)
        read_BLSH = torch.stack([layer_norm(layer.float(), layer.shape[2:]) for layer in layers[self._first :]], dim=1)
        views = []
        for of_view_BS in counts:
            counts_BS = _at_steps(of_view_BS.float(), 2 * samples_BHT.shape[1], read_BLSH.shape[2])
            counts_BS = counts_BS * is_audio_BS + _LEAST_COUNT
            views.append(weighted_statistics(read_BLSH, counts_BS[:, None, :, None]).flatten(1))
        return views


class _Block(nn.Module):
    """Self-attention and an MLP, each on the normed steps and added to them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(width, bias=False)
        self.self_attn = _SelfAttention(width)
        self.post_attention_layernorm = nn.LayerNorm(width, bias=False)
        self.mlp = _Mlp(width)

    def forward(self, steps_BSH: Tensor, is_audio_BS: Tensor, turn_2SR: Tensor) -> Tensor:
        steps_BSH = steps_BSH + self.self_attn(self.input_layernorm(steps_BSH), is_audio_BS, turn_2SR)
        mlp_BSH: Tensor = self.mlp(self.post_attention_layernorm(steps_BSH))
        return steps_BSH + mlp_BSH


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, _MLP_RATIO * width)
        self.fc2 = nn.Linear(_MLP_RATIO * width, width)

    def forward(self, steps_BSH: Tensor) -> Tensor:
        out_BSH: Tensor = self.fc2(gelu(self.fc1(steps_BSH)))
        return out_BSH


class _SelfAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, steps_BSH: Tensor, is_audio_BS: Tensor, turn_2SR: Tensor) -> Tensor:
        query, key, value = (
            project(steps_BSH).unflatten(2, (_NUM_HEADS, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = _turned(query, turn_2SR), _turned(key, turn_2SR)
        attended_BASD = scaled_dot_product_attention(query, key, value, is_audio_BS[:, None, None])
        out_BSH: Tensor = self.o_proj(attended_BASD.transpose(1, 2).flatten(2))
        return out_BSH
