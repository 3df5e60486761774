"""Reads a YAML file of settings: nothing in it can explode, a key is there once, and numbers are those of YAML 1.2."""

import re
from pathlib import Path
from typing import Any

import yaml

from ser_core.errors import UsageError, one_line
from ser_core.regular_file import open_regular
from ser_core.settings import require, short

#: A file of settings is a page or two.
_MAX_BYTES, _MAX_DEPTH = 2**16, 32
_INT_TAG, _FLOAT_TAG = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
#: Numbers as YAML 1.2 writes them.
_INTEGER = re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(
    r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)
_BASES = {"0o": 8, "0x": 16}


class _Loader(yaml.SafeLoader):
    """PyYAML's, which reads YAML 1.1, but for numbers: `1e-3` is one, `1:30` and `1_0` are texts, `010` is ten."""

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        """A whole number; a leading zero means nothing."""
        return int(node.value, _BASES.get(node.value[:2], 10))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping; UsageError for a key that is there twice, of which PyYAML takes the last."""
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode):
                is_new = key.value not in lines
                require(
                    is_new, f"{short(key.value)} is there twice (lines {lines.get(key.value)} and {line}); keep one"
                )
                lines[key.value] = line
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag not in {_INT_TAG, _FLOAT_TAG}]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_INT_TAG, _INTEGER, list("-+0123456789"))
_Loader.add_implicit_resolver(_FLOAT_TAG, _FLOAT, list("-+.0123456789"))
_Loader.add_constructor(_INT_TAG, _Loader.construct_integer)


def read_yaml(file: Path) -> dict[str, Any]:
    """The settings that a YAML file names; UsageError where it is none."""
    try:
        with open_regular(file, takes_pipes=True) as stream:
            data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"config {file}: cannot be read ({one_line(error)})") from error
    try:
        require(len(data) <= _MAX_BYTES, f"is larger than {_MAX_BYTES:,} bytes; name another")
        text = data.decode()
        _check(text)
        values = yaml.load(text, _Loader)
        require(isinstance(values, dict | None), "must be a mapping: a line 'name: value' for each setting, no list")
    except UsageError as error:
        raise UsageError(f"config {file}: {error}") from error
    except Exception as error:
        # yaml raises errors of many kinds for dates, numbers and nesting that cannot be.
        raise UsageError(f"config {file}: not YAML ({one_line(error)})") from error
    return values or {}


def _check(text: str) -> None:
    """Refuse what would make a file of a few lines take minutes or gigabytes."""
    depth = 0
    for token in yaml.scan(text, _Loader):
        name = type(token).__name__
        require(name != "AliasToken", "has an alias ('*name'); write out what it stands for")
        depth += name.endswith(("SequenceStartToken", "MappingStartToken")) - name.endswith(
            ("SequenceEndToken", "MappingEndToken", "BlockEndToken")
        )
        require(depth <= _MAX_DEPTH, "is nested too deeply for settings")
