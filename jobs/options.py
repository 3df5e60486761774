"""Options made of settings' fields: help, range and default are stated beside the field alone."""

import functools
import inspect
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from ser_core.errors import UsageError
from ser_core.settings import Settings, field_schema, group_of

Verb = Callable[..., int]


def at_home(value: str | None) -> str | None:
    """An option's path, in which a shell leaves `~` as it is."""
    return value and os.path.expanduser(value)  # noqa: PTH111 - Path would shorten s3://


def _bundled_models(incomplete: str) -> list[str]:
    from ser_core.models import bundled_names

    return [name for name in bundled_names() if name.startswith(incomplete)]


#: What the option of a model is told, and the argument.
MODEL = {"callback": at_home, "autocompletion": _bundled_models}


def option(settings: type[Settings], name: str, **more: Any) -> Any:
    """The option of a field, for `Annotated`; `split.folds` is the field `folds` of the group `split`."""
    *groups, last = name.split(".")
    field, group = _field(settings, name), group_of(settings, groups)
    has_default = field.default is not None and not isinstance(field.default, bool)
    text = f"{field.description} [default: {field.default}]" if has_default else field.description
    if (kind := _type(field)) in {int, float}:
        text = f"{text} {_range(field_schema(group, last))}"
        more = {"parser": _number(group, last), "metavar": f"<{kind.__name__}>"} | more
    return typer.Option(help=text, show_default=False, **more)


def _number(group: type[Settings], name: str) -> Callable[[object], Any]:
    """What reads an option's number, and refuses what the field cannot be in the words of the settings."""

    def read(given: object) -> Any:
        value: Any = given
        for kind in (float, int):
            # Python would take 1_0 too, which YAML takes for a text.
            with suppress(ValueError):
                value = kind(str(given).replace("_", "no number"))
        try:
            group.check_field(name, value)
        except UsageError as error:
            raise UsageError(f"--{name.replace('_', '-')} {error}") from error
        return value

    return read


def _range(schema: dict[str, Any]) -> str:
    """The bounds of a number, as other programs' help has them."""
    bounds = schema["anyOf"][0] if "anyOf" in schema else schema
    signs = (
        (("minimum", "{:.10g}<="), ("exclusiveMinimum", "{:.10g}<")),
        (("maximum", "<={:.10g}"), ("exclusiveMaximum", "<{:.10g}")),
    )
    low, high = ("".join(sign.format(bounds[name]) for name, sign in side if name in bounds) for side in signs)
    return f"[{low}x{high}]"


def settings_options(settings: type[Settings], names: Iterable[str], **more: dict[str, Any]) -> Callable[[Verb], Verb]:
    """Gives a verb an option for each of these fields, before its own; those that are typed it gets as `overrides`.

    `more` has, by the field's name, what else its option is told.
    """
    names_of = {name.rpartition(".")[2]: name for name in names}
    added = [
        inspect.Parameter(
            word,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[_type(_field(settings, name)) | None, option(settings, name, **more.get(word, {}))],
        )
        for word, name in names_of.items()
    ]

    def decorate(verb: Verb) -> Verb:
        @functools.wraps(verb)
        def called(**values: Any) -> int:
            typed = {name: values.pop(word) for word, name in names_of.items()}
            return verb(**values, overrides={name: value for name, value in typed.items() if value is not None})

        own = [parameter for parameter in inspect.signature(verb).parameters.values() if parameter.name != "overrides"]
        parts = ([one for one in own if (one.kind is one.KEYWORD_ONLY) == is_option] for is_option in (False, True))
        arguments, options = parts
        called.__signature__ = inspect.Signature([*arguments, *added, *options])  # type: ignore[attr-defined]
        return called

    return decorate


def _field(settings: type[Settings], name: str) -> FieldInfo:
    *groups, last = name.split(".")
    return group_of(settings, groups).model_fields[last]


def _type(field: FieldInfo) -> Any:
    """A field's type without `None` and constraints."""
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType]
    kind = kinds[0] if NoneType in get_args(field.annotation) else field.annotation
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def wrong_line(message: str, program: str) -> str:
    """What typer says of a line that it cannot read, and the command whose help tells more."""
    words = " ".join(message.split()).replace("Value error, ", "").rstrip(".")
    return f"{words} See '{program} --help'" if words.endswith("?") else f"{words}; see '{program} --help'"
