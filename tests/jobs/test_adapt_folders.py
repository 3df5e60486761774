"""`ser score --adapt folder`: beyond the archive the largest folders are adapted to, by constants that are kept."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from cluster import adaptation
from ser_core.models import GroupAdaptation
from tests.support.adapt_command import constants, probabilities, score
from tests.support.audio_factory import encode, speech
from tests.support.cli import Answer, assert_one_line, predictions, ser_here
from tests.support.models import LABELS, adaptable_artifact

BY_FOLDER = ["--adapt", "folder", "--engine", "local"]


def write(file: Path, seconds: float, voice: str, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode(speech(seconds, voice, seed=seed)))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of 20 windows, one in the other, one of 4 windows, and a file in none."""
    folder = tmp_path_factory.mktemp("archive") / "in"
    for index in range(2):
        write(folder / "calls" / f"{index}.wav", 10.0, "calm", index)
        write(folder / "calls" / "loud" / f"{index}.wav", 10.0, "angry", index)
        write(folder / "few" / f"{index}.wav", 2.0, "sad", index)
    write(folder / "top.wav", 3.0, "happy", 0)
    return folder


@pytest.fixture(scope="module")
def scored(source: Path, model: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    output = tmp_path_factory.mktemp("scored") / "out"
    return output, score(model, source, output, *BY_FOLDER)


@pytest.fixture(scope="module")
def archive(source: Path, model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an adaptation to the archive alone gives."""
    output = tmp_path_factory.mktemp("archive_alone") / "out"
    score(model, source, output, "--adapt", "archive", "--engine", "local")
    return output


def folder_of(rows: pa.Table) -> np.ndarray:
    return np.array([path.rpartition("/")[0] for path in rows["path"].to_pylist()])


def test_each_folder_is_adapted_to_and_a_small_one_takes_the_archives(
    scored: tuple[Path, Answer], archive: Path
) -> None:
    output, answer = scored
    found, of_archive = constants(output), constants(archive)
    assert {name: found[name] for name in of_archive} == of_archive
    sizes = {name: (folder["num_windows"], folder["num_files"]) for name, folder in found["folders"].items()}
    assert sizes == {"calls": (20, 2), "calls/loud": (20, 2), "few": (4, 2), "": (3, 1)}
    before, after = predictions(archive), predictions(output)
    groups = GroupAdaptation.of(adaptable_artifact())
    for name, folder in found["folders"].items():
        is_in_N = folder_of(before) == name
        given, expected = probabilities(before)[is_in_N], probabilities(after)[is_in_N]
        if name in {"few", ""}:
            assert folder["shift"] == [0.0] * len(LABELS)
            np.testing.assert_array_equal(given, expected)
        else:
            # All windows of these are in the sample, whose statistics are computed beside others than theirs.
            np.testing.assert_allclose(groups.adapt(given, np.zeros(len(given), np.int64)), expected, atol=1e-4)
            assert np.abs(given - expected).max() > 0.005
    assert "looked at 4 of 4 folders, those with the most files: 47 windows; 2 of them have too few" in answer.err
    assert "of the logits most is taken beyond that in calls" in answer.err
    assert ser_here("verify", output).code == 0


def test_nothing_but_the_archive_decides(model: str, source: Path, scored: tuple[Path, Answer], tmp_path: Path) -> None:
    for file in sorted(source.rglob("*.wav"), reverse=True):
        copy = tmp_path / "in" / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    score(model, tmp_path / "in", tmp_path / "out", *BY_FOLDER, "--batch-size", "7", "--cpus", "1")
    assert constants(tmp_path / "out") == constants(scored[0])
    np.testing.assert_allclose(
        probabilities(predictions(tmp_path / "out")), probabilities(predictions(scored[0])), atol=1e-5
    )


def test_later_runs_take_what_is_kept_and_new_folders_the_archives(
    model: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of as many folders as that is not known here.
    monkeypatch.setattr(adaptation, "_MAX_FOLDERS", 2)
    copy = Path(shutil.copytree(source, tmp_path / "in"))
    first = score(model, copy, tmp_path / "out", *BY_FOLDER)
    assert "looked at 2 of 4 folders, those with the most files" in first.err
    kept, before = constants(tmp_path / "out"), predictions(tmp_path / "out")
    assert [*kept["folders"]] == ["calls", "calls/loud"]
    write(copy / "calls" / "2.wav", 4.0, "sad", 9)
    write(copy / "new" / "0.wav", 4.0, "sad", 9)
    again = score(model, copy, tmp_path / "out", "--engine", "local")
    assert "7 unchanged" in again.out
    assert "adaptation" not in again.err
    assert constants(tmp_path / "out") == kept
    rows = predictions(tmp_path / "out")
    is_new = pc.is_in(rows["path"], value_set=pa.array(["calls/2.wav", "new/0.wav"]))
    assert rows.filter(pc.invert(is_new)).equals(before)
    in_calls, in_new = (
        probabilities(rows.filter(pc.equal(rows["path"], path))) for path in ("calls/2.wav", "new/0.wav")
    )
    shift_GC = np.array([kept["folders"]["calls"]["shift"]])
    taken = GroupAdaptation.of(adaptable_artifact()).take(in_new, shift_GC, np.zeros(len(in_new), np.int64))
    np.testing.assert_allclose(in_calls, taken, atol=1e-5)
    assert np.abs(in_calls - in_new).max() > 0.005


def test_constants_of_folders_belong_to_the_output(
    model: str, source: Path, scored: tuple[Path, Answer], tmp_path: Path
) -> None:
    output = Path(shutil.copytree(scored[0], tmp_path / "out"))
    file = output / "_ser" / "adaptation.json"
    text = file.read_text()
    changed = json.loads(text)
    changed["adaptation"]["folders"]["calls"]["shift"][0] += 0.125
    without = json.loads(text)
    del without["adaptation"]["folders"]
    shorter = json.loads(text)
    del shorter["adaptation"]["folders"]["calls"]["shift"][0]
    for content, words in ((changed, "it was changed"), (without, "it was changed"), (shorter, "is damaged")):
        file.write_text(json.dumps(content))
        refused = ser_here("score", source, output, "--model", model, *BY_FOLDER)
        assert_one_line(refused, 1, words, "--restart")
    file.write_text(text)
    refused = ser_here("score", source, output, "--model", model, "--adapt", "archive")
    assert_one_line(refused, 1, 'adapt was "folder", now "archive"')
    dry = ser_here("score", source, output, "--model", model, "--dry-run")
    assert (dry.code, "adapt: folder" in dry.out, "estimated first" in dry.out) == (0, True, False)


def test_one_folder_of_silence_and_a_model_that_cannot(model: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "silence.wav").write_bytes(encode(np.zeros(32_000, np.float32)))
    answer = score(model, tmp_path / "in", tmp_path / "out", *BY_FOLDER, "--speech", "on")
    assert "looked at 1 of 1 folders, those with the most files: 0 windows; 1 of them have too few" in answer.err
    assert constants(tmp_path / "out")["folders"][""]["shift"] == [0.0] * len(LABELS)
    refused = ser_here("score", tmp_path / "in", tmp_path / "out2", "--model", "compact", "--adapt", "folder")
    assert_one_line(refused, 1, "model 'compact' cannot be adapted")
