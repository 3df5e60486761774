"""`ser train OWN MY --from MODEL`: one command, and nothing of the model's settings is said again."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ser_core.corpora.manifest import read_manifests, rows_to_table, write_manifest
from ser_core.models.artifact import Artifact
from ser_core.training import load_train_config
from tests.support.cli import Answer, assert_one_line, ser_here
from tests.support.models import tiny_artifact
from tests.support.trained_here import TrainsHere
from tests.support.training import REGRESSION, settings, write_corpus, write_encoder

#: Everything that would be said again, and is no default.
OTHERS: dict[str, Any] = {"speech": "all", "label_smoothing": 0.0, "regression_c": 0.1, "sampling": "square_root"}
NOBODY_HELD = {"test_share": 0.0, "validation_speakers": 0, "calibration_speakers": 0}


def train(*words: str | Path, **extra: str) -> Answer:
    return ser_here("train", *words, ray=TrainsHere, **extra)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds others.parquet and own.parquet, and two models of the former: compact/ and whisper/."""
    folder = tmp_path_factory.mktemp("data")
    write_corpus(folder, "others", num_speakers=3)
    write_corpus(folder, "own", num_speakers=4, takes=3)
    encoder = write_encoder(folder / "encoder.safetensors", 80)
    whisper = REGRESSION | {"mel": {"num_mels": 80}, "weights": str(encoder)}
    for name, changes in (("compact", {"epochs": 12}), ("whisper", whisper)):
        recipe = settings(folder / "cache", **(changes | OTHERS), split=NOBODY_HELD)
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        answer = train(folder / "others.parquet", folder / name, "--config", folder / "recipe.yaml")
        assert answer.code == 0, answer.err
    return folder


def renamed(data: Path, tmp_path: Path, **labels: str | None) -> Path:
    """own.parquet with other labels; None: without their clips."""
    rows = read_manifests([str(data / "own.parquet")]).table.to_pylist()
    kept = [row | {"emotion": labels.get(row["emotion"], row["emotion"])} for row in rows]
    write_manifest(rows_to_table([row for row in kept if row["emotion"]]), str(tmp_path / "own.parquet"))
    return tmp_path / "own.parquet"


@pytest.mark.parametrize("name", ["compact", "whisper"])
def test_one_command_takes_all_else_from_the_model(data: Path, tmp_path: Path, name: str) -> None:
    words = (data / "own.parquet", tmp_path / "my", "--from", data / name)
    answer = train(*words, XDG_CACHE_HOME=str(tmp_path))
    assert answer.code == 0, answer.err
    theirs, mine = (Artifact.load(str(folder)).config for folder in (data / name, tmp_path / "my"))
    for field in ("architecture", "architecture_settings", "mel", "window_seconds", "labels", "weights_dtype"):
        assert getattr(mine, field) == getattr(theirs, field), field
    recipe = mine.training["settings"]
    assert {setting: recipe[setting] for setting in OTHERS} == OTHERS
    assert mine.training["weights_sha256"] == Artifact.load(str(data / name)).content_hash
    # Whom it started from has heard counts as heard, and nobody had to be excluded.
    assert {"others-0", "others-1", "others-2"} < {*mine.training["speakers"]}
    report = json.loads((tmp_path / "my/report.json").read_text())
    assert report["test"]["overall"]["uar"]["value"] > 0.9
    # The same command goes on, and finds that all is done.
    assert "already trained" in train(*words, XDG_CACHE_HOME=str(tmp_path)).err


def test_what_is_said_goes_before_what_the_model_says(data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("epochs: 7\narchitecture_settings: {dropout: 0.1}\nsplit: {test_share: 0.5}\n")
    words = ("--from", data / "compact", "--config", tmp_path / "mine.yaml", "--epochs", "1", "--seed", "5")
    answer = train(data / "own.parquet", tmp_path / "my", *words, XDG_CACHE_HOME=str(tmp_path))
    assert answer.code == 0, answer.err
    recipe = Artifact.load(str(tmp_path / "my")).config.training["settings"]
    assert (recipe["epochs"], recipe["seed"], recipe["split"]["test_share"]) == (1, 5, 0.5)
    assert recipe["architecture_settings"]["dropout"] == 0.1
    assert recipe["architecture_settings"]["width"] == 16


def test_a_model_that_cannot_be_started_from_is_a_line(data: Path, tmp_path: Path) -> None:
    my = tmp_path / "my"
    assert_one_line(train(data / "own.parquet", my, "--from", tmp_path), 1, "model '", "no config.json there")
    (tmp_path / "vgg.yaml").write_text("architecture: vgg16-bilstm\narchitecture_settings: {}\n")
    answer = train(data / "own.parquet", my, "--from", data / "compact", "--config", tmp_path / "vgg.yaml")
    assert answer.code == 2, answer.err
    for name in ("s3:/", "--epochs"):
        assert train(data / "own.parquet", my, "--from", name).code != 0
    assert not my.exists()


def test_two_of_the_labels(data: Path, tmp_path: Path) -> None:
    own = renamed(data, tmp_path, calm=None)
    answer = train(own, tmp_path / "my", "--from", data / "compact", XDG_CACHE_HOME=str(tmp_path))
    assert answer.code == 0, answer.err
    assert Artifact.load(str(tmp_path / "my")).config.labels == ("happy", "angry")


def test_the_licence_of_the_weights_goes_with_them(data: Path, tmp_path: Path) -> None:
    start = tiny_artifact()
    training = Artifact.load(str(data / "compact")).config.training
    config = start.config.replace(training=training | {"settings": training["settings"] | {"epochs": "many"}})
    dataclasses.replace(start, config_json=config.to_json()).save(str(tmp_path / "start"))
    my, once = tmp_path / "my", ("--epochs", "1")
    answer = train(data / "own.parquet", my, "--from", tmp_path / "start", *once, XDG_CACHE_HOME=str(tmp_path))
    # Nothing is learned in an epoch of nine clips by a model that knows nothing.
    assert answer.code in {0, 3}, answer.err
    mine = Artifact.load(str(my))
    assert (mine.config.licence, mine.config.licence_file) == (start.config.licence, start.config.licence_file)
    assert mine.licence_text == start.licence_text
    assert mine.config.training["settings"]["split"]["validation_speakers"] == 0
    # Nor does it stay with weights that it is not the licence of.
    words = ("--from", data / "compact", "--restart", *once)
    assert train(data / "own.parquet", my, *words, XDG_CACHE_HOME=str(tmp_path)).code in {0, 3}
    assert Artifact.load(str(my)).config.licence_file is None
    assert start.config.licence_file
    assert not (my / start.config.licence_file).exists()


def test_the_strength_of_a_ridge_is_not_that_of_the_loss_that_moves_it(tmp_path: Path) -> None:
    start = tiny_artifact()
    for loss, strength in (("logistic", 0.02), ("squared", 0.003)):
        recipe = {"regression_loss": loss, "regression_c": 0.02, "weight_decay": 0.07}
        config = start.config.replace(training=start.config.training | {"settings": recipe})
        dataclasses.replace(start, config_json=config.to_json()).save(str(tmp_path / loss))
        settings = load_train_config(None, {}, start=str(tmp_path / loss))
        assert (settings.regression_loss, settings.regression_c) == ("logistic", strength)
        assert settings.weight_decay == 0.07
