"""`vgg16-bilstm`: the convolutions of VGG16 over a log-mel as a picture, read along time by an LSTM.

Shape letters: B windows, F mel bands, T mel frames, D channels, S steps and R rows of a block's maps, N features of a
window, P statistics, C labels.
"""

from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import pad

from ser_core.audio import MelSettings
from ser_core.errors import UsageError
from ser_core.models.architectures.vgg16_weights import BLOCK_ENDS, WeightsInput, read_features
from ser_core.models.base import Architecture, Regression, SpeechModel
from ser_core.models.layers import BatchNorm, as_read, weighted_statistics
from ser_core.settings import Settings

_CHANNELS = (64, 128, 256, 512, 512)
_NUM_BLOCKS = len(_CHANNELS)


class Vgg16BilstmSettings(Settings):
    """How much of VGG16 there is (Simonyan & Zisserman 2014, arXiv 1409.1556), how much of it learns, and the head."""

    num_blocks: int = Field(
        default=_NUM_BLOCKS, ge=1, le=_NUM_BLOCKS, description="Blocks of convolutions; the LSTM reads the last one."
    )
    frozen_blocks: int = Field(
        default=0, ge=0, le=_NUM_BLOCKS, description="Blocks that keep their weights; 0: all learns."
    )
    regression: bool = Field(
        default=False,
        description="Whether a logistic regression reads the frozen blocks: the mean and deviation over time of each "
        "channel in each band. It is fitted to its minimum before the first epoch; its logits and the LSTM's are "
        "added.",
    )
    first_read_block: int = Field(
        default=2, ge=1, le=_NUM_BLOCKS, description="First of the frozen blocks that a regression reads."
    )
    classifiers_learn: Literal["rest", "all"] = Field(
        default="rest",
        description="What is learned beside a regression. rest: what it has not learned; all: the labels, as if there "
        "were none.",
    )
    batch_norm: bool = Field(default=False, description="Whether the last block is normalised over the batch.")
    bidirectional: bool = Field(default=True, description="Whether a second LSTM reads from the end.")
    lstm_units: int = Field(default=128, ge=1, le=8192, description="Units of the LSTM in each direction.")
    dropout: float = Field(default=0.4, ge=0, le=1, description="Dropout before the classifier.")
    weights_input: WeightsInput = Field(
        default="auto",
        description="Which pictures the file of weights wants. standardised: RGB from 0 to 1 less the mean, over the "
        "deviation; caffe: from 0 to 255 less the mean; auto: known for ImageNet's published weights.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.frozen_blocks > self.num_blocks:
            raise ValueError(f"frozen_blocks must be at most num_blocks ({self.num_blocks})")
        if self.regression and self.first_read_block > self.frozen_blocks:
            most = f"first_read_block must be at most frozen_blocks ({self.frozen_blocks})"
            raise ValueError(f"a regression reads frozen blocks: {most}")
        return self


class Vgg16Bilstm(SpeechModel):
    """VGG16's blocks -> LSTM over time -> mean over time -> one logit a label; beside it a regression, if there is one.

    Of a picture of N x M each block makes maps of half its height and width, rounded down.
    """

    def __init__(self, settings: Vgg16BilstmSettings, num_mels: int, num_labels: int) -> None:
        super().__init__()
        self._settings, self._num_mels = settings, num_mels
        num_rows = num_mels >> settings.num_blocks
        if num_rows < 1:
            raise UsageError(
                f"num_blocks: {settings.num_blocks} blocks of VGG16 need {2**settings.num_blocks} mel bands or more, "
                f"not {num_mels}"
            )
        self.features = _vgg16_features(settings.num_blocks)
        self._frozen_end = BLOCK_ENDS[settings.frozen_blocks - 1] if settings.frozen_blocks else 0
        self.features[: self._frozen_end].requires_grad_(False)
        channels = _CHANNELS[settings.num_blocks - 1]
        if settings.batch_norm:
            self.norm = BatchNorm(channels)
        self.lstm = nn.LSTM(
            channels * num_rows, settings.lstm_units, batch_first=True, bidirectional=settings.bidirectional
        )
        self.dropout = nn.Dropout(settings.dropout)
        self.classify = nn.Linear((1 + settings.bidirectional) * settings.lstm_units, num_labels)
        self._num_statistics = 0
        if settings.regression:
            blocks = range(settings.first_read_block, settings.frozen_blocks + 1)
            self._num_statistics = sum(2 * _CHANNELS[block - 1] * (num_mels >> block) for block in blocks)
            self.regression = Regression(self._num_statistics, num_labels)
            if settings.classifiers_learn == "rest":
                # The classifier begins with what the regression says, and learns what is left.
                nn.init.zeros_(self.classify.weight)
                nn.init.zeros_(self.classify.bias)
        self.features.to(memory_format=torch.channels_last)

    @property
    def has_frozen_layers(self) -> bool:
        """Whether at least one block is frozen."""
        return self._settings.frozen_blocks > 0

    @property
    def encoding_key(self) -> str:
        return f"read from block {self._settings.first_read_block}" if self._settings.regression else ""

    def encode_frozen(self, mel_BFT: Tensor) -> Tensor:
        """Statistics of the frozen blocks, and the last one's maps (B, N); the log-mel where nothing is frozen."""
        if not self.has_frozen_layers:
            return mel_BFT
        with torch.no_grad():
            maps_BDRS, statistics = self._picture(mel_BFT), []
            for block in range(1, self._settings.frozen_blocks + 1):
                maps_BDRS = self.features[_start(block) : BLOCK_ENDS[block - 1]](maps_BDRS)
                if self._settings.regression and block >= self._settings.first_read_block:
                    statistics.append(_statistics(maps_BDRS))
            return torch.cat([*statistics, maps_BDRS.flatten(1)], dim=1)

    HEAD_MODULES = frozenset({"classify", "regression"})
    HEAD_SETTINGS = frozenset({"dropout", "classifiers_learn", "weights_input"})

    def embed_encoded(self, encoded: Tensor) -> Tensor:
        """The LSTM's mean over time, and behind it the statistics that the regression reads."""
        maps_BDRS = self.features[self._frozen_end :](self._maps(encoded))
        if self._settings.batch_norm:
            maps_BDRS = self.norm(maps_BDRS)
        steps_BSH, _ = self.lstm(maps_BDRS.flatten(1, 2).transpose(1, 2))
        pooled_BH: Tensor = steps_BSH.mean(dim=1)
        pooled_BH = pooled_BH if self.training else as_read(pooled_BH)
        if self.regression is None:
            return pooled_BH
        return torch.cat([pooled_BH, self.regression_features(encoded)], dim=1)

    def classify_embedded(self, embedding_BE: Tensor) -> Tensor:
        pooled_BH = embedding_BE[:, : self.classify.in_features]
        logits_BC: Tensor = self.classify(self.dropout(pooled_BH))
        if self.regression is not None and (self._settings.classifiers_learn == "rest" or not self.training):
            logits_BC = logits_BC + self.regression(self.embedded_features(embedding_BE))
        return logits_BC

    def regression_features(self, encoded: Tensor) -> Tensor:
        return encoded[:, : self._num_statistics].float()

    def embedded_features(self, embedding_BE: Tensor) -> Tensor:
        return embedding_BE[:, self.classify.in_features :]

    def _maps(self, encoded: Tensor) -> Tensor:
        """What the learning blocks read: the frozen ones' maps (B, D, R, S), or the picture."""
        if not self.has_frozen_layers:
            return self._picture(encoded)
        block = self._settings.frozen_blocks
        maps_BN = encoded[:, self._num_statistics :]
        maps_BDRS = maps_BN.reshape(len(maps_BN), _CHANNELS[block - 1], self._num_mels >> block, -1)
        maps_BDRS = maps_BDRS.float() if maps_BDRS.dtype == torch.float16 else maps_BDRS
        return maps_BDRS.contiguous(memory_format=torch.channels_last)

    def _picture(self, mel_BFT: Tensor) -> Tensor:
        """The log-mel as the three colours (B, 3, F, T); the last frame is repeated where there are too few to halve.

        What ImageNet's colours are is in the weights (vgg16_weights.py).
        """
        missing = max(0, 2**self._settings.num_blocks - mel_BFT.shape[2])
        image_B3FT = pad(mel_BFT, (0, missing), mode="replicate").unsqueeze(1).expand(-1, 3, -1, -1)
        return image_B3FT.contiguous(memory_format=torch.channels_last)

    def encoder_layers(self) -> list[list[nn.Parameter]]:
        """Each learning convolution's."""
        learning = self.features[self._frozen_end :]
        return [list(layer.parameters()) for layer in learning if isinstance(layer, nn.Conv2d)]

    def load_weights(self, file: Path) -> None:
        """Start the convolutions from trained ones.

        Raises:
            UsageError: the file holds no VGG16.
        """
        settings = self._settings
        self.features.load_state_dict(read_features(file, settings.num_blocks, settings.weights_input))


def _start(block: int) -> int:
    return BLOCK_ENDS[block - 2] if block > 1 else 0


def _statistics(maps_BDRS: Tensor) -> Tensor:
    """The mean and deviation over time of each channel in each row, (B, P)."""
    weights_11S1 = maps_BDRS.new_ones(1, 1, maps_BDRS.shape[3], 1)
    return weighted_statistics(maps_BDRS.transpose(2, 3), weights_11S1).flatten(1)


def _vgg16_features(num_blocks: int) -> nn.Sequential:
    """VGG16's first blocks, new; torchvision's `vgg16` would make its 120 M parameters of classifier, too."""
    # torchvision takes a second to import: only models of this architecture pay for it.
    from torchvision.models.vgg import cfgs, make_layers

    features: nn.Sequential = make_layers(cfgs["D"])[: BLOCK_ENDS[num_blocks - 1]]
    for parameter in features.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")
        else:
            nn.init.zeros_(parameter)
    return features


ARCHITECTURE = Architecture(Vgg16BilstmSettings, Vgg16Bilstm, MelSettings(cleaned=True, high_pass_hz=70.0))
