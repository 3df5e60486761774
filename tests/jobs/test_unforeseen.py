"""An error that nobody foresaw, in any verb: one line, and its traceback in a file of its user alone."""

import re
import stat
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.cli import assert_one_line, ser_here

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "FwoGZXIvYXdzEXAMPLETOKEN",
    "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef",
    "MY_PASSWORD": "hunter2-hunter2",
}
SIGNED = "https://host/key?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE&X-Amz-Signature=fe5f80f77d5fa3beca038a248ff027d0"
TEXT = (
    f"\x1b]0;x\a {SIGNED} http://me:my-pass-word@host Authorization: Bearer abc.def.ghi secret_key='s3cr3t'\nmore "
    + " ".join(SECRETS.values())
)
TOLD = re.compile(r"the traceback is in (\S+/traceback-of-ser-\S+\.txt)$")


class OddError(Exception):
    """One that nobody catches."""


def deep(number: int = 0) -> NoReturn:
    deep(number + 1)


def full() -> NoReturn:
    raise OSError(5, "Input/output error", "/some/file")


def gone() -> NoReturn:
    # typer would end without a word.
    raise BrokenPipeError(32, "Broken pipe")


def large() -> NoReturn:
    raise MemoryError


def odd() -> NoReturn:
    raise OddError(TEXT)


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (odd, "OddError: "),
        (full, "OSError: Input/output error (/some/file); mend that, then run again"),
        (gone, "BrokenPipeError: Broken pipe"),
        (large, "MemoryError; there is not enough memory"),
        (deep, "RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_it_is_one_line_that_names_the_step_and_the_file_of_its_traceback(
    cause: "object", words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("cluster.scoring.Source.parse", lambda *_: cause())  # type: ignore[operator]
    answer = ser_here("score", "examples", tmp_path / "out", **SECRETS)
    assert_one_line(answer, 1, "ser: reading the model and looking at SOURCE and OUTPUT: ", words)
    assert answer.err.count("\n") == 1
    told = TOLD.search(answer.err)
    assert told is not None, answer.err
    assert stat.S_IMODE(Path(told[1]).stat().st_mode) == 0o600
    text = Path(told[1]).read_text()
    assert f"in {cause.__name__}\n" in text  # type: ignore[attr-defined]
    for where in (text, answer.err):
        for secret in (*SECRETS.values(), "AKIA", "fe5f80f77d5fa", "my-pass-word", "abc.def.ghi", "s3cr3t"):
            assert secret not in where


@pytest.mark.parametrize(
    ("place", "arguments"),
    [
        ("cluster.recognizer.Artifact.load", ["predict", "examples/calm-woman.flac"]),
        ("jobs.models.bundled_names", ["models"]),
        ("jobs.corpus.Request.checked", ["corpus", "ravdess", "examples", "{tmp}/a.parquet"]),
        ("ser_core.training.load_train_config", ["train", "a.parquet", "{tmp}/model"]),
        ("ser_core.corpora.read_manifests", ["evaluate", "compact", "a.parquet", "{tmp}/report"]),
        ("jobs.submit.bundled_names", ["submit", "--address", "127.0.0.1:1", "score", "examples", "{tmp}/out"]),
        ("jobs.cli.load_score_config", ["score", "examples", "{tmp}/out"]),
    ],
)
def test_every_verb_says_it_so(
    place: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(place, lambda *_, **__: odd())
    answer = ser_here(*[word.format(tmp=tmp_path) for word in arguments])
    assert_one_line(answer, 1, "OddError: ", "run again, and report it if it comes back")
    assert TOLD.search(answer.err)


def test_where_no_file_can_be_written_the_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    monkeypatch.setattr("jobs.models.bundled_names", odd)
    assert_one_line(ser_here("models"), 1, "OddError: ", "its traceback could not be written to the temporary folder")


def test_a_run_that_was_begun_says_that_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("jobs.score.check_tally", lambda _: odd())
    answer = ser_here("score", "examples/calm-woman.flac", tmp_path / "out")
    assert_one_line(answer, 1, "ser: finishing: OddError: ")
    assert '"state": "stopped"' in (tmp_path / "out" / "run.json").read_text()
    monkeypatch.undo()
    assert ser_here("score", "examples/calm-woman.flac", tmp_path / "out").code == 0
