"""`ser evaluate --adapt`, `--mix` and `--clips-per-speaker`, as a person types them."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.cli import run
from ser_core.corpora.manifest import rows_to_table, write_manifest
from ser_core.models import Adaptation, Artifact
from tests.support.audio_factory import encode, speech
from tests.support.models import LABELS, adaptable_artifact

OPTIONS = ("--device", "cpu", "--precision", "fp32", "--resamples", "20", "--speech", "all", "--output-mode", "json")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that can be adapted in `model`, and `a.parquet`: two speakers, each emotion twice, 3 windows a clip."""
    folder = tmp_path_factory.mktemp("adapted")
    adaptable_artifact().save(str(folder / "model"))
    rows = []
    for number in range(12):
        emotion, speaker = LABELS[number % 3], number // 6
        file = folder / f"{number:02d}.wav"
        file.write_bytes(encode(speech(2.6, emotion, seed=number)))
        rows.append({"path": str(file), "corpus": "a", "emotion": emotion, "speaker": f"a-{speaker}"})
    write_manifest(rows_to_table(rows), str(folder / "a.parquet"))
    return folder


def evaluate(place: Path, output: Path, *more: str, model: str = "model") -> int:
    return run(["evaluate", str(place / model), str(place / "a.parquet"), str(output), *OPTIONS, *more])


def test_answers_are_those_of_the_model_that_is_adapted(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(place, tmp_path / "adapted", "--adapt", "archive", "--mix", "sad=0.8", "--mix", "calm=0.5") == 0
    adapted = json.loads((tmp_path / "adapted" / "evaluation.json").read_text())
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["adaptation"] == adapted["adaptation"]
    rows = {row["name"]: row for row in adapted["adaptation"]["rows"]}
    assert list(rows) == ["not adapted", "all clips", "balanced", "sad=0.8", "calm=0.5"]
    assert rows["all clips"]["overall"]["metrics"] == adapted["overall"]
    assert adapted["about"]["adapt"] == "archive"
    part = rows["all clips"]["corpora"]["a"]
    assert (part["windows"], part["clips"], part["strength"]) == (36, 12, 0.9 * 36 / 44)
    constants = Adaptation.from_dict(rows["all clips"]["constants"]["a"])
    Artifact.load(str(place / "model")).adapted(constants).save(str(tmp_path / "model2"))
    assert evaluate(place, tmp_path / "by-model", model=str(tmp_path / "model2")) == 0
    one, other = (
        pq.read_table(tmp_path / name / "predictions.parquet").to_pandas() for name in ("adapted", "by-model")
    )
    np.testing.assert_allclose(one["p_sad"], other["p_sad"], atol=1e-5)
    assert (one["prediction"] == other["prediction"]).all()


def test_people_get_a_line_for_each_way(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(place, tmp_path, "--adapt", "speaker", "--mix", "sad=0.8", "--output-mode", "human") == 0
    out, err = capsys.readouterr()
    lines = [line for line in out.splitlines() if "adapted" in line]
    assert [line.partition(":")[0] for line in lines] == [
        "not adapted", "adapted to corpora alone", "adapted to all clips", "adapted to balanced", "adapted to sad=0.8",
    ]  # fmt: skip
    assert "36 windows of 12 clips, strength 74%, distance " in lines[1]
    assert lines[2].endswith(", beyond it 2 of 2 speakers")
    assert (
        "adapted to the clips of each corpus and beyond it to each speaker's, all of them, without their labels" in err
    )
    assert lines[4].endswith(", beyond it 0 of 2 speakers")
    assert "Adapted and not" in (tmp_path / "evaluation.html").read_text()


def test_of_each_speaker_a_few_clips_are_evaluated_and_the_rest_is_said(place: Path, tmp_path: Path) -> None:
    assert evaluate(place, tmp_path, "--clips-per-speaker", "3") == 0
    table = pq.read_table(tmp_path / "predictions.parquet")
    assert sorted(table["emotion"].to_pylist()) == sorted([*LABELS, *LABELS])
    report = json.loads((tmp_path / "evaluation.json").read_text())
    assert report["adaptation"] is None
    assert report["about"]["num_left_out"] == 6
    assert "6 of the 12 clips were left out: of each speaker at most 3 were drawn (seed 0)." in report["notes"]
    assert report["overall"]["clips"] == 6
    assert report["label_sets"] == {"a": list(LABELS)}


@pytest.mark.parametrize(
    ("model", "more", "code", "words"),
    [
        ("compact", ("--adapt", "archive"), 1, "model 'compact' cannot be adapted: it holds no statistics"),
        ("model2", ("--adapt", "speaker"), 1, "is adapted already; use it as it is"),
        ("model", ("--mix", "sad=0.8"), 2, "--mix sad=0.8: changes nothing where nothing is adapted; give --adapt too"),
        ("model", ("--adapt", "archive", "--mix", "sad"), 2, "--mix sad: give an emotion and its share"),
        ("model", ("--adapt", "archive", "--mix", "angry=0.8"), 2, "corpus a has no angry clip"),
        ("model", ("--adapt", "all"), 2, "--adapt"),
        ("model", ("--clips-per-speaker", "0"), 2, "--clips-per-speaker cannot be 0"),
    ],
)
def test_what_cannot_be_is_a_line_before_any_work(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str, more: tuple[str, ...], code: int,
    words: str,
) -> None:  # fmt: skip
    if model == "model2":
        nothing = Adaptation(shift=(0.0,) * len(LABELS), unseen_distance=0.0)
        adaptable_artifact().adapted(nothing).save(str(tmp_path / "model2"))
    named = {"model": str(place / "model"), "model2": str(tmp_path / "model2"), "compact": "compact"}[model]
    assert run(["evaluate", named, str(place / "a.parquet"), str(tmp_path / "out"), *OPTIONS, *more]) == code
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("ser: ")
    assert words in line
    assert not (tmp_path / "out").exists()
