"""What lies in configs/ follows from the settings, and every recipe there, and in benchmarks/, can be used."""

import json
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ser_core.models.registry import resolved_settings
from ser_core.score_config import ScoreConfig, load_score_config
from ser_core.settings import Settings
from ser_core.training.config import TrainConfig
from ser_core.training.recipe import load_train_config
from tests.support.cli import ROOT

CONFIGS = ROOT / "configs"
RECIPES = sorted(CONFIGS.glob("train_*.yaml"))


def schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CONFIGS / f"{name}.schema.json").read_text())
    return loaded


def test_what_is_generated_is_what_lies_there() -> None:
    generated: dict[str, str] = runpy.run_path(str(CONFIGS / "generate.py"))["generated"]()
    assert set(generated) == {f"{name}.{suffix}" for name in ("score", "train") for suffix in ("yaml", "schema.json")}
    for name, text in generated.items():
        assert (CONFIGS / name).read_text() == text, f"{name} is out of date: python configs/generate.py"


def test_what_generates_takes_no_argument() -> None:
    """An option that it does not know must not write."""
    before = {file: file.stat().st_mtime_ns for file in CONFIGS.iterdir()}
    command = [sys.executable, str(CONFIGS / "generate.py"), "--check"]
    assert subprocess.run(command, capture_output=True, cwd=ROOT, check=False).returncode == 2
    assert {file: file.stat().st_mtime_ns for file in CONFIGS.iterdir()} == before


def test_every_field_is_shown_with_its_default() -> None:
    for name, settings in (("score", ScoreConfig()), ("train", TrainConfig())):
        assert yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()) == settings.to_dict()
    assert load_score_config(CONFIGS / "score.yaml", {}) == ScoreConfig()
    assert load_train_config(CONFIGS / "train.yaml", {}) == TrainConfig()


def fields(settings: type[Settings]) -> Iterator[tuple[str, Any]]:
    for name, field in settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            yield from fields(field.annotation)
        else:
            yield name, field


@pytest.mark.parametrize("settings", [ScoreConfig, TrainConfig])
def test_every_field_says_what_it_means_in_a_sentence(settings: type[Settings]) -> None:
    assert not [name for name, field in fields(settings) if not (field.description or "").endswith(".")]


@pytest.mark.parametrize("file", [*RECIPES, CONFIGS / "train.yaml", CONFIGS / "score.yaml"], ids=lambda file: file.stem)
def test_a_config_names_the_schema_that_it_fits(file: Path) -> None:
    name = file.stem.partition("_")[0]
    text = file.read_text()
    assert text.splitlines()[0] == f"# yaml-language-server: $schema={name}.schema.json"
    jsonschema.Draft202012Validator.check_schema(schema(name))
    jsonschema.validate(yaml.safe_load(text), schema(name))


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 0},
        {"epoch": 3},
        {"split": {"folds": "three"}},
        {"architecture": "resnet"},
        {"architecture_settings": {"regression": True}},
        {"architecture": "whisper-bilstm", "architecture_settings": {"width": 100}},
        {"mel": {"bands": 3}},
    ],
)
def test_an_editor_marks_what_the_program_refuses(values: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, schema("train"))


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_every_recipe_can_be_read(file: Path) -> None:
    config = load_train_config(file, {})
    assert config != TrainConfig()
    resolved_settings(config.architecture, config.architecture_settings)


@pytest.mark.parametrize("file", sorted((ROOT / "benchmarks").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_idea_can_be_read(file: Path) -> None:
    search = yaml.safe_load(file.read_text())
    merged = runpy.run_path(str(ROOT / "benchmarks" / "recipes.py"))["merged"]
    for idea in ({}, *(idea["differs"] for idea in search["ideas"].values())):
        for split in search["protocols"].values():
            config = TrainConfig.from_dict(merged(search["base"], idea) | {"split": split}, file.name)
        resolved_settings(config.architecture, config.architecture_settings)
