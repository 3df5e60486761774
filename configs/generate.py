"""Writes what follows from the settings: score.yaml and train.yaml, which show every setting with its meaning and its
default, and a JSON schema for each, by which editors complete and check a config.

    python configs/generate.py
"""

import argparse
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ser_core.audio import MelSettings
from ser_core.models.registry import ARCHITECTURES, architecture
from ser_core.score_config import ScoreConfig
from ser_core.settings import Settings, takes
from ser_core.training import TrainConfig

FOLDER = Path(__file__).parent
_WIDTH = 120
_ABOUT = {
    "score": "Every setting of `ser score` with its default; `ser score SOURCE OUTPUT --config FILE` reads such a "
    "file, and an option on the command line overrides it. An empty value is decided when the run begins.",
    "train": "Every setting of `ser train` with its default; `ser train MANIFEST... MODEL_DIR --config FILE` reads "
    "such a file, and an option on the command line overrides it. An empty value is decided when the training begins. "
    "The other files here are recipes.",
}
#: What says no more than the value itself.
_PLAIN = {"a text", "true or false", "a list (each of it a text)", "a group of settings"}


def generated() -> dict[str, str]:
    """The files by name."""
    files = {}
    for name, settings, schema in (
        ("score", ScoreConfig(), ScoreConfig.model_json_schema()), ("train", TrainConfig(), _train_schema()),
    ):  # fmt: skip
        lines = [f"# yaml-language-server: $schema={name}.schema.json", *_comment(_ABOUT[name]), "", *_lines(settings)]
        files[f"{name}.yaml"] = "\n".join(lines) + "\n"
        head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
        files[f"{name}.schema.json"] = json.dumps(head | schema | {"description": _ABOUT[name]}, indent=2) + "\n"
    return files


def _train_schema() -> dict[str, Any]:
    """The schema of a training, which knows each architecture's settings too."""
    schema = TrainConfig.model_json_schema()
    groups = {"mel": MelSettings} | {name: architecture(name).settings for name in ARCHITECTURES}
    schema["$defs"] |= {name: group.model_json_schema() for name, group in groups.items()}
    properties = schema["properties"]
    properties["architecture"]["enum"] = list(ARCHITECTURES)
    properties["mel"] = {"description": properties["mel"]["description"], "$ref": "#/$defs/mel"}
    schema["allOf"] = [
        {
            # A config that names no architecture has the default one.
            "if": {
                "properties": {"architecture": {"const": name}},
                "required": [] if name == properties["architecture"]["default"] else ["architecture"],
            },
            "then": {"properties": {"architecture_settings": {"$ref": f"#/$defs/{name}"}}},
        }
        for name in ARCHITECTURES
    ]
    return schema


def _lines(settings: Settings) -> Iterator[str]:
    """For each field of a group a comment, and its name and value."""
    properties = type(settings).model_json_schema()["properties"]
    follows_group = False
    for name, value in settings:
        if is_group := isinstance(value, Settings):
            yield from ["", *_comment(" ".join((value.__doc__ or "").split())), f"{name}:"]
            yield from textwrap.indent("\n".join(_lines(value)), "  ").split("\n")
        else:
            yield from [""] * follows_group
            yield from _comment(_meaning(properties[name]))
            plain = settings.model_dump(mode="json", include={name})
            yield yaml.safe_dump(plain, width=1000).replace(" null", "").rstrip()
        follows_group = is_group


def _meaning(schema: dict[str, Any]) -> str:
    words = takes(schema).removesuffix(" or nothing")
    return schema["description"] + ("" if words in _PLAIN else f" Takes {words}.")


def _comment(text: str) -> list[str]:
    # Two less, for a group's fields are indented.
    return textwrap.wrap(text, _WIDTH - 2, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


if __name__ == "__main__":
    argparse.ArgumentParser(description="Writes configs/ anew from the settings; takes no arguments.").parse_args()
    for file_name, text in generated().items():
        (FOLDER / file_name).write_text(text, encoding="utf-8")
