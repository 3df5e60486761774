"""Writes what is generated from the settings: score.yaml and train.yaml, which show every setting with its default and
its meaning, and a JSON schema for each, by which editors complete and check a config.

    python configs/generate.py
"""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ser_core.score_config import ScoreConfig
from ser_core.settings import Settings, takes
from ser_core.training import TrainConfig

FOLDER = Path(__file__).parent
_WIDTH = 120
CONFIGS: dict[str, tuple[type[Settings], str]] = {
    "score": (
        ScoreConfig,
        "Every setting of `ser score` with its default; `ser score SOURCE OUTPUT --config FILE` reads such a file, and "
        "an option on the command line overrides it. An empty value is decided when the run begins.",
    ),
    "train": (
        TrainConfig,
        "Every setting of `ser train` with its default; `ser train MANIFEST... MODEL_DIR --config FILE` reads such a "
        "file, and an option on the command line overrides it. An empty value is decided when the training begins. "
        "The other files here are recipes.",
    ),
}


def generated() -> dict[str, str]:
    """The files by name."""
    files = {}
    for name, (settings, about) in CONFIGS.items():
        files[f"{name}.schema.json"] = json.dumps(schema_of(settings, about), indent=2) + "\n"
        lines = [f"# yaml-language-server: $schema={name}.schema.json", *_comment(about), "", *_lines(settings())]
        files[f"{name}.yaml"] = "\n".join(lines) + "\n"
    return files


def schema_of(settings: type[Settings], about: str) -> dict[str, Any]:
    """The JSON schema of a config."""
    return settings.model_json_schema() | {"$schema": "http://json-schema.org/draft-07/schema#", "description": about}


def _lines(settings: Settings) -> Iterator[str]:
    """Of a group: for each field a comment, and its name and value."""
    properties = type(settings).model_json_schema()["properties"]
    for name, value in settings:
        if isinstance(value, Settings):
            yield from ["", *_comment(" ".join((value.__doc__ or "").split())), f"{name}:"]
            yield from textwrap.indent("\n".join(_lines(value)), "  ").split("\n")
        else:
            schema = properties[name]
            yield from _comment(f"{schema['description']} Takes {takes(schema)}.")
            plain = settings.model_dump(mode="json", include={name})
            yield yaml.safe_dump(plain, width=1000).replace(" null", "").rstrip()


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


if __name__ == "__main__":
    for file_name, text in generated().items():
        (FOLDER / file_name).write_text(text, encoding="utf-8")
