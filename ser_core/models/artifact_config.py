"""What a model's config.json holds, and how one that an older program wrote is read."""

import json
import re
from typing import Any, Self

from pydantic import Field, model_validator

from ser_core.audio import MelSettings
from ser_core.errors import UsageError, one_line, printable
from ser_core.labels import MAX_LABELS, label_fault
from ser_core.settings import RENAMED, Names, Numbers, Settings, WeightsDtype, WindowSeconds

#: Raised when an older program could not read what this one writes. 2: mel scale, precision of the weights; 3: the
#: architectures' settings and what `training` says have other names, and some settings are gone; 4: reference
#: statistics beside the network, and an adaptation; 5: several ranges of speech.
FORMAT_NUMBER = 5
#: From here on settings have the names of today.
_RENAMED_SINCE = 3
_VIEWS_SINCE, _ONE_RANGE = 5, "speech_range_db"
CONFIG_FILE = "config.json"
#: How deep lists and groups of config.json may lie in one another.
_MAX_DEPTH = 32
_CODE_FILE = re.compile(r"[A-Za-z]\w*\.py", re.ASCII)


class FolderShift(Settings):
    """What is taken from the logits of the files of one folder, beyond what is taken of the archive's."""

    shift: Numbers = Field(description="One number a label; of a folder with too few windows each is 0.")
    num_windows: int = Field(ge=0, description="Windows with speech that it was estimated from.")
    num_files: int = Field(ge=0, description="Files that these are of.")


class Adaptation(Settings):
    """What is taken from a model's logits for one archive, and how it was found."""

    shift: Numbers = Field(description="What is taken from the logits, one number a label.")
    strength: float = Field(default=0.0, ge=0, le=1, description="The share of the estimated shift that this is.")
    distance: float = Field(
        default=0.0,
        ge=0,
        description="Of the archive's mean from the nearest training corpus's: squared, in that corpus's variances.",
    )
    unseen_distance: float = Field(
        ge=0, description="That of speakers of these corpora whom a model has not heard, on average."
    )
    num_windows: int = Field(default=0, ge=0, description="Windows with speech that it was estimated from.")
    num_files: int = Field(default=0, ge=0, description="Files that these are of.")
    mix_before: dict[str, float] = Field(
        default_factory=dict, description="Mean probability of each label in these windows, without it."
    )
    mix_after: dict[str, float] = Field(default_factory=dict, description="The same, with it.")
    folders: dict[str, FolderShift] = Field(
        default_factory=dict,
        # So that a model keeps its identity that was adapted before there were any.
        exclude_if=lambda folders: not folders,
        description="By path, what is taken beyond it where rows are made; the model itself takes nothing of it.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(len(folder.shift) != len(self.shift) for folder in self.folders.values()):
            raise ValueError("adaptation must have one number a label as each shift")
        return self


class CodeOrigin(Settings):
    """Where the code of an architecture that is none of this program's came from: a file, or a package."""

    file: str | None = Field(default=None, description="Name of the Python file, of which the model has a copy.")
    sha256: str | None = Field(default=None, description="Of the file.")
    package: str | None = Field(default=None, description="Name of the installed package.")
    version: str | None = Field(default=None, description="Of the package.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.file is None) != (self.sha256 is None) or (self.file is None) == (self.package is None):
            raise ValueError("code must have file and sha256, or package")
        if self.file is not None and not _CODE_FILE.fullmatch(self.file):
            raise ValueError(f"code: file {self.file[:100]!r} must be a Python file of the model's own folder")
        return self


class ArtifactConfig(Settings):
    """A model, but for its tensors."""

    format_number: int = FORMAT_NUMBER
    name: str = Field(min_length=1, max_length=200)
    architecture: str = Field(description="One of `models.ARCHITECTURES`, or one whose code is elsewhere.")
    architecture_settings: dict[str, Any]
    code: CodeOrigin | None = Field(
        default=None,
        # So that models that were made before there was this keep their identity.
        exclude_if=lambda code: code is None,
        description="Where its architecture's code came from; None: it is this program's.",
    )
    mel: MelSettings
    window_seconds: WindowSeconds = Field(description="Length of its training windows: the default of scoring.")
    labels: Names = Field(min_length=2, max_length=MAX_LABELS, description="In the order of the logits.")
    temperature: float = Field(
        default=1.0, ge=1e-3, le=1e3, description="Divides the logits, so that confidences mean what they say."
    )
    weights_dtype: WeightsDtype = Field(
        default="fp32", description="How the weights are stored; they compute in float32, or in scoring's precision."
    )
    licence: str | None = Field(default=None, description="Of the weights, by name.")
    licence_file: str | None = Field(default=None, description="A file of the model's folder that says more.")
    adaptation: Adaptation | None = Field(default=None, description="To an archive; None: there is none.")
    training: dict[str, Any] = Field(description="How it was trained, for people: data, protocol, seed, metrics.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "/" in (self.licence_file or ""):
            raise ValueError(f"licence_file '{self.licence_file}' must be a file of the model's own folder")
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("labels must be two or more, each once")
        for label in self.labels:
            if fault := label_fault(label):
                raise ValueError(f"label {label[:100]!r} {fault}")
        if self.adaptation is not None and len(self.adaptation.shift) != len(self.labels):
            raise ValueError("adaptation must have one number a label as each shift")
        if printable(self.name) != self.name:
            raise ValueError(f"name {self.name!r} must be text without control characters")
        return self

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Parse config.json.

        Raises:
            UsageError: not JSON, made by a newer program, or a field is missing, unknown or out of range.
        """
        try:
            values = json.loads(data)
        except ValueError as error:
            raise UsageError(f"{CONFIG_FILE} is not JSON ({one_line(error)})") from error
        except RecursionError:
            values = None
        if values is None or _is_deeper(values, _MAX_DEPTH):
            raise UsageError(f"{CONFIG_FILE} is no config of a ser model (it is nested too deeply)")
        if not isinstance(values, dict) or not isinstance(values.get("format_number"), int):
            raise UsageError(f"{CONFIG_FILE} is no config of a ser model (it has no format_number)")
        if values["format_number"] > FORMAT_NUMBER:
            raise UsageError(
                f"format {values['format_number']} is newer than this ser reads ({FORMAT_NUMBER}); upgrade ser"
            )
        return cls.from_dict(upgrade(values), CONFIG_FILE)

    def to_json(self) -> bytes:
        """The bytes of config.json."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True).encode() + b"\n"


def _is_deeper(value: Any, depth: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(depth == 0 or _is_deeper(one, depth - 1) for one in inner)


def upgrade(values: dict[str, Any]) -> dict[str, Any]:
    """What an older program wrote, as this one writes it; what is not as it should be stays as it is.

    Raises:
        UsageError: a setting of the architecture has a value that is no longer supported.
    """
    written = values["format_number"]
    values = values | {"format_number": FORMAT_NUMBER}
    if written < _RENAMED_SINCE:
        settings, training = values.get("architecture_settings"), values.get("training")
        if values.get("architecture") == "whisper-bilstm" and isinstance(settings, dict):
            values["architecture_settings"] = _upgraded_whisper(settings)
        if isinstance(training, dict):
            values["training"] = _upgraded_training(training)
    return values if written >= _VIEWS_SINCE else _with_views(values)


def _with_views(values: Any) -> Any:
    """A copy in which the one range of speech is a list, also in the settings that it was trained with."""
    if not isinstance(values, dict):
        return values
    copy = {name: _with_views(inner) for name, inner in values.items() if name != _ONE_RANGE}
    return copy | ({"speech_ranges_db": [values[_ONE_RANGE]]} if _ONE_RANGE in values else {})


def _upgraded_whisper(settings: dict[str, Any]) -> dict[str, Any]:
    constants: dict[str, Any] = {"pooling": "attentive-statistics"}
    if isinstance(width := settings.get("width", 512), int):
        # As in whisper_encoder.py, whose import would take torch with it.
        constants |= {"num_heads": width // 64, "mlp_width": 4 * width}
    for name, constant in constants.items():
        if settings.get(name, constant) != constant:
            raise UsageError(
                f"architecture whisper-bilstm: {name} {settings[name]!r} is no longer supported, only {constant!r}; "
                "use the ser that made the model"
            )
    # Dropout is for training: without it the model is the same.
    gone = {*constants, "hidden_dropout", "hears_padding"}
    kept = {name: value for name, value in settings.items() if name not in gone}
    return kept | {"mask_padding": not settings.get("hears_padding", True)}


_RENAMED_IN_TRAINING = RENAMED | {
    "stopping_loss": "validation_loss",
    "stopping_accuracy": "validation_accuracy",
    "stopping_uar": "validation_uar",
}


def _upgraded_training(training: dict[str, Any]) -> dict[str, Any]:
    training = _renamed(training)
    if isinstance(figures := training.pop("figures", None), dict):
        best = figures.get("best_epoch")
        training |= {"test": figures["test"]} if "test" in figures else {}
        training |= {"best_epoch": best["number"]} if isinstance(best, dict) and "number" in best else {}
    settings = training.get("settings")
    split = settings.get("split") if isinstance(settings, dict) else None
    if isinstance(split, dict) and split.get("test_statements", ()) is None:
        del split["test_statements"]
    return training


def _renamed(value: Any) -> Any:
    """A copy in which all dictionaries have the keys of now."""
    if isinstance(value, dict):
        return {_RENAMED_IN_TRAINING.get(name, name): _renamed(inner) for name, inner in value.items()}
    return [_renamed(inner) for inner in value] if isinstance(value, list) else value
