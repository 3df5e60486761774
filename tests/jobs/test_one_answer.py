"""A training that came to nothing says so, and is no success; few speakers are said before it begins."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.cli import Answer, ser_here
from tests.support.trained_here import TrainsHere
from tests.support.training import settings, write_corpus

NOTHING = {"epochs": 1, "learning_rate": 0.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_corpus(folder, num_speakers=4, takes=2)
    return folder


def train(data: Path, tmp_path: Path, *words: str, **changes: Any) -> Answer:
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(settings(data / "cache", **(NOTHING | changes))))
    given = ("train", data / "tone.parquet", tmp_path / "model", "--config", tmp_path / "train.yaml", *words)
    return ser_here(*given, ray=TrainsHere)


@pytest.mark.parametrize("split", [{}, {"test_share": 0.0, "validation_speakers": 0, "calibration_speakers": 0}])
def test_a_model_that_says_one_thing_is_no_success(data: Path, tmp_path: Path, split: dict[str, Any]) -> None:
    """Also where nobody is held out to be asked."""
    answer = train(data, tmp_path, split=split)
    assert answer.code == 3, answer.err
    [line] = [line for line in answer.out.splitlines() if "of every clip that it was asked about" in line]
    said = line.split("'")[1]
    assert said in {"calm", "happy", "angry"}
    assert line.startswith(f"the model says '{said}' of every clip")
    assert (tmp_path / "model/model.safetensors").exists()
    # It stays so when nothing is left to do, and a program is told.
    again = train(data, tmp_path, "--output-mode", "json", split=split)
    assert again.code == 3, again.err
    assert json.loads(again.out)["one_answers"] == {"1": said}


def test_folds_are_told_apart(data: Path, tmp_path: Path) -> None:
    answer = train(data, tmp_path, split={"folds": 2, "validation_speakers": 0, "calibration_speakers": 0})
    assert answer.code == 3, answer.err
    assert all(f"the model of fold {number} says '" in answer.out for number in (1, 2))


def test_few_speakers_are_said_before_it_begins(data: Path, tmp_path: Path) -> None:
    answer = train(data, tmp_path, epochs=1)
    lines = answer.err.splitlines()
    [place] = [number for number, line in enumerate(lines) if line.startswith("6 clips of 1 speaker are left for")]
    assert any(line.startswith("training: ") for line in lines[place:])
    assert "--validation-speakers 0 leaves 1 more" in lines[place]
    answer = train(data, tmp_path, "--restart", "--validation-speakers", "0", "--calibration-speakers", "0")
    assert "18 clips of 3 speakers are left for training" in answer.err
