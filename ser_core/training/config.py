"""Everything a training can be told; configs/train.yaml shows every field with its default."""

from pathlib import PurePath
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from ser_core.audio import MelSettings
from ser_core.settings import (
    Device,
    PathText,
    PathTexts,
    Probability,
    ResolvedPrecision,
    Settings,
    WeightsDtype,
    WindowSeconds,
)
from ser_core.speech import SpeechSettings
from ser_core.training.data_config import AugmentSettings, Sampling, SplitSettings
from ser_core.vocabulary import SpeechMode, is_published

#: What may change between two runs of one training: where and by how many it is done, not what comes out.
PLACE_SETTINGS = ("workers", "device", "address", "threads", "cache_dir", "max_failures")
#: In a teacher's name, the fold's number.
FOLD = "{fold}"


class Distillation(Settings):
    """Learning from other models' predictions, beside the labels (Hinton et al. 2015, arXiv 1503.02531)."""

    teachers: PathTexts = Field(
        default=(),
        description="Models with the same labels, the mean of whose probabilities is learned; none: no distillation. "
        "{fold} in a name is the fold's number: a teacher must not have been trained on the speakers that are tested.",
    )
    weight: Probability = Field(
        default=0.5, description="Weight of the teachers' part of the loss; the labels have the rest."
    )
    temperature: float = Field(
        default=2.0,
        ge=0.1,
        le=100,
        description="Temperature that divides the logits of teachers and student, so that small probabilities count.",
    )


class TrainConfig(Settings):
    """The recipe of a model, and where it is trained."""

    name: str | None = Field(default=None, description="Name of the model; by default the last part of MODEL_DIR.")
    licence: str | None = Field(
        default=None,
        description="Licence of the weights, for the model's card; by default that of the corpora, where it is known.",
    )
    licence_file: PathText | None = Field(
        default=None, description="Text file with more about the licence, to be copied beside the weights."
    )
    architecture: str = Field(
        default="compact",
        description="compact, vgg16-bilstm, whisper-bilstm or an installed one. On the "
        "command line also a Python file with one of your own, which is executed.",
    )
    architecture_settings: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the architecture, where they are not its defaults."
    )
    mel: dict[str, Any] = Field(
        default_factory=dict,
        description="Settings of the log-mel (sample_rate_hz, n_fft, hop_length, num_mels, ...) that are not the "
        "architecture's; mean_db and std_db come from the data.",
    )
    weights: PathText | None = Field(
        default=None,
        description="Trained weights to start from: a file, an http(s) URL, a model folder, or a published name, "
        "openai/whisper-base or imagenet, which is fetched once; by default the training starts from scratch.",
    )
    weights_sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{8,64}$",
        description="How the sha256 of these weights begins, so that a recipe cannot start from others.",
    )
    second_weights: PathText | None = Field(
        default=None,
        description="Those of the second encoder, where the architecture has two (whisper-bilstm with "
        "moonshine_layers): a file, a URL or a published name, UsefulSensors/moonshine-base.",
    )
    window_seconds: WindowSeconds = Field(default=3.0, description="Length of a window in seconds.")
    windows_per_clip: int = Field(
        default=4,
        ge=1,
        le=1000,
        description="Windows of a clip, evenly spread, one of which is taken in an epoch. It counts where no "
        "augmentation changes waveforms: features are cached then.",
    )
    cache_frozen: bool = Field(
        default=False,
        description="Whether the output of frozen layers is cached for these windows; nothing before them can be "
        "augmented then.",
    )
    speech: SpeechMode = Field(
        default="on", description="Which windows are learned from: on, those with speech, as scoring hears it; or all."
    )
    min_speech_seconds: float = Field(
        default=0.3, ge=0.001, le=600, description="Seconds of speech that a window needs, as for scoring."
    )
    epochs: int = Field(default=30, ge=1, le=10**6, description="Passes over the training clips.")
    batch_size: int = Field(default=16, ge=1, le=65_536, description="Clips in a step, of all workers together.")
    learning_rate: float = Field(default=1e-3, ge=0, le=100, description="Peak learning rate of AdamW.")
    encoder_learning_rate: float = Field(
        default=1e-5, ge=0, le=100, description="Peak learning rate of layers that start from trained weights."
    )
    layer_rate_decay: Probability = Field(
        default=1.0,
        description="Factor from one of those layers to the one below it; the last of them has encoder_learning_rate.",
    )
    weight_decay: float = Field(default=0.02, ge=0, le=100, description="Weight decay of AdamW; 0 makes it Adam.")
    schedule: Literal["one_cycle", "none"] = Field(
        default="one_cycle",
        description="Schedule of the learning rate: one_cycle (up, then down to nothing) or none (it stays).",
    )
    label_smoothing: float = Field(
        default=0.1, ge=0, le=0.99, description="Share of each target that is spread over all labels."
    )
    regression_c: float = Field(
        default=0.003,
        ge=1e-9,
        le=1e9,
        description="Inverse strength of the regularisation (scikit-learn's C), for a model that has a regression.",
    )
    regression_loss: Literal["logistic", "squared", "both"] = Field(
        default="logistic",
        description="What the regression minimises. logistic; or squared: a ridge on labels as zeros and ones, scaled "
        "by cross-validation, for many more features than clips; or both: the mean of the two regressions' logits, in "
        "which the dampings are the ridge's. Trained weights (--from) are moved by the logistic.",
    )
    regression_ridge_c: float = Field(
        default=0.0001,
        ge=1e-9,
        le=1e9,
        description="Inverse strength of the ridge's regularisation, where regression_loss is both.",
    )
    regression_centred: bool = Field(
        default=False,
        description="Whether the regression is fitted to what is left of the statistics when each speaker's mean has "
        "been moved to that of his corpus: it then reads how people speak and not who does.",
    )
    regression_speaker_damping: float = Field(
        default=0.0,
        ge=0,
        le=0.99,
        description="Share of what training speakers differ most in (the eight largest directions) that the regression "
        "does not see; 0: it sees all.",
    )
    regression_tempo_damping: float = Field(
        default=0.0,
        ge=0,
        le=0.99,
        description="Share of what another tempo changes most of the statistics (four directions) that the regression "
        "does not see; 0: it sees all.",
    )
    sampling: Sampling = Field(
        default="natural",
        description="natural: each clip once an epoch; balanced: every emotion of every corpus equally often, so that "
        "some clips come twice; square_root: half way there.",
    )
    ema_decay: float = Field(
        default=0.99,
        ge=0,
        le=0.999999,
        description="Decay of the exponential moving average of the weights, which is what is validated and stored; 0: "
        "the weights themselves.",
    )
    grad_clip_norm: float = Field(
        default=2.0, ge=0, le=10**9, description="Norm that gradients are clipped to; 0: they are not clipped."
    )
    precision: ResolvedPrecision = Field(default="fp32", description="fp32, or bf16 (autocast).")
    temperature: float | None = Field(
        default=None,
        ge=0.1,
        le=10,
        description="Temperature that divides the model's logits; by default it is fitted to the calibration set, or "
        "1 where there is none. Where it is given, nobody is held back for it: a model that is trained on everybody "
        "takes the one of its recipe's folds.",
    )
    calibration: Literal["held_out", "folds"] = Field(
        default="held_out",
        description="What the temperature is fitted to. held_out: the calibration set. folds: where there are folds, "
        "nobody is held back, and each one's is fitted to what the other folds' models predict for their test clips.",
    )
    weights_dtype: WeightsDtype = Field(
        default="fp32",
        description="How the model's weights are stored. int8: the matrices of frozen layers in 8 bits with a scale a "
        "row, all else as with fp16. Nothing computes in it, and what is measured is what is stored.",
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="Seed of everything random but the split.")
    distillation: Distillation = Distillation()
    augmentation: AugmentSettings = AugmentSettings()
    split: SplitSettings = SplitSettings()
    workers: int | None = Field(
        default=None, ge=1, le=10**4, description="Processes that share each batch; by default one a GPU, or one."
    )
    device: Device = Field(default="auto", description="Where the model is trained.")
    address: str | None = Field(
        default=None,
        description="Ray cluster to join; by default RAY_ADDRESS, else a Ray of its own on this machine.",
    )
    threads: int | None = Field(
        default=None, ge=1, le=10**4, description="Threads of a worker on CPUs; by default its share of the cores."
    )
    cache_dir: PathText | None = Field(
        default=None,
        description="Folder for decoded clips and features, on every machine; by default ser in the user's caches.",
    )
    max_failures: int = Field(
        default=5, ge=0, le=10**6, description="Number of lost workers after which the command gives up."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.cache_frozen and (self.augmentation.changes_waveform or self.augmentation.changes_mel):
            raise ValueError(
                "cache_frozen caches the output of frozen layers, so nothing before them can be augmented: "
                "switch the augmentation off, or cache_frozen"
            )
        if self.mel_settings(MelSettings()).samples and self.augmentation.changes_mel:
            raise ValueError("mel: samples cannot be changed as mel bands are: switch tempo and masks off")
        return self

    def mel_settings(self, default: MelSettings) -> MelSettings:
        """The settings of the log-mel: what `mel` says, else the architecture's."""
        return MelSettings.from_dict(default.to_dict() | self.mel, "mel")

    @property
    def speech_settings(self) -> SpeechSettings:
        """Which windows are learned from, and count in metrics."""
        return SpeechSettings(mode=self.speech, min_speech_seconds=self.min_speech_seconds)

    def recipe(self) -> dict[str, Any]:
        """What decides the outcome, as plain values: all but where it is done.

        Of files, models and URLs it has the last part alone: a recipe goes with the model, and where they lie is
        private.
        """
        whole = self.model_dump(mode="json", exclude=set(PLACE_SETTINGS))
        for name in ("weights", "second_weights", "licence_file"):
            place = whole[name]
            whole[name] = place if place is None or is_published(place) else _last_part(place)
        whole["distillation"]["teachers"] = [_last_part(name) for name in self.distillation.teachers]
        return whole


def _last_part(place: str) -> str:
    path = urlsplit(place).path if "://" in place else place
    return PurePath(path).name or "model"
