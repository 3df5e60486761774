"""A folder of everything that is wrong with audio files: the run ends, and every file is a row that says why."""

import os
from pathlib import Path

import pytest

from ser_core.source.names import AUDIO_SUFFIXES, VIDEO_SUFFIXES, escape_path, suffix_of
from ser_core.vocabulary import REASONS
from tests.support.audio_factory import encode, noise, write_odd_files
from tests.support.cli import as_plain_user, files, predictions, ser, ser_here

ODD_NAMES = (
    b"spaces and 'quotes' \".wav",
    b"new\nline.wav",
    b"a=b.wav",
    b"100%41.wav",
    b"not utf-8 \xff\xfe.wav",
    b"back\\slash.wav",
    "größer 音.wav".encode(),
)


def write_all(folder: Path) -> dict[str, str | None]:
    """Odd contents, odd names, odd kinds of files; the reason each must get by its path (None: scored)."""
    folder.mkdir()
    reasons = write_odd_files(folder)
    sound = encode(noise(1.0))
    for name in ODD_NAMES:
        (Path(os.fsdecode(os.fsencode(folder) + b"/" + name))).write_bytes(sound)
        reasons[escape_path(name)] = None
    (folder / "folder.wav").mkdir()
    (folder / "folder.wav" / "inside.wav").write_bytes(sound)
    (folder / "dangling.wav").symlink_to(folder / "nowhere.wav")
    (folder / "linked.wav").symlink_to(folder / "a=b.wav")
    (folder / "loop").symlink_to(folder)
    (folder / "locked.wav").write_bytes(sound)
    (folder / "locked.wav").chmod(0)
    return reasons | {
        "folder.wav/inside.wav": None,
        "dangling.wav": "not_found",
        "linked.wav": None,
        "locked.wav": "permission",
    }


def assert_words(row: dict[str, object]) -> None:
    """A row that is not scored says why in a sentence."""
    assert row["reason"] in REASONS
    assert len(str(row["detail"]).split()) >= 3, row


def test_every_odd_file_is_a_row_that_says_why(tmp_path: Path) -> None:
    if os.geteuid() == 0 and not as_plain_user():
        pytest.skip("root without setpriv: a file without read permission cannot be tried")
    reasons = write_all(tmp_path / "in")
    command = ("score", tmp_path / "in", tmp_path / "out", "--output-mode", "json")
    answer = ser(*command, before=as_plain_user())
    assert answer.code == 3, answer.err
    rows = {row["path"]: row for row in files(tmp_path / "out").to_pylist()}
    assert set(rows) == set(reasons)
    assert {path: row["reason"] for path, row in rows.items()} == reasons
    for path, row in rows.items():
        assert (row["status"] == "scored") == (reasons[path] is None)
        if row["status"] == "scored":
            assert row["gaps"] == []
            assert row["num_windows"] > 0
        else:
            assert_words(row)
            assert (row["num_windows"] > 0) == (row["status"] == "partial")
    counts = {name: answer.data[name] for name in ("scored", "partial", "failed")}
    assert counts == {name: sum(row["status"] == name for row in rows.values()) for name in counts}
    again = ser(*command, before=as_plain_user())
    assert (again.code, again.data["windows"], again.data["failed"]) == (3, 0, counts["failed"])
    assert ser_here("verify", tmp_path / "out").code == 0


def test_the_odd_files_of_others(tmp_path: Path) -> None:
    data = os.environ.get("SER_TEST_DATA")
    if not data:
        pytest.skip("SER_TEST_DATA is not set: the odd WAVs of other projects are not tried")
    folder = Path(data) / "odd_audio"
    answer = ser_here("score", folder, tmp_path / "out", "--output-mode", "json")
    assert answer.code == 3, answer.err
    rows = files(tmp_path / "out").to_pylist()
    kinds = {*AUDIO_SUFFIXES, *VIDEO_SUFFIXES}
    recordings = [file for file in folder.rglob("*.*") if suffix_of(file.name) in kinds]
    assert len({row["path"] for row in rows}) == len(recordings) == answer.data["files"]
    for row in rows:
        if row["status"] != "scored":
            assert_words(row)
    assert predictions(tmp_path / "out").num_rows == sum(row["num_windows"] for row in rows)
