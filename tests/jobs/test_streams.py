"""The standard streams: full, closed, without a reader, or unable to hold what is written."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.console import Console
from jobs.streams import plain_streams
from tests.support.cli import ROOT, SER, clean_environment

PREDICT = "ser predict examples/calm-woman.flac examples/sad-man.flac --model compact"
FULL = b"ser: standard output cannot be written (No space left on device); send it elsewhere\n"
CLOSED = b"ser: standard output cannot be written (it is closed); send it elsewhere\n"


def shell(command: str, folder: Path, **extra: str) -> tuple[int, bytes]:
    """What `ser` returns in a shell's command line, and what the terminal gets."""
    line = f"{command.replace('ser ', f'{SER[0]} ', 1)}; echo ${{PIPESTATUS[0]}} > {folder / 'code'}"
    environment = clean_environment(**extra)
    done = subprocess.run(
        ["bash", "-c", line], cwd=ROOT, env=environment, timeout=120, check=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return int((folder / "code").read_text()), done.stdout


@pytest.mark.parametrize(
    ("command", "code", "shown"),
    [
        ("ser --version >&-", 1, CLOSED),
        ("ser --version > /dev/full", 1, FULL),
        ("ser --version 2>&- >&-", 1, b""),
        ("ser --version <&- 2>&-", 0, None),
        ("ser score --help > /dev/full", 1, FULL),
        # The reader has gone before anything is written.
        ("ser score --help | true", 141, b""),
        ("ser nosuch 2>&-", 2, b""),
        ("ser nosuch 2> /dev/full", 2, b""),
        ("ser nosuch 2>&1 | true", 2, b""),
        ("ser models > /dev/full", 1, FULL),
        pytest.param(f"{PREDICT} > /dev/full", 1, FULL, marks=pytest.mark.heavy),
        pytest.param(f"{PREDICT} >&-", 1, CLOSED, marks=pytest.mark.heavy),
        pytest.param(f"{PREDICT} 2>&- | true", 141, b"", marks=pytest.mark.heavy),
    ],
)
def test_streams_that_take_nothing(command: str, code: int, shown: bytes | None, tmp_path: Path) -> None:
    # Where nothing is held back, the writing itself fails.
    for is_unbuffered in ("", "1") if "--version > /dev/full" in command else ("",):
        found = shell(command, tmp_path, PYTHONUNBUFFERED=is_unbuffered)
        assert found[0] == code, found
        assert shown is None or found[1] == shown


@pytest.mark.heavy
def test_a_run_is_done_although_nobody_can_be_told(tmp_path: Path) -> None:
    """What it had to say is lost, and what it had to do is done; no file takes the place of a closed descriptor."""
    for way, code in ((">&- 2>&-", 1), ("2>&1 | true", 141)):
        output = tmp_path / str(code)
        found = shell(f"ser score examples/calm-woman.flac {output} --model compact {way}", tmp_path)
        assert found == (code, b"")
        assert json.loads((output / "run.json").read_text())["state"] == "complete"
        found = shell(f"ser score examples/calm-woman.flac {output} --model compact --output-mode json", tmp_path)
        assert found[0] == 0, found
        assert json.loads(found[1].splitlines()[-1])["skipped"] == 1


NAME = "naïve–😀\udcff\x1b[2J"


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}, {}])
def test_what_the_encoding_cannot_hold_is_escaped(environment: dict[str, str], tmp_path: Path) -> None:
    code, shown = shell(f"ser models '/{NAME}'", tmp_path, **environment)
    assert code == 1
    assert shown.startswith(b"ser: model '/na")
    assert b"\\xff\\x1b[2J': no config.json there;" in shown
    assert shown.isascii() == bool(environment) or "LC_ALL" in environment


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_an_answer_in_json_is_the_same_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    with plain_streams():
        Console("json").result("", {"name": NAME + "\x9b\u2028\u202e"})
    assert b"\x1b" not in written.getvalue()
    assert json.loads(written.getvalue()) == {"name": NAME + "\x9b\u2028\u202e"}
    assert written.getvalue().decode(encoding).strip().isprintable()
