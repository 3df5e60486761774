"""The settings of `whisper-bilstm`: sizes of its encoder, how much of it learns, and its head."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ser_core.models.architectures.whisper_encoder import HEAD_FEATURES
from ser_core.settings import Settings


class WhisperBilstmSettings(Settings):
    """Sizes of the encoder (by default whisper-base's), how much of it learns, and the head."""

    num_layers: int = Field(default=5, ge=1, le=64, description="Blocks of the encoder; whisper-base has 6.")
    frozen_layers: int = Field(
        default=5, ge=0, description="Blocks that keep their weights, as the convolutions then do; 0: all learns."
    )
    first_mixed_layer: int = Field(
        default=2,
        ge=0,
        description="First layer of the mix that the head reads; 0: the convolutions' output, 1: the first block's.",
    )
    width: int = Field(
        default=512,
        ge=HEAD_FEATURES,
        le=8192,
        multiple_of=HEAD_FEATURES,
        description="Features of the encoder's layers.",
    )
    moonshine_layers: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Blocks of Moonshine's encoder, frozen, whose statistics are read beside those of these layers; "
        "moonshine-base has 8. It hears samples: mel {samples: true, cleaned: true, scale: whisper}. 0: none.",
    )
    first_moonshine_layer: int = Field(
        default=2, ge=1, description="First of its blocks that is read; 1: the first one."
    )
    moonshine_width: int = Field(default=416, ge=16, le=8192, multiple_of=16, description="Features of its blocks.")
    steps_per_lstm_step: int = Field(
        default=2, ge=1, le=1000, description="Steps of 20 ms whose mean is one step of the BiLSTM."
    )
    lstm_units: int = Field(default=128, ge=1, le=8192, description="Units of the BiLSTM in each direction.")
    statistics: Literal["none", "mix", "layers"] = Field(
        default="layers",
        description="What the mean and standard deviation over time are taken of, which the head reads beside the "
        "BiLSTM: nothing, the mix, or each of its layers.",
    )
    mask_padding: bool = Field(
        default=False,
        description="Whether what follows a window's last sound is taken for padding, which no layer attends to.",
    )
    speech_ranges_db: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(strict=False)] = Field(
        default=(40.0,),
        min_length=1,
        max_length=8,
        description="Decibels below the window's loudest step at which a step no longer counts as speech, and so not "
        "in the statistics; 0: all steps count. Each range is a view of the window: the regression is fitted to all "
        "of them, classifiers learn from one that is drawn, and their mean is the prediction.",
    )
    regression: bool = Field(
        default=False,
        description="Whether a logistic regression reads the statistics, fitted to its minimum before the first epoch; "
        "its logits and the classifiers' are added. For a frozen encoder.",
    )
    classifiers_learn: Literal["rest", "all"] = Field(
        default="rest",
        description="What the classifiers learn beside a regression. rest: what it has not learned, from the BiLSTM "
        "alone; all: the labels, as if there were none, from the BiLSTM and the statistics.",
    )
    statistics_noise: float = Field(
        default=0.5,
        ge=0,
        description="Standard deviations of the noise on the statistics in training, where classifiers read them.",
    )
    num_classifiers: int = Field(
        default=8,
        ge=1,
        le=64,
        description="Classifiers, each with its own dropout and loss; their mean is the prediction.",
    )
    hidden_units: int = Field(
        default=64, ge=0, le=8192, description="Units of each classifier's hidden layer; 0: it has none."
    )
    dropout: float = Field(default=0.4, ge=0, le=1, description="Dropout before the BiLSTM and the classifiers.")
    lstm_drop_path: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of training windows that are predicted without the BiLSTM, so that it learns to add.",
    )

    @property
    def classifiers_learn_rest(self) -> bool:
        """Whether the classifiers learn what a regression leaves, and so read no statistics."""
        return self.regression and self.classifiers_learn == "rest"

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("frozen_layers", "first_mixed_layer"):
            if getattr(self, name) > self.num_layers:
                raise ValueError(f"{name} must be at most num_layers ({self.num_layers})")
        if self.moonshine_layers and (self.frozen_layers == 0 or self.statistics != "layers"):
            raise ValueError("moonshine_layers are frozen: frozen_layers must be above 0, and statistics 'layers'")
        if 0 < self.moonshine_layers < self.first_moonshine_layer:
            raise ValueError(f"first_moonshine_layer must be at most moonshine_layers ({self.moonshine_layers})")
        if self.regression and (self.frozen_layers < self.num_layers or self.statistics != "layers"):
            raise ValueError(
                "a regression reads what does not change in training: frozen_layers must be num_layers, and statistics "
                "'layers'"
            )
        return self
