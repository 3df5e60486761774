"""Options made of settings' fields: help, range and default are stated beside the field alone."""

import functools
import inspect
from collections.abc import Callable, Iterable
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from ser_core.settings import Settings, group_of

Verb = Callable[..., int]


def option(settings: type[Settings], name: str, **more: Any) -> Any:
    """The option of a field, for `Annotated`; `split.folds` is the field `folds` of the group `split`."""
    field = _field(settings, name)
    limits = {key: getattr(item, key) for item in _parts(field)[1] for key in ("ge", "le") if hasattr(item, key)}
    has_default = field.default is not None and not isinstance(field.default, bool)
    text = f"{field.description} [default: {field.default}]" if has_default else field.description
    return typer.Option(help=text, min=limits.get("ge"), max=limits.get("le"), show_default=False, **more)


def settings_options(settings: type[Settings], names: Iterable[str]) -> Callable[[Verb], Verb]:
    """Gives a verb an option for each of these fields, before its own; those that are typed it gets as `overrides`."""
    names_of = {name.rpartition(".")[2]: name for name in names}
    added = [
        inspect.Parameter(
            word,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[_parts(_field(settings, name))[0] | None, option(settings, name)],
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


def _parts(field: FieldInfo) -> tuple[Any, list[Any]]:
    """A field's type without `None`, and its constraints."""
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType]
    kind = kinds[0] if NoneType in get_args(field.annotation) else field.annotation
    constraints = list(field.metadata)
    if get_origin(kind) is Annotated:
        kind, *infos = get_args(kind)
        constraints += [constraint for info in infos for constraint in getattr(info, "metadata", ())]
    return kind, constraints
