"""`ser score --from-embeddings`: another head, or another adaptation, without decoding anything."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from ser_core.storage.location import put
from tests.conftest import S3Server
from tests.support.adapt_command import constants
from tests.support.archive import keys
from tests.support.audio_factory import speech
from tests.support.cli import ROOT, assert_one_line, clean_environment, files, predictions, ser_here
from tests.support.models import adaptable_artifact
from tests.support.stored import assert_same_rows, other_head, score, write, write_models, write_voices

#: A run that a kill ends in its second commit of rows, when predictions has it and files does not.
_KILLED = """
import os, signal, sys
from cluster.embedded import pipeline
from jobs.cli import run
from ser_core.tables.run import Run
from ser_core.tables.delta_log import DeltaLog
pipeline._WINDOWS_AT_A_TIME = 2
commits = []
commit, transact = Run.commit, DeltaLog.transact
def counted(self, *rows):
    commits.append(rows)
    return commit(self, *rows)
def killed(self, *change):
    if len(commits) == 2 and self.location.name == "files":
        os.kill(os.getpid(), signal.SIGKILL)
    return transact(self, *change)
Run.commit, DeltaLog.transact = counted, killed
run(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings (in), two models (first, other), and what the first one says of them (out), with embeddings."""
    folder = tmp_path_factory.mktemp("from_embeddings")
    write_models(folder)
    score(
        write_voices(folder / "in"), folder / "out", "--model", str(folder / "first"), "--embeddings", "--adapt", "none"
    )
    return folder


def settings(output: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((output / "run.json").read_text())
    return record["settings"]


@pytest.mark.parametrize("adapt", ["none", "folder", "file"])
def test_answers_are_those_of_scoring_anew(made: Path, tmp_path: Path, adapt: str) -> None:
    model = ["--model", str(made / "other"), "--adapt", adapt]
    said = score("--from-embeddings", made / "out", tmp_path / "new", *model)
    assert "engine local: embeddings are read in this process" in said
    score(made / "in", tmp_path / "anew", *model)
    assert_same_rows(tmp_path / "new", tmp_path / "anew", is_adapted=adapt != "none")
    assert ser_here("verify", tmp_path / "new").code == 0
    assert "no_speech" in predictions(tmp_path / "new")["emotion"].to_pylist()
    before, after = (
        predictions(output)["p_calm"].fill_null(0).to_numpy() for output in (made / "out", tmp_path / "new")
    )
    assert np.abs(before - after).max() > 0.05
    assert {*files(tmp_path / "new")["status"].to_pylist()} == {"scored", "partial", "failed"}
    ours, theirs = settings(tmp_path / "new"), settings(tmp_path / "anew")
    assert ours.pop("from_embeddings") == str(made / "out")
    if adapt == "none":
        assert ours == theirs
        return
    assert {**ours, "model": ""} == {**theirs, "model": ""}
    found, expected = constants(tmp_path / "new"), constants(tmp_path / "anew")
    assert (found["num_windows"], found["num_files"]) == (expected["num_windows"], expected["num_files"])
    np.testing.assert_allclose(found["shift"], expected["shift"], atol=1e-3)
    assert found.get("folders", {}).keys() == expected.get("folders", {}).keys()
    for name, folder in expected.get("folders", {}).items():
        assert found["folders"][name]["num_windows"] == folder["num_windows"]
        np.testing.assert_allclose(found["folders"][name]["shift"], folder["shift"], atol=1e-3)


def test_channels_of_their_own_and_windows_that_overlap(made: Path, tmp_path: Path) -> None:
    cut = ["--channels", "each", "--hop-seconds", "0.5", "--speech", "all", "--precision", "fp32"]
    score(made / "in", tmp_path / "out", "--model", str(made / "first"), "--embeddings", *cut)
    other = ["--model", str(made / "other"), "--adapt", "channel"]
    score("--from-embeddings", tmp_path / "out", tmp_path / "new", *other, "--embeddings")
    score(made / "in", tmp_path / "anew", *other, *cut, "--embeddings")
    assert_same_rows(tmp_path / "new", tmp_path / "anew", is_adapted=True)
    assert 1 in files(tmp_path / "new")["channel"].to_pylist()
    ours, theirs = (
        pa.table(DeltaTable(str(tmp_path / name / "embeddings")).to_pyarrow_table()).sort_by(
            [(name, "ascending") for name in ("path", "channel", "window_index")]
        )
        for name in ("new", "out")
    )
    assert ours.equals(theirs)
    assert ser_here("verify", tmp_path / "new").code == 0


def test_later_runs_take_what_is_new_there_and_let_go_of_what_is_gone(made: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    for name in ("0.wav", "2.wav", "4.wav"):
        write(source / name, speech(3.0, "angry", seed=int(name[0])))
    first = ["--model", str(made / "first"), "--adapt", "none"]
    score(source, output, *first, "--embeddings", code=0)
    again = ["--from-embeddings", output, tmp_path / "new", "--model", str(made / "other"), "--adapt", "none"]
    score(*again, code=0)
    assert "3 unchanged" in score(*again, code=0)
    write(source / "2.wav", speech(5.0, "happy", seed=7))
    write(source / "9.wav", speech(2.0, "happy", seed=8))
    (source / "4.wav").unlink()
    score(source, output, *first, "--prune", code=0)
    preview = ser_here("score", *again, "--dry-run", as_typed=True).out
    assert preview.startswith("3 files, 0.0 MB: 1 new, 1 changed, 0 to try again, 1 unchanged, 1 gone")
    assert "from_embeddings: " in preview
    score(*again, "--prune", code=0)
    score(source, tmp_path / "anew", "--model", str(made / "other"), "--adapt", "none", code=0)
    assert_same_rows(tmp_path / "new", tmp_path / "anew")
    # From audio the answers would be others by a little.
    from_audio = ser_here("score", source, tmp_path / "new", *again[3:], as_typed=True)
    assert_one_line(from_audio, 1, "from_embeddings was ", "now nothing", "--restart")
    stored = ser_here("score", "--from-embeddings", output, tmp_path / "anew", *again[3:], as_typed=True)
    assert_one_line(stored, 1, "from_embeddings was nothing", "--restart")


def test_a_killed_run_goes_on_where_it_was(made: Path, tmp_path: Path) -> None:
    command = ["score", "--from-embeddings", str(made / "out"), str(tmp_path / "new"), "--model", str(made / "other")]
    command += ["--adapt", "none", "--commit-seconds", "0.001"]
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, *command], capture_output=True, text=True, check=False, timeout=240, cwd=ROOT,
        env=clean_environment(),
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = {*files(tmp_path / "new")["path"].to_pylist()}
    # The second commit reached one table.
    assert 0 < len(left) < len({*predictions(tmp_path / "new")["path"].to_pylist()} | left)
    answer = ser_here(*command, "--output-mode", "json", as_typed=True)
    assert (answer.code, answer.data["skipped"]) == (3, len(left)), answer.err
    assert "took back commit" in answer.err
    score("--from-embeddings", made / "out", tmp_path / "whole", *command[4:])
    assert keys(predictions(tmp_path / "new")) == keys(predictions(tmp_path / "whole"))
    assert_same_rows(tmp_path / "new", tmp_path / "whole")
    assert ser_here("verify", tmp_path / "new").code == 0


def test_a_bucket_is_read_and_written(made: Path, moto_s3: S3Server, tmp_path: Path) -> None:
    source, output = moto_s3.location.join("out"), moto_s3.location.join("new")
    for file in (made / "out").rglob("*.*"):
        put(source.join(file.relative_to(made / "out").as_posix()), file.read_bytes())
    command = ["--model", str(made / "other"), "--adapt", "none"]
    score("--from-embeddings", source.url, output.url, *command)
    assert "10 unchanged" in score("--from-embeddings", source.url, output.url, *command)
    score("--from-embeddings", made / "out", tmp_path / "new", *command)
    options = output.delta_options()
    assert predictions(output.url, options).equals(predictions(tmp_path / "new"))


def test_what_does_not_go_together_is_a_line(made: Path, tmp_path: Path) -> None:
    def refused(source: Path | str, *more: str | Path, output: Path = tmp_path / "new") -> Any:
        return ser_here("score", "--from-embeddings", source, output, *more, as_typed=True)

    out, other = made / "out", ["--model", str(made / "other")]
    assert_one_line(refused(made / "in", *other), 1, "not made by ser")
    assert_one_line(refused(tmp_path / "none", *other), 2, "holds no results")
    plain = tmp_path / "plain"
    score(made / "in" / "silent.wav", plain, *other, "--adapt", "none", code=0)
    assert_one_line(refused(plain, *other), 2, "keeps no embeddings", "score with --embeddings")
    assert_one_line(refused(out), 2, "was made with tiny@", "--model")
    assert_one_line(refused(out, "--model", "compact"), 2, "has another encoder (compact-", "score anew")
    assert_one_line(refused(out, *other, output=out), 2, "name another NEW_OUTPUT")
    assert_one_line(refused(out, *other, output=out / "predictions"), 2, "name another NEW_OUTPUT")
    assert_one_line(refused(out, *other, "--hop-seconds", "0.5"), 2, "--hop-seconds 0.5", "with 1.0", "no audio")
    assert_one_line(refused(out, *other, "--glob", "*.wav"), 2, "--glob *.wav", "made without", "no audio")
    assert_one_line(refused(out, *other, "--engine", "ray"), 2, "in this process", "leave out")
    other_head(adaptable_artifact(), window_seconds=2.0).save(str(tmp_path / "long"))
    longer = refused(out, "--model", str(tmp_path / "long"))
    assert_one_line(longer, 2, "judges windows of 2 s", "has windows of 1 s", "--window-seconds 1")
    score("--from-embeddings", out, tmp_path / "new", "--model", str(tmp_path / "long"), "--window-seconds", "1")
    shutil.copytree(out, tmp_path / "damaged")
    [part] = (tmp_path / "damaged" / "embeddings").rglob("*.parquet")
    part.write_bytes(part.read_bytes()[:-9] + b"another 9")
    damaged = refused(tmp_path / "damaged", *other, "--adapt", "none", output=tmp_path / "second")
    assert_one_line(damaged, 1, part.name, "is damaged", "ser verify")
    part.unlink()
    gone = refused(tmp_path / "damaged", *other, "--adapt", "none", output=tmp_path / "second")
    assert_one_line(gone, 1, part.name, "is gone")


def test_tables_that_do_not_go_together_are_a_line(made: Path, tmp_path: Path) -> None:
    output = Path(shutil.copytree(made / "out", tmp_path / "out"))
    DeltaTable(str(output / "embeddings")).delete("path = 'a/0.wav' AND window_index = 1")
    command = ["--from-embeddings", output, tmp_path / "new", "--model", str(made / "other"), "--adapt", "none"]
    assert_one_line(ser_here("score", *command, as_typed=True), 1, "do not go together", "ser verify")
    assert not pc.any(pc.equal(files(tmp_path / "new")["path"], "a/0.wav")).as_py()
