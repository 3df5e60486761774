"""Whisper's encoder (Radford et al. 2022, arXiv 2212.04356), for windows of any length: never padded to 30 s.

Shape letters: B windows, F mel bands, T mel frames, S steps (T / 2), H features, N heads, D features of a head.

Parameters are named as in the published checkpoints (`model.encoder.` of openai/whisper-base), so they load as
they are. The last layer norm is not here: what this program reads is the layers themselves.
"""

import math
import re
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from ser_core.errors import UsageError
from ser_core.models.pretrained import load_encoder, read_checkpoint, without_prefix

#: Features of an attention head, the same in every size of Whisper.
HEAD_FEATURES = 64
_KERNEL_FRAMES = 3
#: Features of the MLP's hidden layer, in layers' features; the same in every size of Whisper.
_MLP_RATIO = 4
#: Parts of names in OpenAI's own files, and what they are called in the published checkpoints.
_OPENAI_NAMES = {
    "positional_embedding": "embed_positions.weight", "blocks": "layers", "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj", "attn.value": "self_attn.v_proj", "attn.out": "self_attn.out_proj",
    "attn_ln": "self_attn_layer_norm", "mlp.0": "fc1", "mlp.2": "fc2", "mlp_ln": "final_layer_norm",
}  # fmt: skip
_NAME_OF_OPENAI = re.compile(rf"(?<![^.])({'|'.join(map(re.escape, _OPENAI_NAMES))})(?![^.])")
#: float16 rounds the published sinusoids by half of it.
_POSITION_TOLERANCE = 1e-3


class WhisperEncoder(nn.Module):
    """Two convolutions and sinusoidal positions (`embed`), then pre-norm blocks of self-attention (`layers`)."""

    def __init__(self, num_mels: int, width: int, num_layers: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(num_mels, width, _KERNEL_FRAMES, padding=1)
        self.conv2 = nn.Conv1d(width, width, _KERNEL_FRAMES, stride=2, padding=1)
        self.layers = nn.ModuleList(_Block(width) for _ in range(num_layers))

    def embed(self, mel_BFT: Tensor) -> Tensor:
        """The input (B, S, H) of the first block: one step for two frames, S = (T + 1) // 2."""
        maps_BHS = gelu(self.conv2(gelu(self.conv1(mel_BFT))))
        # Or every norm and every sum after it would have to turn the steps round again.
        steps_BSH = maps_BHS.transpose(1, 2).contiguous()
        return steps_BSH + positions(steps_BSH.shape[1], steps_BSH.shape[2]).to(steps_BSH)

    def load_published(self, file: Path) -> None:
        """Take the weights of the published openai/whisper-base, or of its encoder alone; layers above go.

        Raises:
            UsageError: the file cannot be read, or holds no encoder of these sizes.
        """
        state = without_prefix(read_checkpoint(file))
        found = {_NAME_OF_OPENAI.sub(lambda match: _OPENAI_NAMES[match[0]], name): state[name] for name in state}
        _check_positions(file, found.get("embed_positions.weight"))
        load_encoder(self, found, file, "openai/whisper-base")


def _check_positions(file: Path, found_SH: Tensor | None) -> None:
    """Positions are computed here: a file with others is of another encoder."""
    if found_SH is not None and not torch.allclose(
        found_SH.float(), positions(*found_SH.shape), rtol=0, atol=_POSITION_TOLERANCE
    ):
        raise UsageError(f"weights {file}: 'embed_positions.weight' is not Whisper's; give openai/whisper-base")


def positions(num_steps: int, width: int) -> Tensor:
    """Sinusoids (S, H), float32: sines, then cosines, of wavelengths from 2 pi to 10,000 x 2 pi steps."""
    num_waves = width // 2
    frequency_H = torch.exp(torch.arange(num_waves) * (-math.log(10_000.0) / (num_waves - 1)))
    angle_SH = torch.arange(num_steps).unsqueeze(1) * frequency_H
    return torch.cat([angle_SH.sin(), angle_SH.cos()], dim=1)


class _Block(nn.Module):
    """Self-attention and an MLP, each on the normed steps and added to them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.self_attn = _SelfAttention(width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, _MLP_RATIO * width)
        self.fc2 = nn.Linear(_MLP_RATIO * width, width)

    def forward(self, steps_BSH: Tensor, is_audio_BS: Tensor | None = None) -> Tensor:
        """The next layer; steps of padding are attended to by none, and what they become is meaningless."""
        steps_BSH = steps_BSH + self.self_attn(self.self_attn_layer_norm(steps_BSH), is_audio_BS)
        mlp_BSH: Tensor = self.fc2(gelu(self.fc1(self.final_layer_norm(steps_BSH))))
        return steps_BSH + mlp_BSH


class _SelfAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(width, width)
        # A bias of the keys would add the same to all scores of a query: softmax takes no notice.
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, steps_BSH: Tensor, is_audio_BS: Tensor | None) -> Tensor:
        query, key, value = (
            project(steps_BSH).unflatten(2, (-1, HEAD_FEATURES)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mask_B11S = None if is_audio_BS is None else is_audio_BS[:, None, None]
        attended_BNSD = scaled_dot_product_attention(query, key, value, mask_B11S)
        out_BSH: Tensor = self.out_proj(attended_BNSD.transpose(1, 2).flatten(2))
        return out_BSH
