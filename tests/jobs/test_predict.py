"""`ser predict`: one line a file, whatever the file is called."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from jobs import predict
from ser_core.audio.byte_view import ByteView
from ser_core.audio.settings import WindowSettings
from tests.support.audio_factory import write_sparse_rf64
from tests.support.cli import ROOT, finish, ser, start
from tests.support.processes import first_line

STRICT = {"PYTHONIOENCODING": "utf-8:strict"}


@pytest.fixture
def odd_names(tmp_path: Path) -> list[Path]:
    names = [b"caf\xe9.wav", b"a\tb\nc\x1b[2J.wav", "\u00e9t\u00e9.wav".encode()]
    files = [tmp_path / os.fsdecode(name) for name in names]
    for file in files:
        shutil.copy(ROOT / "examples" / "calm.wav", file)
    return files


def test_a_file_of_any_name_is_one_line(odd_names: list[Path], tmp_path: Path) -> None:
    (tmp_path / "x\ny.wav").write_text("no sound")
    answer = ser("predict", *odd_names, tmp_path / "x\ny.wav", **STRICT)
    assert answer.code == 3, answer.err
    *scored, failed = [line.removeprefix(f"{tmp_path}/").split("\t") for line in answer.out.splitlines()]
    assert [line[0] for line in scored] == ["caf\\xe9.wav", "a\\x09b\\x0ac\\x1b[2J.wav", "\u00e9t\u00e9.wav"]
    assert all(0 < float(confidence) <= 1 for _, _, confidence in scored)
    assert failed[:2] == ["x\\x0ay.wav", "failed"]


def test_json_has_the_path_as_the_tables_have_it(odd_names: list[Path], tmp_path: Path) -> None:
    answer = ser("predict", *odd_names, "--output-mode", "json", **STRICT)
    assert answer.code == 0, answer.err
    paths = [json.loads(line)["path"].removeprefix(f"{tmp_path}/") for line in answer.out.splitlines()]
    assert paths == ["caf\\xe9.wav", "a\tb\nc\x1b[2J.wav", "\u00e9t\u00e9.wav"]


def test_an_interrupt_ends_it_with_one_line(tmp_path: Path) -> None:
    first, long = tmp_path / "calm.wav", tmp_path / "long.wav"
    shutil.copy(ROOT / "examples" / "calm.wav", first)
    write_sparse_rf64(long, 100 * 3600.0)
    process = start("predict", first, long)
    assert first_line(process).startswith(str(first))
    process.send_signal(signal.SIGINT)
    answer = finish(process, timeout=60)
    assert answer.code == 130
    assert answer.err == "ser: interrupted\n"


def test_an_interrupt_is_not_lost_in_libsndfile(monkeypatch: pytest.MonkeyPatch) -> None:
    read = ByteView.read

    def interrupted(view: ByteView, size: int) -> bytes:
        signal.raise_signal(signal.SIGINT)
        return read(view, size)

    monkeypatch.setattr(ByteView, "read", interrupted)
    segments = predict._segments(ROOT / "examples" / "calm.wav", WindowSettings(sample_rate_hz=16_000))
    with pytest.raises(KeyboardInterrupt):
        next(segments)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
