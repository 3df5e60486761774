"""Runs the `ser` command as a person does, and reads what it left behind."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from jobs.cli import run
from tests.support.processes import abort, launch

SER = [str(Path(sys.executable).with_name("ser"))]
ROOT = Path(__file__).parent.parent.parent
_SETPRIV = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]

#: Of an archive (archive.py) about half of the windows are heard as speech.
WITH_DETECTION = ("--speech", "on")
#: In front of a command: it is another user's.
AS_OTHER_USER = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
needs_two_users = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can run a second user's program"
)


@dataclass(frozen=True)
class Answer:
    """What a command returned."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        """The JSON object that is the last line of standard output."""
        data: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return data


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's environment without what would lead to another Ray or another lock."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SER_LOCK_"))}
    return kept | {"PYTHONFAULTHANDLER": "1"} | extra


def as_plain_user() -> list[str]:
    """In front of a command: what root may read and others may not, it may not either, where setpriv is installed."""
    return _SETPRIV if os.geteuid() == 0 and shutil.which(_SETPRIV[0]) else []


def as_host(host: str) -> list[str]:
    """In front of a command: it runs as if on another machine, as far as locks can tell."""
    return [sys.executable, "-m", "tests.support.as_host", host]


def with_defaults_of_tests(arguments: Sequence[str | Path], *, as_typed: bool = False) -> list[str]:
    """The words of a command; where a model is needed and none is named, the quickest that is bundled.

    What these tests look at is the program, whichever model it runs; the default is a large one. What they score is
    made of tones and noise, in which no speech is: so every window is judged where `--speech` does not say otherwise.
    """
    words = [str(argument) for argument in arguments]
    if as_typed:
        return words
    is_score = words[:1] == ["score"] or (words[:1] == ["submit"] and "score" in words)
    if (is_score or words[:1] == ["predict"]) and not {"--model", "--config"} & {*words}:
        words += ["--model", "compact"]
    if (is_score or words[:1] in (["predict"], ["evaluate"])) and not {"--speech", "--config", "--help"} & {*words}:
        place = 1 + (words.index("score") if is_score else 0)
        words[place:place] = ["--speech", "all"]
    return words


def start(
    *arguments: str | Path, cwd: Path = ROOT, before: Sequence[str] = (), as_typed: bool = False, **extra: str
) -> subprocess.Popen[str]:
    """Start `ser` in a session of its own, which ends with the test.

    Args:
        arguments: of `ser`.
        cwd: where it runs.
        before: a command that starts it.
        as_typed: whether it gets these arguments and no other.
        extra: environment variables.
    """
    return launch(
        [*before, *SER, *with_defaults_of_tests(arguments, as_typed=as_typed)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(**extra),
        cwd=cwd,
    )


def finish(process: subprocess.Popen[str], timeout: float = 240) -> Answer:
    """Wait for the end of `ser`; one that takes longer fails the test, and tells where it is."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"ser did not end in {timeout} s\n{abort(process)}") from None
    return Answer(process.returncode, out, err)


def ser(
    *arguments: str | Path, timeout: float = 240, cwd: Path = ROOT, before: Sequence[str] = (), as_typed: bool = False,
    **extra: str,
) -> Answer:  # fmt: skip
    """Run `ser` to its end; as `start`."""
    return finish(start(*arguments, cwd=cwd, before=before, as_typed=as_typed, **extra), timeout)


def ser_here(
    *arguments: str | Path, cwd: Path = ROOT, as_typed: bool = False, ray: Callable[..., Any] | None = None,
    **extra: str,
) -> Answer:  # fmt: skip
    """Run `ser` in this process, which has torch and more loaded already: for what must not start Ray.

    Args:
        arguments: of `ser`.
        cwd: where it runs.
        as_typed: whether it gets these arguments and no other.
        ray: takes the place of `RayProcess`; None: that is not called.
        extra: environment variables.
    """
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name in os.environ.keys() - clean_environment().keys():
            patch.delenv(name)
        for name, value in extra.items():
            patch.setenv(name, value)
        patch.chdir(cwd)
        patch.setattr("cluster.ray_process.RayProcess", ray or _start_no_ray)
        code = run(with_defaults_of_tests(arguments, as_typed=as_typed))
    return Answer(code, out.getvalue(), err.getvalue())


class RayStarted(BaseException):
    """Goes past the command's own catch."""


def _start_no_ray(*_: object, **__: object) -> None:
    raise RayStarted("Ray would be started where it is not needed")


def predictions(output: str | Path, options: dict[str, str] | None = None) -> pa.Table:
    """The predictions as the Delta log has them, in order of their key."""
    return _sorted(DeltaTable(f"{output}/predictions", storage_options=options), "window_index")


def files(output: str | Path, options: dict[str, str] | None = None) -> pa.Table:
    """The files table as the Delta log has it, in order of its key."""
    return _sorted(DeltaTable(f"{output}/files", storage_options=options))


def _sorted(table: DeltaTable, *more: str) -> pa.Table:
    rows = pa.table(table.to_pyarrow_table())
    return rows.sort_by([(name, "ascending") for name in ("path", "channel", *more)])


def assert_one_line(answer: Answer, code: int, *words: str) -> None:
    """The command ended with `code` and one line, no traceback, that holds every one of `words`."""
    assert answer.code == code, (answer.code, answer.err)
    assert "Traceback" not in answer.err, answer.err
    line = answer.err.strip().splitlines()[-1]
    assert line.startswith("ser: ")
    for word in words:
        assert word in line, line
