"""What is asked of each step of a Whisper encoder: how loud it is, whether it is speech; and the mix of its layers.

Shape letters: B windows, F mel bands, T mel frames, S steps (T / 2), L layers, H features.
"""

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d

#: Whisper's log-mel is log10 of power / 4.
_DB_PER_UNIT = 40.0
#: How softly a step begins to count as speech: a hard step would turn rounding into another prediction.
_SPEECH_EDGE_DB = 2.0


def mixed(layers_BLSH: Tensor, share_L: Tensor) -> Tensor:
    """The weighted sum of layers (B, S, H); as a product of matrices, which needs no gradient of their size."""
    with torch.autocast(layers_BLSH.device.type, enabled=False):
        share_B1L = share_L.to(layers_BLSH.dtype).expand(len(layers_BLSH), 1, -1)
        return torch.bmm(share_B1L, layers_BLSH.flatten(2)).view_as(layers_BLSH[:, 0])


def speech_weights(loudness_BS: Tensor, range_db_B: Tensor) -> Tensor:
    """The weight (B, S) of each step as speech, 0 to 1; the loudest always counts, and all where the range is 0.

    Args:
        loudness_BS: as `loudest_bands` has it.
        range_db_B: for each window, or (1,) for all.
    """
    below_BS = (loudness_BS - loudness_BS.amax(dim=1, keepdim=True)) * _DB_PER_UNIT
    counts_BS = ((below_BS + range_db_B[:, None]) / _SPEECH_EDGE_DB).sigmoid()
    return counts_BS.where(range_db_B[:, None] > 0, 1.0)


def loudest_bands(mel_BFT: Tensor) -> Tensor:
    """The loudest band of each step's two frames (B, S), on the scale of the log-mel."""
    frames_B1T = mel_BFT.amax(dim=1, keepdim=True)
    steps_BS: Tensor = max_pool1d(frames_B1T, kernel_size=2, stride=2, ceil_mode=True).squeeze(1)
    return steps_BS


def step_counts(audio_BS: Tensor, loudness_BS: Tensor, range_db: list[Tensor]) -> list[Tensor]:
    """What each step counts (B, S) in each view: not at all where it is padding, else as speech.

    Args:
        audio_BS: 1 where a step is audio.
        loudness_BS: as `loudest_bands` has it.
        range_db: each view's, as `speech_weights` takes it.
    """
    return [audio_BS * speech_weights(loudness_BS, range_db_B) for range_db_B in range_db]
