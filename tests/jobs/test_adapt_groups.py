"""`ser score --adapt file|channel`: beyond the archive each group of windows is adapted to, and only its own."""

import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from ser_core.models import GroupAdaptation
from tests.support.adapt_command import constants, probabilities, score
from tests.support.archive import keys
from tests.support.audio_factory import RATE_HZ, encode, speech
from tests.support.cli import ROOT, Answer, assert_one_line, files, finish, predictions, ser_here, start
from tests.support.misbehaving_worker import WORKER, poisoned
from tests.support.models import adaptable_artifact
from tests.support.run_control import num_committed, wait_for

BY_CHANNEL = ["--adapt", "channel", "--channels", "each", "--engine", "local"]


def write_call(file: Path, seconds: float, seed: int) -> None:
    """A calm and an angry voice, each on a channel of its own."""
    file.parent.mkdir(parents=True, exist_ok=True)
    voices = [speech(seconds, voice, seed=seed) for voice in ("calm", "angry")]
    file.write_bytes(encode(np.stack(voices, axis=1)))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive") / "in"
    for index in range(4):
        write_call(folder / f"{'ab'[index % 2]}/{index}.wav", 6.0 + 4 * index, index)
    return folder


@pytest.fixture(scope="module")
def scored(source: Path, model: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    output = tmp_path_factory.mktemp("scored") / "out"
    return output, score(model, source, output, *BY_CHANNEL)


@pytest.fixture
def output(scored: tuple[Path, Answer], tmp_path: Path) -> Path:
    """A copy of what was scored."""
    return Path(shutil.copytree(scored[0], tmp_path / "out"))


def settings(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "run.json").read_text())["settings"]
    return found


@pytest.mark.parametrize("mode", ["channel", "file"])
def test_beyond_the_archive_each_group_is_adapted_to(
    mode: str, model: str, source: Path, scored: tuple[Path, Answer], tmp_path: Path
) -> None:
    output, answer = scored
    if mode == "file":
        output = tmp_path / "by_file"
        answer = score(model, source, output, "--adapt", "file", "--channels", "each", "--engine", "local")
    assert f"each {mode} is adapted to from its own windows" in answer.err
    score(model, source, tmp_path / "archive", "--adapt", "archive", "--channels", "each", "--engine", "local")
    before, after = predictions(tmp_path / "archive"), predictions(output)
    columns = ["path", "channel"] if mode == "channel" else ["path"]
    groups = list(zip(*(before[name].to_pylist() for name in columns), strict=True))
    group_N = np.unique(np.array(groups, dtype=str), axis=0, return_inverse=True)[1].reshape(-1)
    expected_NC = GroupAdaptation.of(adaptable_artifact()).adapt(probabilities(before), group_N)
    np.testing.assert_array_equal(probabilities(after), expected_NC)
    assert np.abs(expected_NC - probabilities(before)).max() > 0.01
    assert files(output)["p_calm"].to_pylist() != files(tmp_path / "archive")["p_calm"].to_pylist()
    # What is estimated once is the archive's alone.
    assert constants(output) == constants(tmp_path / "archive")
    assert (settings(output)["adapt"], settings(output)["model"]) == (mode, settings(tmp_path / "archive")["model"])
    assert ser_here("verify", output).code == 0


@pytest.mark.parametrize("more", [["--batch-size", "3", "--cpus", "2"], ["--commit-seconds", "0.001"]])
def test_neither_batches_nor_threads_nor_commits_decide(
    more: list[str], model: str, source: Path, scored: tuple[Path, Answer], tmp_path: Path
) -> None:
    score(model, source, tmp_path / "out", *BY_CHANNEL, *more)
    found, expected = predictions(tmp_path / "out"), predictions(scored[0])
    assert keys(found) == keys(expected)
    np.testing.assert_allclose(probabilities(found), probabilities(expected), atol=1e-5)


@pytest.mark.heavy
def test_ray_says_what_this_process_says(
    cluster: Any, model: str, source: Path, scored: tuple[Path, Answer], tmp_path: Path
) -> None:
    answer = cluster.ser(
        "score", source, tmp_path / "out", "--model", model, "--adapt", "channel", "--channels", "each"
    )
    assert answer.code == 0, answer.err
    np.testing.assert_allclose(
        probabilities(predictions(tmp_path / "out")), probabilities(predictions(scored[0])), atol=1e-5
    )


def test_an_output_goes_on_as_it_was_made_and_files_that_come_change_no_other(
    model: str, source: Path, tmp_path: Path
) -> None:
    archive = Path(shutil.copytree(source, tmp_path / "in"))
    score(model, archive, tmp_path / "first", *BY_CHANNEL)
    before = predictions(tmp_path / "first")
    write_call(archive / "later-0.wav", 9.0, 20)
    # By itself as the rows that are there.
    again = score(model, archive, tmp_path / "first", "--channels", "each", "--engine", "local")
    assert "4 unchanged" in again.out
    assert settings(tmp_path / "first")["adapt"] == "channel"
    rows = predictions(tmp_path / "first")
    assert rows.num_rows > before.num_rows
    assert rows.filter(pc.invert(pc.starts_with(rows["path"], "later-"))).equals(before)


def test_the_group_belongs_to_the_output(model: str, source: Path, output: Path) -> None:
    command = ["score", source, output, "--model", model, "--channels", "each"]
    for mode in ("archive", "file", "none"):
        refused = ser_here(*command, "--adapt", mode)
        assert_one_line(refused, 1, f'with other settings: adapt was "channel", now "{mode}"; use --restart or another')
    dry = ser_here(*command, "--dry-run")
    assert dry.code == 0, dry.err
    assert "adapt: channel" in dry.out
    (output / "_ser" / "adaptation.json").unlink()
    assert_one_line(ser_here(*command), 1, "is gone, and with it the constants that the rows were made with")


@pytest.mark.parametrize("mode", ["file", "channel"])
def test_a_model_that_cannot_be_adapted_is_refused(mode: str, model: str, source: Path, tmp_path: Path) -> None:
    def refused(name: str | Path) -> Answer:
        return ser_here("score", source, tmp_path / "out", "--model", name, "--adapt", mode)

    assert_one_line(refused("compact"), 1, "model 'compact' cannot be adapted", "or another model")
    assert ser_here("adapt", model, source, tmp_path / "model2", "--speech", "all").code == 0
    assert_one_line(refused(tmp_path / "model2"), 1, "is adapted already", "the one that it was made of")
    assert not (tmp_path / "out").exists()


def test_a_sample_without_speech_leaves_each_group_to_itself(model: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "silence.wav").write_bytes(encode(np.zeros((3 * RATE_HZ, 2), np.float32)))
    answer = score(model, tmp_path / "in", tmp_path / "out", *BY_CHANNEL, "--speech", "on")
    assert "its sample has no window with speech; nothing is taken of all windows alike" in answer.err
    assert "beyond that each channel is adapted to" in answer.err
    assert predictions(tmp_path / "out")["emotion"].to_pylist() == ["no_speech"] * 6


@pytest.mark.heavy
def test_a_run_that_is_killed_goes_on_to_the_same(model: str, source: Path, tmp_path: Path) -> None:
    archive, flag = Path(shutil.copytree(source, tmp_path / "in")), tmp_path / "flag"
    command = ["score", archive, tmp_path / "out", "--model", model, *BY_CHANNEL, "--commit-seconds", "0.001"]
    assert ser_here(*command).code == 0
    whole = Path(shutil.copytree(tmp_path / "out", tmp_path / "whole"))
    before = num_committed(tmp_path / "out")
    for index in range(3):
        write_call(archive / f"later-{index}.wav", 9.0, 20 + index)
    assert ser_here("score", archive, whole, *command[3:]).code == 0
    last = archive / "later-2.wav"
    last.write_bytes(poisoned(last.read_bytes(), f"once {flag} hang"))
    process = start(*command, before=[sys.executable, "-m", WORKER], PYTHONPATH=str(ROOT))
    wait_for(lambda: flag.exists() and num_committed(tmp_path / "out") > before, process)
    process.send_signal(signal.SIGKILL)
    assert finish(process, timeout=60).code == -signal.SIGKILL
    assert ser_here(*command).code == 0
    names = ["path", "channel", "window_index", *(f"p_{label}" for label in adaptable_artifact().config.labels)]
    assert predictions(tmp_path / "out").select(names).equals(predictions(whole).select(names))
    assert ser_here("verify", tmp_path / "out").code == 0
