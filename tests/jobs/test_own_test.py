"""A model's own test afterwards: the page that a training leaves, --test-only, and --against."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.support.cli import Answer, assert_one_line, ser_here
from tests.support.models import tiny_artifact
from tests.support.trained_here import TrainsHere
from tests.support.training import settings, write_corpus

QUICK = ("--resamples", "20", "--device", "cpu")


def ser(*words: str | Path) -> Answer:
    return ser_here(*words, ray=TrainsHere)


def train(data: Path, folder: Path, *words: str) -> Answer:
    return ser("train", data / "tone.parquet", folder, "--config", data / "recipe.yaml", *words)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds tone.parquet, hum.parquet, recipe.yaml, and MY, which is trained on the former."""
    folder = tmp_path_factory.mktemp("own")
    write_corpus(folder)
    write_corpus(folder, "hum", num_speakers=2, takes=1)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(settings(folder / "cache", epochs=16)))
    answer = train(folder, folder / "MY")
    assert answer.code == 0, answer.err
    assert f"page:   {folder}/MY/evaluation.html" in answer.out
    return folder


def test_a_training_leaves_the_page_of_its_own_test(data: Path, tmp_path: Path) -> None:
    page = (data / "MY/evaluation.html").read_text()
    report = json.loads((data / "MY/report.json").read_text())["test"]
    assert f"{100 * report['overall']['uar']['value']:.1f}\u00a0%" in page
    for words in (
        "MY: unseen clips, split by speaker",
        "How it was trained",
        "needs no listening",
    ):
        assert words in page, words
    assert list(report["by"]["length"]) == ["under 1 s"]
    # A training that was killed at its very end gets its page by the same command.
    (data / "MY/evaluation.html").unlink()
    assert "already trained" in train(data, data / "MY").err
    assert (data / "MY/evaluation.html").read_text() == page


def test_folds_leave_one_page_and_a_training_without_a_test_none(data: Path, tmp_path: Path) -> None:
    answer = train(data, tmp_path / "folds", "--folds", "2", "--epochs", "2")
    assert answer.code in {0, 3}, answer.err
    assert "2 folds by speaker, pooled" in (tmp_path / "folds/evaluation.html").read_text()
    answer = train(data, tmp_path / "folds", "--epochs", "1", "--test-share", "0", "--restart")
    assert answer.code in {0, 3}, answer.err
    assert not (tmp_path / "folds/evaluation.html").exists()
    assert "page:" not in answer.out


def test_only_the_clips_that_tested_the_model_are_evaluated(data: Path, tmp_path: Path) -> None:
    words = (data / "MY", data / "tone.parquet", data / "hum.parquet", tmp_path / "out", "--test-only", *QUICK)
    answer = ser("evaluate", *words)
    assert answer.code == 0, answer.err
    tested = pq.read_table(data / "MY/predictions.parquet").to_pylist()
    found = pq.read_table(tmp_path / "out/predictions.parquet").to_pylist()
    assert [row["path"] for row in found] == [row["path"] for row in tested]
    assert [row["prediction"] for row in found] == [row["prediction"] for row in tested]
    report = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert (report["about"]["num_not_tested"], report["about"]["num_not_here"]) == (48 + 6, 0)
    assert (
        report["notes"][0] == "These are the clips that tested the model in its training, 12 of the 66 in the manifest."
    )
    assert report["overall"]["clips"] == len(tested)
    # What the model says of its training is what is not in its test.
    assert any(note.startswith("None of the speakers was in the model's training, by") for note in report["notes"])


def test_a_model_that_does_not_say_what_tested_it_is_a_line(data: Path, tmp_path: Path) -> None:
    def asked(model: str | Path, manifest: str) -> Answer:
        return ser("evaluate", model, data / f"{manifest}.parquet", tmp_path / "out", "--test-only", *QUICK)

    assert_one_line(asked("compact", "tone"), 2, "'compact' is bundled without the clips that tested it")
    tiny_artifact().save(str(tmp_path / "model"))
    assert_one_line(asked(tmp_path / "model", "tone"), 2, "has no predictions.parquet of a test; give the MODEL_DIR")
    assert_one_line(asked(data / "MY", "hum"), 2, "none of the 12 clips that tested it is in the manifest")
    (tmp_path / "model/predictions.parquet").write_text("none")
    assert_one_line(asked(tmp_path / "model", "tone"), 2, "predictions.parquet is no table of a test")
    assert not (tmp_path / "out").exists()


def test_two_models_are_held_side_by_side(data: Path, tmp_path: Path) -> None:
    tiny_artifact().save(str(tmp_path / "other"))
    words = ("evaluate", data / "MY", data / "hum.parquet", tmp_path / "out", *QUICK)
    answer = ser(*words, "--against", tmp_path / "other")
    assert answer.code == 0, answer.err
    beside = json.loads((tmp_path / "out/evaluation.json").read_text())["against"]
    assert beside["model"] == tiny_artifact().identity
    assert f"{beside['model']}: 6 clips, 2 speakers: UAR" in answer.out
    assert f"gain over it: UAR {100 * beside['gains']['uar']['value']:+.1f} points" in answer.out
    assert beside["gains"]["uar"]["value"] > 0
    # Its labels are calm, happy and sad; angry clips count as wrong.
    assert beside["recalls"]["angry"] == 0.0
    assert "p_sad" in pq.read_schema(tmp_path / "out/predictions-against.parquet").names
    assert f"Side by side with {beside['model']}" in (tmp_path / "out/evaluation.html").read_text()
    # Without it the other's predictions go.
    assert ser(*words).code == 0
    assert not (tmp_path / "out/predictions-against.parquet").exists()
    assert_one_line(ser(*words, "--against", "compact", "--adapt", "archive"), 2, "leave --adapt out")
    assert_one_line(ser(*words, "--against", tmp_path / "none"), 1, "no config.json there")
