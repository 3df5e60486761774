"""Everything a training can be told; configs/train.yaml shows every field with its default."""

import dataclasses
from pathlib import Path, PurePath
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from ser_core.audio import MelSettings
from ser_core.errors import UsageError
from ser_core.settings import WINDOW_SECONDS_RANGE, Device, ResolvedPrecision, Settings, read_yaml
from ser_core.training.data_config import AugmentSettings, Sampling, SplitSettings

#: What may change between two runs of one training: where and by how many it is done, not what comes out.
PLACE_SETTINGS = ("workers", "device", "address", "threads", "cache_dir", "max_failures")
#: In a teacher's name, the fold's number.
FOLD = "{fold}"
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("window_seconds", *WINDOW_SECONDS_RANGE),
    ("windows_per_clip", 1, 1000),
    ("epochs", 1, 10**6),
    ("batch_size", 1, 65_536),
    ("learning_rate", 0, 100),
    ("encoder_learning_rate", 0, 100),
    ("layer_rate_decay", 0, 1),
    ("weight_decay", 0, 100),
    ("warmup_share", 0, 1),
    ("regression_c", 1e-9, 1e9),
    ("label_smoothing", 0, 0.99),
    ("average_decay", 0, 0.999999),
    ("max_gradient_norm", 0, 10**9),
    ("temperature", 0.1, 10),
    ("seed", 0, 2**32 - 1),
    ("early_stopping_epochs", 1, 10**6),
    ("workers", 1, 10**4),
    ("threads", 1, 10**4),
    ("max_failures", 0, 10**6),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distillation(Settings):
    """Learning from other models' answers, beside the labels (Hinton et al. 2015, arXiv 1503.02531)."""

    #: Models with the same labels; the mean of their probabilities is what is learned. None: no distillation.
    #: `{fold}` in a name is the fold's number: a teacher must not have heard who is tested.
    teachers: list[str] = dataclasses.field(default_factory=list)
    #: windows: teachers hear what the student hears; clips: every clip once, whole and as it is, which is far quicker.
    hears: Literal["windows", "clips"] = "windows"
    #: Of the teachers' part of the loss; the labels have the rest.
    weight: float = 0.5
    #: Divides the logits of teachers and student, so that small probabilities count.
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise UsageError(f"distillation: weight must be 0 to 1, not {self.weight}")
        if not 0.1 <= self.temperature <= 100:
            raise UsageError(f"distillation: temperature must be 0.1 to 100, not {self.temperature}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(Settings):
    """The recipe of a model, and where it is trained."""

    #: Of the model; None: the last part of MODEL_DIR.
    name: str | None = None
    #: Of the weights, as their card names it; None: those of the corpora, where they are known.
    licence: str | None = None
    #: A text file that says more, to be copied beside the weights.
    licence_file: str | None = None
    architecture: str = "compact"
    #: Of the architecture; what is not given has its default.
    architecture_settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    #: Of the features; what is not given is as the architecture hears best. mean_db and std_db come from the data.
    mel: dict[str, Any] = dataclasses.field(default_factory=dict)
    #: Trained weights to start from: a file, an http(s) URL, a model folder, or imagenet. None: from scratch.
    weights: str | None = None
    window_seconds: float = 3.0
    #: Windows of a clip, evenly spread, of which an epoch hears one, where no augmentation changes waveforms: they are
    #: kept as features then.
    windows_per_clip: int = 4
    #: Keep what frozen layers give for these windows; nothing before them can be augmented then.
    cache_frozen: bool = False
    epochs: int = 30
    #: Clips of a step, of all workers together.
    batch_size: int = 16
    optimizer: Literal["adam", "adamw"] = "adamw"
    learning_rate: float = 1e-3
    #: Of layers that start from trained weights.
    encoder_learning_rate: float = 1e-5
    #: The last of those layers learns at that rate, each one before it at so much of the next one's.
    layer_rate_decay: float = 1.0
    weight_decay: float = 0.02
    #: one_cycle: up over `warmup_share` of the steps and down again; cosine: down.
    schedule: Literal["none", "one_cycle", "cosine"] = "one_cycle"
    warmup_share: float = 0.15
    label_smoothing: float = 0.1
    #: Of a model that has a regression: scikit-learn's C, what clips count against the square of its weights.
    regression_c: float = 0.003
    #: balanced: of the loss, every emotion has the same share.
    class_weighting: Literal["none", "balanced"] = "none"
    #: balanced: every emotion of every corpus is heard equally often; some clips then come twice in an epoch.
    #: square_root: half way there, as often as the root of its clips.
    sampling: Sampling = "natural"
    #: A clip's loss leaves out the emotions that its corpus never has.
    mask_absent_labels: bool = False
    #: What is judged and kept is the weights' running average over steps, with this decay; 0: the weights themselves.
    average_decay: float = 0.99
    #: 0: gradients are not clipped.
    max_gradient_norm: float = 2.0
    precision: ResolvedPrecision = "fp32"
    #: What the model's logits are divided by; None: fitted to the temperature set, or 1 where there is none. Where it
    #: is given nobody is held back for it: a model that is trained on everybody takes that of its recipe's folds.
    temperature: float | None = None
    #: Whom it is fitted to. held_out: the temperature set. folds: where there are folds, nobody is held back, and each
    #: one's is fitted to what the other folds' models answered to those whom they had not heard.
    calibration: Literal["held_out", "folds"] = "held_out"
    #: How the model's weights are stored.
    weights_dtype: Literal["fp32", "fp16"] = "fp32"
    seed: int = 0
    #: Ends after so many epochs without a better one on the stopping set; None: all epochs.
    early_stopping_epochs: int | None = None
    distillation: Distillation = dataclasses.field(default_factory=Distillation)
    augmentation: AugmentSettings = dataclasses.field(default_factory=AugmentSettings)
    split: SplitSettings = dataclasses.field(default_factory=SplitSettings)
    #: Processes that share each batch; None: one for each GPU, or one.
    workers: int | None = None
    device: Device = "auto"
    #: A Ray cluster to join; None: RAY_ADDRESS, else a Ray of our own on this machine.
    address: str | None = None
    #: Of each worker on CPUs; None: the machine's cores, divided.
    threads: int | None = None
    #: Where decoded clips and features are kept, on every machine; None: ser in the user's cache folder.
    cache_dir: str | None = None
    #: How often workers may be lost before the command gives up.
    max_failures: int = 5

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UsageError(f"{name} must be {low:g} to {high:g}, not {value}")
        if self.cache_frozen and (self.augmentation.changes_waveform or self.augmentation.changes_mel):
            raise UsageError(
                "cache_frozen keeps what frozen layers give, so nothing before them can be augmented: "
                "switch the augmentation off, or cache_frozen"
            )
        self.mel_settings(MelSettings())

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "config") -> Self:
        """As `Settings.from_dict`; the groups may be plain values too."""
        whole = dict(values)
        for name, group in (
            ("distillation", Distillation), ("augmentation", AugmentSettings), ("split", SplitSettings),
        ):  # fmt: skip
            if whole.get(name) is None:
                whole.pop(name, None)
            elif isinstance(whole[name], dict):
                whole[name] = group.from_dict(whole[name], f"{where}: {name}")
        return super().from_dict(whole, where)

    def mel_settings(self, default: MelSettings) -> MelSettings:
        """The features: what `mel` says, else the architecture's."""
        return MelSettings.from_dict(default.to_dict() | self.mel, "mel")

    def recipe(self) -> dict[str, Any]:
        """What decides the outcome, as plain values: all but where it is done.

        Of files, models and URLs the last part alone: it is kept with the model, and where they lie is private.
        """
        whole = {name: value for name, value in self.to_dict().items() if name not in PLACE_SETTINGS}
        for name in ("weights", "licence_file"):
            whole[name] = None if whole[name] is None else _last_part(whole[name])
        whole["distillation"]["teachers"] = [_last_part(name) for name in self.distillation.teachers]
        return whole


def _last_part(place: str) -> str:
    path = urlsplit(place).path if "://" in place else place
    return PurePath(path).name or "model"


def load_train_config(file: Path | None, overrides: dict[str, Any]) -> TrainConfig:
    """The settings of a YAML file, with the given ones (not None) in their place; `split.folds` means that of `split`.

    Raises:
        UsageError: the file is missing or not YAML, or a setting is unknown or out of range.
    """
    values = {} if file is None else read_yaml(file)
    for name, value in overrides.items():
        group, _, field = name.rpartition(".")
        if value is not None and not group:
            values[field] = value
        elif value is not None:
            inner = values.get(group)
            values[group] = (inner if isinstance(inner, dict) else {}) | {field: value}
    return TrainConfig.from_dict(values, "options" if file is None else str(file))
