"""Sizes of `whisper-bilstm`, what of it learns, and what its head reads."""

import dataclasses
from typing import Literal

from ser_core.errors import UsageError
from ser_core.settings import Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class WhisperBilstmSettings(Settings):
    """Sizes of the encoder (by default whisper-base's), how much of it learns, and the head."""

    #: How many of the encoder's blocks are there; whisper-base has 6.
    num_layers: int = 5
    #: The convolutions and so many blocks keep their weights; 0: all learns.
    frozen_layers: int = 5
    #: The head reads a learned mix of the layers from this one on; 0: what the convolutions give, 1: the first block.
    first_mixed_layer: int = 2
    width: int = 512
    num_heads: int = 8
    mlp_width: int = 2048
    #: The BiLSTM reads the mean of so many steps, which are 20 ms each.
    steps_per_lstm_step: int = 2
    lstm_units: int = 128
    #: How the BiLSTM's steps become one vector: their weighted mean, or weighted mean and standard deviation.
    pooling: Literal["attention", "attentive-statistics"] = "attentive-statistics"
    #: Beside it, the plain mean and standard deviation over time of the mix, or of each of its layers.
    statistics: Literal["none", "mix", "layers"] = "layers"
    #: Whether what follows a window's last sound is heard, or taken for padding.
    hears_padding: bool = True
    #: They are of speech alone: steps so much quieter than the window's loudest are left out; 0: of all steps.
    speech_range_db: float = 40.0
    #: A logistic regression reads them, fitted to its minimum before all else; the classifiers then read the BiLSTM
    #: alone, and add to what it says. For a frozen encoder.
    regression: bool = False
    #: Where there is no regression: Gaussian noise on them in training, in deviations; 0: none.
    statistics_noise: float = 0.5
    #: So many classifiers read what was heard, each with its own dropout and its own loss; the answer is their mean.
    num_classifiers: int = 8
    #: Of each one's hidden layer; 0: there is none.
    hidden_units: int = 64
    dropout: float = 0.4
    #: How often a window is told by the statistics alone, in training: the BiLSTM then adds to what they say.
    lstm_drop_path: float = 0.0
    #: Of the hidden layer.
    hidden_dropout: float = 0.5

    def __post_init__(self) -> None:
        sizes = (
            self.num_layers, self.width, self.num_heads, self.mlp_width, self.steps_per_lstm_step, self.lstm_units,
            self.num_classifiers,
        )  # fmt: skip
        if min(sizes) < 1 or self.width % (2 * self.num_heads) or self.width < 4:
            raise UsageError("whisper-bilstm: sizes must be at least 1, and width a multiple of twice num_heads")
        for name in ("speech_range_db", "statistics_noise", "hidden_units"):
            if getattr(self, name) < 0:
                raise UsageError(f"whisper-bilstm: {name} must be 0 or more, not {getattr(self, name):g}")
        if not 0 <= self.lstm_drop_path < 1:
            raise UsageError(f"whisper-bilstm: lstm_drop_path must be 0 to less than 1, not {self.lstm_drop_path:g}")
        for name in ("frozen_layers", "first_mixed_layer"):
            if not 0 <= getattr(self, name) <= self.num_layers:
                raise UsageError(f"whisper-bilstm: {name} must be 0 to num_layers ({self.num_layers})")
        if self.regression and (self.frozen_layers < self.num_layers or self.statistics != "layers"):
            raise UsageError(
                "whisper-bilstm: a regression reads what does not change in training: "
                "frozen_layers must be num_layers, and statistics 'layers'"
            )
