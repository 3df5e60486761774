"""Settings as data: frozen dataclasses, checked once when they are made."""

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from ser_core.errors import UsageError

Channels = Literal["mix", "each"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16"]
#: What `auto` turns into.
ResolvedDevice = Literal["cpu", "cuda"]
ResolvedPrecision = Literal["fp32", "bf16"]


def require(condition: bool, message: str) -> None:
    """UsageError with this message unless the condition holds."""
    if not condition:
        raise UsageError(message)


class Settings:
    """Adds checked construction from plain data to a frozen dataclass."""

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "config") -> Self:
        """Build from plain values.

        Raises:
            UsageError: an unknown name or a value of another type, naming `where` and the field.
        """
        hints = get_type_hints(cls)
        names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for name, value in values.items():
            require(name in names, f"{where}: unknown setting '{name}'; known: {', '.join(sorted(names))}")
            require(_fits(value, hints[name]), f"{where}: '{name}' cannot be {value!r}; it takes {_words(hints[name])}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values that JSON and YAML can hold."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[call-overload]
        return plain


def _fits(value: object, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_fits(item, get_args(hint)[0]) for item in value)
    if get_args(hint) and type(None) in get_args(hint):
        return value is None or any(_fits(value, option) for option in get_args(hint) if option is not type(None))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, get_origin(hint) or hint)


def _words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if get_origin(hint) is list:
        return f"a list (each of it {_words(get_args(hint)[0])})"
    if get_args(hint):
        return " or ".join("nothing" if option is type(None) else _words(option) for option in get_args(hint))
    return {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}.get(hint, str(hint))


def read_yaml(file: Path) -> dict[str, Any]:
    """The settings that a YAML file names; UsageError where it is none."""
    import yaml

    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"config {file}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"config {file}: not YAML ({str(error).splitlines()[0]})") from error
    require(isinstance(values, dict | None), f"config {file}: must be a list of 'name: value' lines")
    return values or {}


WINDOW_SECONDS_RANGE = (0.1, 600.0)


HOP_SECONDS_RANGE = (0.01, 600.0)


def seconds_from_environment(name: str, default: float, minimum: float = 0.0) -> float:
    """A number of seconds from an environment variable; the default where it is not set or empty.

    Raises:
        UsageError: it holds no finite number, or one below the minimum.
    """
    text = os.environ.get(name) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    is_usable = math.isfinite(seconds) and seconds >= minimum
    require(is_usable, f"{name} must be a number of seconds, {minimum:g} or more, not {text!r}")
    return seconds
