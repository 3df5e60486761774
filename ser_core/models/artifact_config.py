"""What a model's config.json holds."""

import dataclasses
import json
import math
import re
from typing import Any, Literal, Self

from ser_core.audio import MelSettings, WindowSettings
from ser_core.errors import UsageError
from ser_core.settings import Settings

#: Raised when an older program could not read what this one writes. 2: mel scale, precision of the weights.
FORMAT_NUMBER = 2
CONFIG_FILE = "config.json"
#: A label becomes a column's name, and a folder's that every Hive reader must take for a text, as it stands.
_LABEL = re.compile(r"[a-z][a-z0-9_]*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArtifactConfig(Settings):
    """A model, but for its tensors."""

    format_number: int = FORMAT_NUMBER
    name: str
    #: One of `models.ARCHITECTURES`, and its settings.
    architecture: str
    architecture_settings: dict[str, Any]
    mel: MelSettings
    #: Length of the windows it was trained on: the default of scoring.
    window_seconds: float
    #: In the order of the logits.
    labels: tuple[str, ...]
    #: Logits are divided by it, so that confidences mean what they say.
    temperature: float = 1.0
    #: How the weights are stored; they are computed with in float32, or as scoring is told.
    weights_dtype: Literal["fp32", "fp16"] = "fp32"
    #: Of the weights, by name, and the file in the folder that says more; none: nothing is said.
    licence: str | None = None
    licence_file: str | None = None
    #: How it was trained, for people: data, protocol, seed, figures.
    training: dict[str, Any]

    def __post_init__(self) -> None:
        if "/" in (self.licence_file or ""):
            raise UsageError(f"licence_file '{self.licence_file}' must be a file of the model's own folder")
        WindowSettings(window_seconds=self.window_seconds)
        if len(self.labels) < 2 or len(set(self.labels)) < len(self.labels):
            raise UsageError("labels must be two or more, each once")
        for label in self.labels:
            if not isinstance(label, str) or not _LABEL.fullmatch(label):
                raise UsageError(f"label {label!r} must be a lower-case word (a-z, 0-9, _)")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise UsageError(f"temperature must be above 0, not {self.temperature}")

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Parse config.json.

        Raises:
            UsageError: not JSON, made by a newer program, or a field is missing, unknown or out of range.
        """
        try:
            values = json.loads(data)
        except ValueError as error:
            raise UsageError(f"{CONFIG_FILE} is not JSON ({error})") from error
        if not isinstance(values, dict) or not isinstance(values.get("format_number"), int):
            raise UsageError(f"{CONFIG_FILE} is no config of a ser model (it has no format_number)")
        if values["format_number"] > FORMAT_NUMBER:
            raise UsageError(
                f"format {values['format_number']} is newer than this ser reads ({FORMAT_NUMBER}); upgrade ser"
            )
        required = {field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING}
        if missing := sorted(required - values.keys()):
            raise UsageError(f"{CONFIG_FILE}: missing: {', '.join(missing)}")
        if not isinstance(values["labels"], list) or not isinstance(values["mel"], dict):
            raise UsageError(f"{CONFIG_FILE}: labels must be a list and mel an object")
        mel = MelSettings.from_dict(values["mel"], "mel")
        return cls.from_dict(values | {"labels": tuple(values["labels"]), "mel": mel}, CONFIG_FILE)

    def to_json(self) -> bytes:
        """The bytes of config.json."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True).encode() + b"\n"
