"""`ser predict`: one line a file, whatever the file is called and whatever is in it."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from ser_core import storage
from tests.conftest import S3Server
from tests.support.audio_factory import encode, speech, write_sparse_rf64
from tests.support.cli import ROOT, assert_one_line, finish, ser_here, start
from tests.support.misbehaving_worker import poisoned, use_in_runs
from tests.support.processes import first_line


def copies(folder: Path, *names: str) -> list[Path]:
    """The same clip under these names."""
    return [Path(shutil.copy(ROOT / "examples" / "calm-woman.flac", folder / name)) for name in names]


def test_what_is_noted_of_a_file_follows_its_answer(tmp_path: Path) -> None:
    """Two channels that cancel out: one of them is heard, and a person should know."""
    spoken = speech(4.0, "angry")
    (tmp_path / "swapped.wav").write_bytes(encode(np.stack([spoken, -spoken], axis=1)))
    (tmp_path / "alike.wav").write_bytes(encode(np.stack([spoken, spoken], axis=1)))
    answer = ser_here("predict", tmp_path / "swapped.wav", tmp_path / "alike.wav")
    swapped, alike = (line.split("\t")[1:] for line in answer.out.splitlines())
    note = "the channels cancel out for 4.0 s, where one of them is taken instead of the mix"
    assert swapped == [*alike, note]
    assert len(alike) == 2


@pytest.fixture
def odd_names(tmp_path: Path) -> list[Path]:
    names = [b"caf\xe9.flac", b"a\tb\nc\x1b[2J.flac", "\u00e9t\u00e9.flac".encode()]
    return copies(tmp_path, *map(os.fsdecode, names))


def test_a_file_of_any_name_is_one_line_in_the_order_that_was_given(odd_names: list[Path], tmp_path: Path) -> None:
    (tmp_path / "x\ny.wav").write_text("no sound")
    answer = ser_here("predict", tmp_path / "x\ny.wav", *odd_names, odd_names[0])
    assert answer.code == 3, answer.err
    answer.out.encode("utf-8", "strict")
    failed, *scored = [line.removeprefix(f"{tmp_path}/").split("\t") for line in answer.out.splitlines()]
    names = ["caf\\xe9.flac", "a\\x09b\\x0ac\\x1b[2J.flac", "\u00e9t\u00e9.flac", "caf\\xe9.flac"]
    assert [line[0] for line in scored] == names
    assert all(0 < float(confidence) <= 1 for _, _, confidence in scored)
    assert failed[:2] == ["x\\x0ay.wav", "failed"]


def test_json_has_the_path_as_the_tables_have_it(odd_names: list[Path], tmp_path: Path) -> None:
    answer = ser_here("predict", *odd_names, "--output-mode", "json")
    assert answer.code == 0, answer.err
    answers = [json.loads(line) for line in answer.out.splitlines()]
    paths = [answer["path"].removeprefix(f"{tmp_path}/") for answer in answers]
    assert paths == ["caf\\xe9.flac", "a\tb\nc\x1b[2J.flac", "\u00e9t\u00e9.flac"]
    assert set(answers[0]) == {
        "path", "status", "emotion", "confidence", "audio_seconds", "speech_seconds", "reason", "detail",
    }  # fmt: skip


def test_objects_are_read_as_files_are(moto_s3: S3Server) -> None:
    storage.put(moto_s3.location.join("calm.flac"), (ROOT / "examples" / "calm-woman.flac").read_bytes())
    answer = ser_here(
        "predict", f"{moto_s3.location}/calm.flac", f"{moto_s3.location}/gone.wav", "examples/calm-woman.flac"
    )
    lines = [line.split("\t") for line in answer.out.splitlines()]
    assert lines[0][1:] == lines[2][1:]
    assert lines[1][1:] == ["failed", "not_found: there is no such object"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("examples", "a folder, prefix or glob"),
        ("s3://bucket/prefix/", "a folder, prefix or glob"),
        ("examples/*.nothing", "a folder, prefix or glob"),
        ("list.csv", "a list or an archive"),
        ("s3://bucket/shard.tar", "a list or an archive"),
    ],
)
def test_what_is_no_recording_is_one_line(given: str, words: str) -> None:
    answer = ser_here("predict", "examples/calm-woman.flac", given)
    assert_one_line(answer, 2, given, words, "ser score takes all others")
    assert answer.out == ""


def test_what_kills_its_decoder_or_is_not_there_is_a_line_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_in_runs(monkeypatch.setattr)
    files = copies(tmp_path, "abort.flac", "calm.flac")
    files[0].write_bytes(poisoned(files[0].read_bytes(), "abort"))
    answer = ser_here("predict", *files, tmp_path / "none.wav")
    assert answer.code == 3, answer.err
    lines = [line.split("\t")[1:] for line in answer.out.splitlines()]
    assert [line[0] for line in lines] == ["failed", "calm", "failed"]
    assert lines[0][1].startswith("crashed: ")
    assert lines[2][1].startswith("not_found: ")


def test_an_interrupt_ends_it_with_one_line(tmp_path: Path) -> None:
    [first] = copies(tmp_path, "calm.flac")
    long = tmp_path / "long.wav"
    write_sparse_rf64(long, 100 * 3600.0)
    process = start("predict", first, long)
    assert first_line(process).startswith(str(first))
    process.send_signal(signal.SIGINT)
    answer = finish(process, timeout=60)
    assert answer.code == 130
    assert answer.err == "ser: interrupted\n"
