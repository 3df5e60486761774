"""`ser adapt` and `ser score --adapt`: the same constants from whatever run, kept, and refused where they differ."""

import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ser_core.models import Artifact
from tests.support.archive import assert_same_predictions, write_clip
from tests.support.audio_factory import RATE_HZ, encode, noise
from tests.support.cli import ROOT, Answer, assert_one_line, finish, predictions, ser_here, start
from tests.support.misbehaving_worker import WORKER, poisoned
from tests.support.models import adaptable_artifact
from tests.support.run_control import wait_for

ADAPTED = ["--adapt", "archive", "--engine", "local"]


def write_calls(folder: Path, num_files: int = 8) -> Path:
    for index in range(num_files):
        write_clip(folder / f"{'ab'[index % 2]}/{index}.wav", 3.0 + index % 3, index)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_calls(tmp_path_factory.mktemp("archive") / "in")


@pytest.fixture(scope="module")
def scored(source: Path, model: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    output = tmp_path_factory.mktemp("scored") / "out"
    answer = ser_here("score", source, output, "--model", model, *ADAPTED)
    assert answer.code == 0, answer.err
    return output, answer


@pytest.fixture
def output(scored: tuple[Path, Answer], tmp_path: Path) -> Path:
    """A copy of what was scored."""
    return Path(shutil.copytree(scored[0], tmp_path / "out"))


def kept(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "_ser" / "adaptation.json").read_text())
    return found


def record(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "run.json").read_text())
    return found


def adapt(model: str, source: Path, to: str | Path, *more: str) -> Answer:
    return ser_here("adapt", model, source, to, "--speech", "all", *more)


def test_a_model_is_adapted_and_says_what_a_run_with_adaptation_says(
    model: str, source: Path, scored: tuple[Path, Answer], tmp_path: Path
) -> None:
    answer = adapt(model, source, tmp_path / "model2", "--output-mode", "json")
    assert answer.code == 0, answer.err
    found = answer.data
    assert (found["num_files"], found["left_out"], found["is_small"]) == (8, 0, True)
    assert found["num_windows"] == predictions(scored[0]).num_rows
    adapted = Artifact.load(str(tmp_path / "model2"))
    assert found["adapted"] == adapted.identity == record(scored[0])["model"]["identity"]
    assert adapted.weights == adaptable_artifact().weights
    assert adapted.config.adaptation is not None
    assert adapted.config.adaptation.to_dict() == kept(scored[0])["adaptation"] == record(scored[0])["adaptation"]
    assert record(scored[0])["settings"]["adapt"] == "archive"
    by_model = ser_here("score", source, tmp_path / "out", "--model", tmp_path / "model2")
    assert by_model.code == 0, by_model.err
    assert_same_predictions(predictions(tmp_path / "out"), predictions(scored[0]))


def test_the_report_tells_how_far_and_how_sure(model: str, source: Path, tmp_path: Path) -> None:
    answer = adapt(model, source, tmp_path / "model2")
    for words in (
        "-> tiny@",
        "windows of 8 files",
        "from the training data",
        "of the shift is taken",
        "before and after",
    ):
        assert words in answer.out
    assert "the sample is small (under 64 windows)" in answer.out
    assert all(f"\n  {label} " in answer.out for label in adaptable_artifact().config.labels)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "long.wav").write_bytes(encode(noise(70.0)))
    (tmp_path / "in" / "text.wav").write_text("no sound")
    again = adapt(model, tmp_path / "in", tmp_path / "model2")
    assert "70 windows of 1 files, 1 more could not be read" in again.out
    assert "is small" not in again.out
    fewer = adapt(model, tmp_path / "in", tmp_path / "model2", "--sample-windows", "5", "--output-mode", "json")
    assert fewer.data["num_windows"] == 5


@pytest.mark.parametrize(
    "more", [["--batch-size", "1"], ["--cpus", "3", "--batch-size", "7"], ["--hop-seconds", "0.5"]]
)
def test_nothing_but_the_archive_decides(
    more: list[str], model: str, source: Path, scored: tuple[Path, Answer], tmp_path: Path
) -> None:
    # The same files, made in another order elsewhere.
    for file in sorted(source.rglob("*.wav"), reverse=True):
        copy = tmp_path / "in" / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    answer = ser_here("score", tmp_path / "in", tmp_path / "out", "--model", model, *ADAPTED, *more)
    assert answer.code == 0, answer.err
    assert kept(tmp_path / "out")["adaptation"] == kept(scored[0])["adaptation"]
    assert record(tmp_path / "out")["model"] == record(scored[0])["model"]


@pytest.mark.heavy
def test_ray_adapts_as_this_process_does(
    cluster: Any, model: str, source: Path, scored: tuple[Path, Answer], tmp_path: Path
) -> None:
    answer = cluster.ser("score", source, tmp_path / "out", "--model", model, "--adapt", "archive")
    assert answer.code == 0, answer.err
    assert kept(tmp_path / "out")["adaptation"] == kept(scored[0])["adaptation"]
    assert_same_predictions(predictions(tmp_path / "out"), predictions(scored[0]))


def test_later_runs_take_the_constants_that_are_kept(
    model: str, source: Path, scored: tuple[Path, Answer], tmp_path: Path
) -> None:
    archive = Path(shutil.copytree(source, tmp_path / "in"))
    command = ["score", archive, tmp_path / "out", "--model", model, *ADAPTED]
    first = ser_here(*command)
    assert "adaptation: from" in first.err
    before = (tmp_path / "out" / "_ser" / "adaptation.json").read_bytes()
    for index in range(4):
        (archive / f"other-{index}.wav").write_bytes(encode(noise(4.0, seed=index)))
    again = ser_here(*command)
    assert again.code == 0, again.err
    assert "adaptation" not in again.err
    assert (tmp_path / "out" / "_ser" / "adaptation.json").read_bytes() == before
    rows = predictions(tmp_path / "out")
    assert len(set(rows["model"].to_pylist())) == 1
    is_of_before = pc.invert(pc.starts_with(rows["path"], "other-"))
    assert_same_predictions(rows.filter(is_of_before), predictions(scored[0]))
    anew = ser_here(*command, "--restart")
    assert anew.code == 0, anew.err
    assert kept(tmp_path / "out")["adaptation"] != json.loads(before)["adaptation"]
    assert set(predictions(tmp_path / "out")["model"].to_pylist()) == {record(tmp_path / "out")["model"]["identity"]}
    assert ser_here("verify", tmp_path / "out").code == 0


def test_constants_that_are_lost_or_others_are_refused_in_a_line(model: str, source: Path, output: Path) -> None:
    command = ["score", source, output, "--model", model, *ADAPTED]
    file = output / "_ser" / "adaptation.json"
    assert "8 unchanged" in ser_here(*command).out
    text = file.read_text()
    changed = json.loads(text)
    changed["adaptation"]["shift"][0] += 0.125
    unknown = changed | {"adapted_model": None, "checksum": None}
    for content, words in (
        (json.dumps(changed), "is damaged: it was changed after it was written"),
        (json.dumps(unknown), "holds other constants than those that the rows were made with"),
        ("{}", "is damaged"),
        (None, "is gone, and with it the constants that the rows were made with"),
    ):
        file.unlink()
        if content is not None:
            file.write_text(content)
        for more in ([], ["--dry-run"]):
            assert_one_line(ser_here(*command, *more), 1, words, "use --restart, or another output")
        verified = ser_here("verify", output)
        assert verified.code == 1
        assert "constants of an adaptation that are gone, damaged or not those of the rows" in verified.out
        file.write_text(text)
    file.unlink()
    file.mkdir()
    assert_one_line(ser_here(*command), 1, "adaptation.json", "is a folder, where a file must be")
    file.rmdir()
    assert ser_here(*command, "--restart").code == 0
    assert file.read_text() == text


def test_adaptation_belongs_to_the_output(model: str, source: Path, output: Path, tmp_path: Path) -> None:
    without = ser_here("score", source, output, "--model", model, "--adapt", "none")
    assert_one_line(without, 1, 'with other settings: adapt was "archive", now "none"; use --restart or another output')
    assert ser_here("score", source, tmp_path / "plain", "--model", model, "--adapt", "none").code == 0
    for more in ([], ["--dry-run"]):
        with_it = ser_here("score", source, tmp_path / "plain", "--model", model, *ADAPTED, *more)
        assert_one_line(with_it, 1, 'with other settings: adapt was "none", now "archive"; use --restart or another')
        assert "adaptation:" not in with_it.err
    assert not (tmp_path / "plain" / "_ser" / "adaptation.json").exists()


def test_a_dry_run_says_whether_it_would_be_estimated(model: str, source: Path, output: Path, tmp_path: Path) -> None:
    command = ["--model", model, *ADAPTED, "--dry-run"]
    new = ser_here("score", source, tmp_path / "new", *command)
    assert "adaptation: OUTPUT keeps none yet, so it would be estimated first" in new.out
    assert not (tmp_path / "new").exists()
    there = ser_here("score", source, output, *command, "--output-mode", "json")
    assert (there.data["is_to_be_adapted"], there.data["unchanged"]) == (False, 8)
    assert there.data["settings"]["model"] == record(output)["model"]["identity"]


@pytest.mark.parametrize("verb", ["score", "adapt"])
def test_a_model_that_cannot_adapt_is_refused_before_anything_is_done(
    verb: str, model: str, source: Path, tmp_path: Path
) -> None:
    def run(name: str | Path) -> Answer:
        if verb == "adapt":
            return adapt(str(name), source, tmp_path / "out")
        return ser_here("score", source, tmp_path / "out", "--model", name, *ADAPTED)

    assert_one_line(run("compact"), 1, "model 'compact' cannot be adapted", "use it as it is")
    assert adapt(model, source, tmp_path / "model2").code == 0
    assert_one_line(run(tmp_path / "model2"), 1, "model2' is adapted already; use it as it is")
    assert not (tmp_path / "out").exists()


def test_where_nobody_speaks_there_is_nothing_to_adapt_to(model: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for index in range(3):
        (tmp_path / "in" / f"{index}.wav").write_bytes(encode(np.zeros(3 * RATE_HZ, np.float32)))
    command = ["score", tmp_path / "in", tmp_path / "out", "--model", model, *ADAPTED, "--speech", "on"]
    answer = ser_here(*command)
    assert answer.code == 0, answer.err
    assert "adaptation: its sample has no window with speech; nothing is taken of all windows alike" in answer.err
    found = kept(tmp_path / "out")["adaptation"]
    assert (found["strength"], found["num_windows"], set(found["shift"])) == (0.0, 0, {0.0})
    write_clip(tmp_path / "in" / "voice.wav", 3.0, 3)
    again = ser_here(*command)
    assert (again.code, kept(tmp_path / "out")["adaptation"]) == (0, found)
    refused = ser_here("adapt", model, tmp_path / "out", tmp_path / "model2", "--glob", "**/*.parquet")
    assert_one_line(refused, 1, "its sample has no window with speech", "could not be read", "nothing to adapt to")
    assert not (tmp_path / "model2" / "config.json").exists()


@pytest.mark.parametrize("num_seconds", [1, 10])
def test_a_handful_of_windows_is_enough_and_called_small(num_seconds: int, model: str, tmp_path: Path) -> None:
    write_clip(tmp_path / "in" / "a.wav", num_seconds, 1)
    answer = ser_here("score", tmp_path / "in", tmp_path / "out", "--model", model, *ADAPTED)
    assert answer.code == 0, answer.err
    assert f"adaptation: from {num_seconds} windows of 1 files" in answer.err
    assert "the sample is small" in answer.err
    shares = [column for name, column in zip(*_probabilities(predictions(tmp_path / "out")), strict=True) if name]
    np.testing.assert_allclose(np.sum(shares, axis=0), 1.0, atol=1e-5)


def _probabilities(rows: pa.Table) -> tuple[list[str], list[np.ndarray]]:
    names = [name for name in rows.column_names if name.startswith("p_")]
    return names, [rows[name].to_numpy() for name in names]


def test_two_very_different_folders_are_one_archive(model: str, tmp_path: Path) -> None:
    write_calls(tmp_path / "in" / "calls", 4)
    for index in range(4):
        file = tmp_path / "in" / "street" / f"{index}.wav"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(encode(0.02 * noise(4.0, seed=index, rate_hz=8_000), rate_hz=8_000))
    answer = ser_here("score", tmp_path / "in", tmp_path / "out", "--model", model, *ADAPTED)
    assert answer.code == 0, answer.err
    assert kept(tmp_path / "out")["adaptation"]["num_files"] == 8


def test_only_what_it_has_made_itself_is_written_over(model: str, source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(model, other)
    assert_one_line(adapt(model, source, other), 1, "MODEL2", "and no adapted model", "name another folder")
    assert_one_line(adapt(model, source, source), 1, "and no adapted model, so its files are not this command's")
    assert_one_line(adapt(model, source, model), 1, "and no adapted model")
    assert_one_line(adapt(model, source, "compact"), 2, "MODEL2 compact is the name of a bundled model")
    (tmp_path / "file").touch()
    assert_one_line(adapt(model, source, tmp_path / "file"), 1, "MODEL2", "file", "name another folder")
    # As a writing that broke off leaves it.
    (other / "config.json").unlink()
    assert adapt(model, source, other).code == 0
    assert adapt(model, source, other, "--sample-windows", "5").code == 0


def test_a_bucket_is_adapted_to_and_keeps_its_constants(
    moto_s3: Any, model: str, source: Path, scored: tuple[Path, Answer]
) -> None:
    from ser_core.storage import put, read

    where, output, model2 = (moto_s3.location.join(name) for name in ("in", "out", "model2"))
    for file in source.rglob("*.wav"):
        put(where.join(str(file.relative_to(source))), file.read_bytes())
    assert adapt(model, where.url, model2.url).code == 0  # type: ignore[arg-type]
    command = ["score", where.url, output.url, "--model", model, *ADAPTED]
    answer = ser_here(*command)
    assert answer.code == 0, answer.err
    constants = json.loads(read(output.join("_ser", "adaptation.json")))
    assert constants["adaptation"] == kept(scored[0])["adaptation"]
    assert Artifact.load(model2.url).identity == record(scored[0])["model"]["identity"]
    assert "8 unchanged" in ser_here(*command).out


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_ends_while_it_looks_begins_anew(
    number: signal.Signals, model: str, source: Path, scored: tuple[Path, Answer], tmp_path: Path
) -> None:
    archive, flag = Path(shutil.copytree(source, tmp_path / "in")), tmp_path / "flag"
    held_up = archive / "b" / "7.wav"
    held_up.write_bytes(poisoned(held_up.read_bytes(), f"once {flag} hang"))
    command = ["score", archive, tmp_path / "out", "--model", model, *ADAPTED]
    process = start(*command, before=[sys.executable, "-m", WORKER], PYTHONPATH=str(ROOT))
    wait_for(flag.exists, process)
    process.send_signal(number)
    answer = finish(process, timeout=60)
    assert answer.code == {signal.SIGKILL: -9, signal.SIGTERM: 130}[number]
    assert not (tmp_path / "out" / "_ser" / "adaptation.json").exists()
    assert not (tmp_path / "out" / "predictions").exists()
    again = ser_here(*command)
    assert again.code == 0, again.err
    assert kept(tmp_path / "out")["adaptation"] == kept(scored[0])["adaptation"]
    assert_same_predictions(predictions(tmp_path / "out"), predictions(scored[0]))
