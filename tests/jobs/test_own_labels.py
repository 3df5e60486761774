"""Labels of one's own, from a list of clips to tables and pages: nothing assumes the common eight."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from ser_core.models.artifact import Artifact
from tests.support.cli import Answer, assert_one_line, files, predictions, ser_here
from tests.support.trained_here import TrainsHere
from tests.support.training import RATE_HZ, settings, tone

#: Words of the list, and which tone is meant by each.
TONES = {"Frustrated": "calm", "excited": "happy", "half asleep": "angry"}
LABELS = ("excited", "frustrated", "half_asleep")


def ser(*words: str | Path) -> Answer:
    return ser_here(*words, ray=TrainsHere)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """own.csv, a list without speakers; own.parquet, its manifest; and MY, a model of these clips."""
    folder = tmp_path_factory.mktemp("own")
    rng, rows = np.random.default_rng(4), ["file;label"]
    for number in range(60):
        word = list(TONES)[number % 3]
        soundfile.write(folder / f"{number}.wav", tone(TONES[word], rng), RATE_HZ)
        rows.append(f"{number}.wav;{word}")
    (folder / "own.csv").write_text("\n".join(rows))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(settings(folder / "cache", epochs=12)))
    listed = ("corpus", "csv", folder / "own.csv", folder / "own.parquet", "--columns", "file=path,label=emotion")
    answer = ser(*listed)
    assert answer.code == 0, answer.err
    assert "60 clips of own, speakers unknown (20 excited, 20 frustrated, 20 half_asleep)" in answer.out
    assert "labels of your own: excited, frustrated, half_asleep" in answer.err
    trained = ser(
        "train", folder / "own.parquet", folder / "MY", "--split", "random", "--config", folder / "recipe.yaml"
    )
    assert trained.code == 0, trained.err
    return folder


def test_a_model_has_them_and_is_tested_by_them(data: Path) -> None:
    assert Artifact.load(str(data / "MY")).config.labels == LABELS
    report = json.loads((data / "MY/report.json").read_text())["test"]
    assert report["labels"] == [*LABELS]
    assert report["overall"]["uar"]["value"] > 0.8
    assert "None of the speakers" not in str(report["notes"])
    assert any(note.startswith("Who speaks is not known of some clips (own-unknown)") for note in report["notes"])
    assert "excited, frustrated, half_asleep" in (data / "MY/MODEL_CARD.md").read_text()


def test_tables_have_their_columns(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    answer = ser("score", data / "*.wav", out, "--model", data / "MY", "--engine", "local")
    assert answer.code == 0, answer.err
    rows = predictions(out)
    assert {name for name in rows.column_names if name.startswith("p_")} == {f"p_{label}" for label in LABELS}
    assert {name for name in files(out).column_names if name.startswith("share_")} == {f"share_{one}" for one in LABELS}
    assert {folder.name for folder in (out / "predictions").glob("emotion=*")} <= {f"emotion={one}" for one in LABELS}
    assert ser("verify", out).code == 0


def test_a_few_files_and_a_page(data: Path, tmp_path: Path) -> None:
    answer = ser("predict", data / "1.wav", "--model", data / "MY")
    assert answer.code == 0, answer.err
    assert any(label in answer.out for label in LABELS)
    mixes = ("--mix", "excited=0.8", "--adapt", "archive")
    assert_one_line(
        ser("evaluate", data / "MY", data / "own.parquet", tmp_path / "out", *mixes), 1, "cannot be adapted"
    )
    answer = ser("evaluate", data / "MY", data / "own.parquet", tmp_path / "out", "--resamples", "50")
    assert answer.code == 0, answer.err
    assert "half_asleep" in (tmp_path / "out/evaluation.html").read_text()
    assert json.loads((tmp_path / "out/evaluation.json").read_text())["labels"] == [*LABELS]


def test_a_model_of_other_labels_is_started_from(data: Path, tmp_path: Path) -> None:
    """The common eight, none of which is here."""
    words = ("--from", "compact", "--split", "random", "--epochs", "1", "--speech", "all", "--device", "cpu")
    answer = ser_here(
        "train", data / "own.parquet", tmp_path / "my", *words, ray=TrainsHere, XDG_CACHE_HOME=str(tmp_path)
    )
    assert answer.code in {0, 3}, answer.err
    assert Artifact.load(str(tmp_path / "my")).config.labels == LABELS


def test_a_model_that_has_none_of_them_says_so(data: Path, tmp_path: Path) -> None:
    answer = ser("evaluate", "compact", data / "own.parquet", tmp_path / "out")
    assert_one_line(answer, 2, "corpus own: the model has none of its labels (excited, frustrated, half_asleep)")
