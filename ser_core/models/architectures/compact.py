"""`compact`: a small CNN-BiLSTM for CPUs; about 0.6 M parameters, hundreds of windows a second on one core.

Shape letters: B windows, F mel bands, T mel frames, S steps (T / 4), H features, D channels, C labels.
"""

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from ser_core.audio import MelSettings
from ser_core.models.base import Architecture, SpeechModel
from ser_core.models.layers import BatchNorm, as_read, attentive_statistics
from ser_core.settings import Settings

#: Each convolution's channels, as a multiple of `width`, and its stride over (mel bands, frames).
_LAYERS = (
    (1.0, (2, 2)),
    (1.5, (2, 2)),
    (2.0, (1, 1)),
    (2.0, (2, 1)),
    (3.0, (1, 1)),
    (3.0, (2, 1)),
    (4.0, (2, 1)),
)


class CompactSettings(Settings):
    """Sizes of a `compact` model."""

    width: int = Field(default=32, ge=16, le=4096, multiple_of=16, description="Channels of the first convolution.")
    lstm_units: int = Field(default=96, ge=1, le=8192, description="Units of the BiLSTM in each direction.")
    dropout: float = Field(default=0.3, ge=0, le=1, description="Dropout before the BiLSTM and the classifier.")


class Compact(SpeechModel):
    """Convolutions over bands and time -> BiLSTM over time -> attentive mean and deviation -> one logit a label.

    Batch normalisation uses statistics of the batch, over all workers, in training only. In evaluation mode it is a
    constant scale and shift, so a prediction does not depend on its neighbours.
    """

    def __init__(self, settings: CompactSettings, num_mels: int, num_labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, bands = 1, num_mels
        for multiple, stride in _LAYERS:
            layers.append(_conv(channels, int(settings.width * multiple), stride))
            channels, bands = int(settings.width * multiple), math.ceil(bands / stride[0])
        self.convolutions = nn.Sequential(*layers)
        self.to_steps = nn.Sequential(nn.Linear(channels * bands, 4 * settings.width), nn.ReLU())
        self.lstm = nn.LSTM(4 * settings.width, settings.lstm_units, batch_first=True, bidirectional=True)
        self.attention = nn.Linear(2 * settings.lstm_units, 1)
        self.dropout = nn.Dropout(settings.dropout)
        self.classify = nn.Linear(4 * settings.lstm_units, num_labels)
        # Twice as fast on CPUs as the default layout.
        self.convolutions.to(memory_format=torch.channels_last)

    HEAD_MODULES = frozenset({"classify"})
    HEAD_SETTINGS = frozenset({"dropout"})

    def embed_encoded(self, encoded: Tensor) -> Tensor:
        """The pooled statistics of normalised log-mel windows (B, F, T): nothing is frozen here."""
        maps_BDFS = self.convolutions(encoded.unsqueeze(1))
        steps_BSH = self.to_steps(maps_BDFS.flatten(1, 2).transpose(1, 2))
        steps_BSH, _ = self.lstm(self.dropout(steps_BSH))
        pooled_BH = attentive_statistics(steps_BSH, self.attention(steps_BSH))
        return pooled_BH if self.training else as_read(pooled_BH)

    def classify_embedded(self, embedding_BE: Tensor) -> Tensor:
        logits_BC: Tensor = self.classify(self.dropout(embedding_BE))
        return logits_BC


def _conv(channels_in: int, channels_out: int, stride: tuple[int, int]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=stride, padding=1, bias=False),
        BatchNorm(channels_out),
        nn.ReLU(),
    )


ARCHITECTURE = Architecture(CompactSettings, Compact, MelSettings(cleaned=True, high_pass_hz=70.0))
