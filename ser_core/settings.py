"""Settings as data: frozen pydantic models that state the type, the range and the meaning of each field once."""

import difflib
import functools
import math
import os
import reprlib
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ser_core.errors import UsageError, printable

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16"]
#: What `auto` turns into.
ResolvedDevice = Literal["cpu", "cuda"]
ResolvedPrecision = Literal["fp32", "bf16"]
WeightsDtype = Literal["fp32", "fp16", "int8"]

MIN_WINDOW_SECONDS = 0.1
WindowSeconds = Annotated[float, Field(ge=MIN_WINDOW_SECONDS, le=600)]
HopSeconds = Annotated[float, Field(ge=0.01, le=600)]
Probability = Annotated[float, Field(ge=0, le=1)]
#: A local path, whose `~` means the home folder, or what else may stand in its place: a name, a URL.
PathText = Annotated[str, AfterValidator(os.path.expanduser)]
#: YAML and JSON have lists, which a frozen model should not hold.
Names = Annotated[tuple[str, ...], Field(strict=False)]
Numbers = Annotated[tuple[float, ...], Field(strict=False)]
PathTexts = Annotated[tuple[PathText, ...], Field(strict=False)]

#: Names that settings had before, and the ones they have now.
RENAMED = {
    "average_decay": "ema_decay",
    "max_gradient_norm": "grad_clip_norm",
    "stopping_speakers": "validation_speakers",
    "stopping_share": "validation_share",
    "temperature_speakers": "calibration_speakers",
    "temperature_share": "calibration_share",
}
#: Settings that are gone, and what holds instead.
_GONE = {
    "optimizer": "AdamW learns, and weight_decay: 0 makes it Adam",
    "warmup_share": "the learning rate rises in the first 0.15 of the steps",
    "class_weighting": "sampling: balanced takes every emotion equally often",
    "mask_absent_labels": "every label counts in the loss of every clip",
    "early_stopping_epochs": "all epochs are run, and the best one by the validation set is kept",
    "hears": "teachers see the windows that the student sees",
    "overhang_probability": "every window may hang over",
    "mask_probability": "every window is masked, and num_masks: 0 switches it off",
    "min_rt60_seconds": "rooms reverberate for 0.15 to 0.6 s",
    "max_rt60_seconds": "rooms reverberate for 0.15 to 0.6 s",
    "min_direct_db": "the direct sound is 0 to 12 dB above the reverberation",
    "max_direct_db": "the direct sound is 0 to 12 dB above the reverberation",
    "min_snr_db": "noise is 5 to 35 dB below the speech",
    "max_snr_db": "noise is 5 to 35 dB below the speech",
    "max_noise_colour": "noise falls as 1 / frequency ** 0 to 2",
    "test_statements": "give test_share or folds",
    "hears_padding": "mask_padding takes its place, and means the opposite",
    "pooling": "steps are pooled by attentive statistics",
    "hidden_dropout": "it is 0.5",
    "speech_range_db": "speech_ranges_db takes its place, a list of ranges",
    "num_heads": "heads have 64 features each",
    "mlp_width": "it is four times width",
}
_MAX_SHOWN, _MAX_NAMES = 60, 3
#: What waits longer than this many seconds overflows somewhere.
_MAX_SECONDS = 1e9


@dataclass(frozen=True)
class Threads:
    """The CPU threads of a predictor."""

    #: That work on one batch; None: as many as torch has in this process.
    per_batch: int | None = None
    #: That call `predict` at a time.
    num_callers: int = 1


def require(condition: bool, message: str) -> None:
    """UsageError with this message unless the condition holds."""
    if not condition:
        raise UsageError(message)


class Settings(BaseModel):
    """A group of settings. Its own checks raise ValueError, with a message that says what to do."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "config") -> Self:
        """Build from plain values, nested groups included.

        Raises:
            UsageError: one line that names `where`, the field and what it takes, for the first fault found.
        """
        given = {name: value for name, value in values.items() if value is not None or not _is_group(cls, name)}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise UsageError(f"{where}: {_sentence(cls, error)}") from error
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from error

    @classmethod
    def check_field(cls, name: str, value: object) -> None:
        """UsageError, which says what the field takes and leaves its name to the caller, if it cannot be the value."""
        try:
            cls.model_validate({name: value})
        except ValidationError as error:
            is_of_field = any(fault["loc"][:1] == (name,) for fault in error.errors(include_url=False))
            words = takes(field_schema(cls, name)).removesuffix(" or nothing")
            require(not is_of_field, f"cannot be {short(value)}; it takes {words}")

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values that JSON and YAML can hold."""
        return self.model_dump(mode="json")

    def replace(self, **changes: Any) -> Self:
        """A copy with other values, checked like a new one."""
        return self.from_dict(dict(self) | changes, type(self).__name__)


def group_of(settings: type[Settings], names: Sequence[str]) -> type[Settings]:
    """The settings that a chain of groups' names leads to."""
    return functools.reduce(_group, names, settings)


def _group(settings: type[Settings], name: str) -> type[Settings]:
    annotation = settings.model_fields[name].annotation
    # A group that may be missing is one of two.
    kinds = (annotation, *typing.get_args(annotation))
    return next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings))


def _led_to(settings: type[Settings], names: Sequence[str]) -> tuple[type[Settings], str, bool]:
    """The group and the name in it that names lead to, and whether it is of the values of a field that has names of
    its own, such as paths: these are passed over."""
    name, *rest = names
    is_value = bool(rest) and name in settings.model_fields and _is_mapping(settings, name)
    rest = rest[is_value:]
    return _led_to(_group(settings, name), rest) if rest else (settings, name, is_value)


def _is_mapping(settings: type[Settings], name: str) -> bool:
    return typing.get_origin(settings.model_fields[name].annotation) is dict


def field_schema(settings: type[Settings], *names: str) -> dict[str, Any]:
    """The JSON schema of a field: after the names of the groups that it is in, its own."""
    found: dict[str, Any] = group_of(settings, names[:-1]).model_json_schema()["properties"][names[-1]]
    return found


def takes(schema: dict[str, Any]) -> str:
    """What a field takes, in words, from its JSON schema."""
    if options := schema.get("anyOf"):
        return " or ".join(takes(option) for option in options)
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "items" in schema:
        least = f" of {schema['minItems']} or more" if "minItems" in schema else ""
        return f"a list{least} (each of it {takes(schema['items'])})"
    word = _WORDS.get(schema.get("type", ""), "a group of settings")
    if "multipleOf" in schema:
        word = f"a multiple of {schema['multipleOf']}"
    if "minimum" in schema and "maximum" in schema:
        return f"{word} from {schema['minimum']:.10g} to {schema['maximum']:.10g}"
    bounds = [f"{words} {schema[name]:.10g}" for name, words in _BOUNDS.items() if name in schema]
    return f"{word} {' and '.join(bounds)}".rstrip()


_WORDS = {
    "number": "a number", "integer": "a whole number", "string": "a text", "boolean": "true or false",
    "null": "nothing",
}  # fmt: skip
_BOUNDS = {"minimum": "of at least", "exclusiveMinimum": "above", "maximum": "of at most", "exclusiveMaximum": "below"}


def _is_group(settings: type[Settings], name: str) -> bool:
    """An empty group in YAML means that everything in it has its default."""
    field = settings.model_fields.get(name)
    return field is not None and isinstance(field.default, Settings)


def _sentence(settings: type[Settings], error: ValidationError) -> str:
    """The first fault of several, an unknown name before others; names of groups come first, with dots."""
    faults = error.errors(include_url=False)
    unknown = [fault for fault in faults if fault["type"] == "extra_forbidden"]
    fault = (unknown or faults)[0]
    names = [part for part in fault["loc"] if isinstance(part, str)]
    dotted, value = printable(".".join(names)), short(fault["input"])
    match fault["type"]:
        case "extra_forbidden":
            return _unknown(settings, names) + _more([str(other["loc"][-1]) for other in unknown[1:]])
        case "missing":
            return f"'{dotted}' is missing"
        case "value_error":
            return ": ".join([*names, str(fault["ctx"]["error"])])
        case "invalid_key":
            return f"{value} is no name of a setting"
    what = "is empty" if fault["input"] is None else f"cannot be {value}"
    group, name, is_value = _led_to(settings, names)
    schema = field_schema(group, name)
    return f"'{dotted}' {what}; it takes {takes(schema['additionalProperties'] if is_value else schema)}"


def _more(names: list[str]) -> str:
    """Other unknown names: with several, the file may be of another command."""
    if not names:
        return ""
    left = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return f"; unknown too: {', '.join(map(short, names[:_MAX_NAMES]))}{left}"


def short(value: object) -> str:
    """A value that may be huge, or nested."""
    if isinstance(value, int) and value.bit_length() > _MAX_SHOWN:
        # Python refuses to write out one of thousands of digits.
        return f"a number of {int(value.bit_length() * math.log10(2)) + 1} digits"
    text = _SHORT.repr(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 2 * _MAX_SHOWN


def _unknown(settings: type[Settings], names: list[str]) -> str:
    name, dotted = printable(names[-1]), printable(".".join(names))
    if name in RENAMED:
        return f"'{dotted}' is now called '{RENAMED[name]}'"
    if name in _GONE:
        return f"'{dotted}' is gone ({_GONE[name]}); leave it out"
    known = sorted(_led_to(settings, names)[0].model_fields)
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
    return f"unknown setting '{dotted}'; {hint}"


def is_http_url(text: str) -> bool:
    """Whether a text is an http(s) URL with a host."""
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def seconds_from_environment(name: str, default: float, minimum: float = 0.0) -> float:
    """A number of seconds from an environment variable; the default where it is not set or empty.

    Raises:
        UsageError: it holds no number, or one below the minimum, or above 10^9.
    """
    text = os.environ.get(name) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    is_usable = minimum <= seconds <= _MAX_SECONDS
    words = f"{name} must be a number of seconds, {minimum:g} or more and at most {_MAX_SECONDS:.0f}, not {short(text)}"
    require(is_usable, words)
    return seconds
