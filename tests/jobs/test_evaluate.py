"""`ser evaluate` as a person types it, on clips and a model made here."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from jobs.cli import run
from ser_core.corpora.manifest import rows_to_table, write_manifest
from ser_core.models.artifact import Artifact
from ser_core.storage.location import list_files, put, read
from tests.conftest import S3Server
from tests.support.audio_factory import RATE_HZ, encode, speech
from tests.support.models import LABELS, tiny_artifact
from tests.support.training import write_corpus
from tests.support.training_runs import job_values
from tests.support.training_runs import run as train
from tests.support.training_worker import make_job

FILES = ["evaluation.html", "evaluation.json", "figures", "predictions.parquet"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in `model`, the manifests `a.parquet` (3 speakers, all labels) and `b.parquet` (2, without calm)."""
    folder = tmp_path_factory.mktemp("evaluate")
    tiny_artifact().save(str(folder / "model"))
    for corpus, num_speakers, emotions in (("a", 3, LABELS), ("b", 2, LABELS[1:])):
        rows = []
        for speaker in range(num_speakers):
            for emotion in emotions:
                file = folder / f"{corpus}-{speaker}-{emotion}.wav"
                file.write_bytes(encode(speech(1.3, emotion, seed=speaker)))
                row = {"path": str(file), "corpus": corpus, "emotion": emotion, "speaker": f"{corpus}-{speaker}"}
                rows.append({**row, "language": "en"})
        write_manifest(rows_to_table(rows), str(folder / f"{corpus}.parquet"))
    return folder


def evaluate(place: Path, output: str | Path, *more: str, manifests: tuple[str, ...] = ("a", "b")) -> int:
    """The exit code of `ser evaluate` on the model of `place`."""
    files = [str(place / f"{name}.parquet") for name in manifests]
    options = ["--device", "cpu", "--precision", "fp32", "--resamples", "50", "--speech", "all"]
    return run(["evaluate", str(place / "model"), *files, str(output), *options, *more])


def test_a_report_is_written_and_printed(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new" / "out"
    assert evaluate(place, output) == 0
    out, err = capsys.readouterr()
    assert sorted(file.name for file in output.iterdir()) == FILES
    report = json.loads((output / "evaluation.json").read_text())
    assert report["overall"]["clips"] == 13
    assert report["about"]["model"] == Artifact.load(str(place / "model")).identity
    assert report["about"]["manifests"] == [str(place / "a.parquet"), str(place / "b.parquet")]
    assert report["label_sets"] == {"a": list(LABELS), "b": list(LABELS[1:])}
    assert report["bootstrap"]["resamples"] == 50
    lines = out.splitlines()
    assert lines[0].startswith("all: 13 clips, 5 speakers: UAR ")
    assert [line.split(":")[0] for line in lines[1:3]] == ["a", "b"]
    assert lines[-1] == f"report: {output}/evaluation.html"
    assert f"UAR {100 * report['overall']['uar']['value']:.1f} %" in lines[0]
    assert err.splitlines() == report["notes"]
    assert any("No clip of b has calm" in note for note in report["notes"])
    page = (output / "evaluation.html").read_text()
    assert all(note in page for note in report["notes"] if "'" not in note)


def test_the_predictions_give_the_same_metrics(place: Path, tmp_path: Path) -> None:
    assert evaluate(place, tmp_path, manifests=("a",)) == 0
    table = pq.read_table(tmp_path / "predictions.parquet").to_pandas()
    report = json.loads((tmp_path / "evaluation.json").read_text())
    assert (table["prediction"] == table["emotion"]).mean() == pytest.approx(report["overall"]["accuracy"]["value"])
    assert table["confidence"].mean() == pytest.approx(report["overall"]["confidence"])
    assert list(table.columns[-6:]) == ["temperature", "prediction", "confidence", *(f"p_{name}" for name in LABELS)]
    np.testing.assert_allclose(table[[f"p_{label}" for label in LABELS]].sum(axis=1), 1)
    assert set(table["temperature"]) == {tiny_artifact().config.temperature}


def test_predictions_are_those_of_the_model_and_not_confined_to_a_corpus(place: Path, tmp_path: Path) -> None:
    """`b` has no calm, and metrics of its clips leave it out; the predictions of the model say it all the same."""
    assert evaluate(place, tmp_path) == 0
    table = pq.read_table(tmp_path / "predictions.parquet").to_pandas()
    assert (table["p_calm"] > 0).all()
    likeliest = table[[f"p_{label}" for label in LABELS]].idxmax(axis=1).str.removeprefix("p_")
    assert (table["prediction"] == likeliest).all()


def test_a_clip_without_speech_is_a_miss_that_is_named(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"spoken": encode(speech(2.0, "angry")), "silent": encode(np.zeros(2 * RATE_HZ, np.float32))}
    rows = []
    for name, contents in files.items():
        (tmp_path / f"{name}.wav").write_bytes(contents)
        rows.append({"path": str(tmp_path / f"{name}.wav"), "corpus": "c", "emotion": "sad", "speaker": f"c-{name}"})
    write_manifest(rows_to_table([row | {"language": "en"} for row in rows]), str(tmp_path / "c.parquet"))
    arguments = [str(place / "model"), str(tmp_path / "c.parquet"), str(tmp_path / "out"), "--device", "cpu"]
    assert run(["evaluate", *arguments, "--resamples", "10"]) == 0
    note = "In 1 of the 2 clips there is no speech, as scoring hears it; they get no emotion, and count as wrong."
    assert note in capsys.readouterr().err.splitlines()
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert report["labels"] == [*LABELS, "no_speech"]
    assert report["confusion"][LABELS.index("sad")][-1] == 1
    assert report["overall"]["accuracy"]["value"] <= 0.5
    assert [row["clips"] for row in report["classes"] if row["label"] == "no_speech"] == [0]
    assert "no_speech" in (tmp_path / "out" / "evaluation.html").read_text()
    silent, spoken = pq.read_table(tmp_path / "out" / "predictions.parquet").sort_by("path").to_pylist()
    assert (silent["prediction"], silent["confidence"], silent["p_sad"]) == ("no_speech", None, None)
    assert spoken["confidence"] == pytest.approx(max(spoken[f"p_{label}"] for label in LABELS), abs=0.5)


def test_training_writes_the_same_predictions_under_the_same_names(tmp_path: Path) -> None:
    """`hum` has two of the model's three emotions: metrics leave the third out, and neither command's file does."""
    manifests = [str(write_corpus(tmp_path, num_speakers=3, takes=2)),
                 str(write_corpus(tmp_path, "hum", num_speakers=2, takes=2, emotions=("happy", "angry")))]  # fmt: skip
    changes = {"epochs": 1, "temperature": 1.7, "split": {"split": "corpus", "test_corpora": ["hum"]}}
    train(make_job(job_values(manifests, tmp_path / "model", tmp_path / "cache", **changes)))
    arguments = [str(tmp_path / "model"), manifests[1], str(tmp_path / "out")]
    options = ["--device", "cpu", "--precision", "fp32", "--resamples", "2", "--speech", "all"]
    assert run(["evaluate", *arguments, *options]) == 0
    trained, evaluated = (
        pq.read_table(tmp_path / name / "predictions.parquet").to_pandas().set_index("path")
        for name in ("model", "out")
    )
    assert [name for name in trained.columns if name != "fold"] == list(evaluated.columns)
    assert set(trained["temperature"]) == set(evaluated["temperature"]) == {1.7}
    assert (trained["prediction"] == evaluated["prediction"]).all()
    numbers = ["confidence", "p_calm", "p_happy", "p_angry"]
    np.testing.assert_allclose(trained[numbers], evaluated.loc[trained.index, numbers], atol=1e-5)
    assert (evaluated["p_calm"] > 0).all()
    assert (trained["audio_hash"] == evaluated["audio_hash"]).all()
    assert any("nor the audio of any clip" in note for note in _read(tmp_path / "model/report.json")["test"]["notes"])
    assert any("nor the audio of any clip" in note for note in _read(tmp_path / "out/evaluation.json")["notes"])
    # A clip of the training, in another container and said to be of somebody else.
    known, rate_hz = soundfile.read(pq.read_table(manifests[0])["path"][0].as_py())
    (tmp_path / "copy.flac").write_bytes(encode(known, rate_hz=rate_hz, format="FLAC"))
    row = {"path": str(tmp_path / "copy.flac"), "corpus": "hum", "emotion": "happy", "speaker": "hum-new"}
    write_manifest(rows_to_table([row]), str(tmp_path / "copy.parquet"))
    assert run(["evaluate", arguments[0], manifests[1], str(tmp_path / "copy.parquet"), arguments[2], *options]) == 0
    notes = _read(tmp_path / "out/evaluation.json")["notes"]
    assert any(note.startswith("The audio of 1 of the 9 clips was in the model's training") for note in notes)


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_the_same_command_gives_the_same_files(place: Path, tmp_path: Path) -> None:
    for output in ("one", "two"):
        assert evaluate(place, tmp_path / output, "--quiet") == 0
    names = [str(file.relative_to(tmp_path / "one")) for file in (tmp_path / "one").rglob("*.*")]
    assert {"figures/confusion.svg", "figures/reliability.svg", "evaluation.json"} < {*names}
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_a_program_gets_one_object(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(place, tmp_path, "--output-mode", "json", manifests=("b",)) == 0
    out, err = capsys.readouterr()
    data = json.loads(out)
    assert data["output"] == str(tmp_path)
    assert data["overall"] == json.loads((tmp_path / "evaluation.json").read_text())["overall"]
    assert list(data["corpora"]) == ["b"]
    assert err == ""


def test_a_clip_that_cannot_be_decoded_ends_it(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    row = {"path": str(broken), "corpus": "c", "emotion": "sad", "speaker": "c-1"}
    write_manifest(rows_to_table([row]), str(tmp_path / "c.parquet"))
    arguments = [str(place / "model"), str(place / "a.parquet"), str(tmp_path / "c.parquet"), str(tmp_path / "out")]
    assert run(["evaluate", *arguments]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ser: {broken}: unreadable (")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["{place}/model", "{place}/a.parquet"], 2, "Missing argument"),
        (["{place}/model", "{place}/a.parquet", "{place}/b.parquet"], 2, "is named like a manifest"),
        (["nosuch", "{place}/a.parquet", "out"], 1, "model 'nosuch'"),
        (["{place}/model", "{place}/none.parquet", "out"], 1, "none.parquet: there is no such file"),
        (["{place}/model", "{place}/a.parquet", "{place}/a.parquet", "out"], 1, "comes twice"),
        (["{place}/model", "{place}/a.parquet", "ftp://host/out"], 2, "ftp://"),
        (["{place}/model", "{place}/a.parquet", "out", "--resamples", "1"], 2, "--resamples"),
        (["{place}/model", "{place}/a.parquet", "out", "--draws", "100"], 2, "give --resamples 100"),
        (["{place}/model", "{place}/a.parquet", "out", "--seed", "-1"], 2, "--seed"),
        (["{place}/model", "{place}/a.parquet", "out", "--batch-size", "0"], 2, "--batch-size"),
        (["{place}/model", "{place}/a-0-sad.wav", "out"], 1, "is no Parquet file"),
    ],
)
def test_mistakes_are_one_line(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["evaluate", *(argument.format(place=place) for argument in arguments)]) == code
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("ser: ")
    assert words in line
    assert not list(tmp_path.iterdir())


def test_an_output_that_cannot_be_written_is_found_before_any_work(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # That the clip is gone would be found first if clips were looked at first.
    row = {"path": "/gone.wav", "corpus": "c", "emotion": "sad", "speaker": "c-1"}
    manifest = tmp_path / "c.parquet"
    write_manifest(rows_to_table([row]), str(manifest))
    assert run(["evaluate", str(place / "model"), str(manifest), f"{manifest}/out"]) == 1
    assert capsys.readouterr().err == (
        f"ser: OUT {manifest}/out: cannot be written to (Not a directory); name another folder\n"
    )


def test_model_manifest_and_report_may_lie_in_a_bucket(place: Path, moto_s3: S3Server) -> None:
    bucket = moto_s3.location
    tiny_artifact().save(bucket.join("model").url)
    bucket_manifest = bucket.join("b.parquet")
    put(bucket_manifest, (place / "b.parquet").read_bytes())
    output = bucket.join("reports", "b")
    arguments = [bucket.join("model").url, bucket_manifest.url, output.url]
    assert run(["evaluate", *arguments, "--device", "cpu", "--resamples", "50"]) == 0
    assert sorted({path.split("/")[0] for path, _ in list_files(output)}) == FILES
    assert json.loads(read(output.join("evaluation.json")))["overall"]["clips"] == 4
    assert run(["evaluate", *arguments[:2], "s3://no-such-bucket/out"]) == 1


@pytest.mark.parametrize("names", [["report.json", "predictions.parquet"], ["evaluation.json"], ["notes/a.txt"]])
def test_files_that_are_no_evaluations_are_not_replaced(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], names: list[str]
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert evaluate(place, tmp_path) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ser: OUT {tmp_path}: holds ")
    assert line.endswith("name another folder")
    found = {str(file.relative_to(tmp_path)): file.read_text() for file in tmp_path.rglob("*") if file.is_file()}
    assert found == dict.fromkeys(names, "{}")


def test_an_evaluation_is_replaced_also_one_that_was_broken_off(place: Path, tmp_path: Path) -> None:
    assert evaluate(place, tmp_path, manifests=("a",)) == 0
    (tmp_path / "notes.txt").write_text("mine")
    assert evaluate(place, tmp_path, manifests=("b",)) == 0
    assert json.loads((tmp_path / "evaluation.json").read_text())["overall"]["clips"] == 4
    for name in ("notes.txt", "evaluation.json", "predictions.parquet"):
        (tmp_path / name).unlink()
    assert evaluate(place, tmp_path, manifests=("b",)) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == FILES
