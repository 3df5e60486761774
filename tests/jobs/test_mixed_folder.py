"""A folder as people have it, of M4A, WAV and text: what `--dry-run` tells, what a run does, and its exit codes."""

from pathlib import Path

import pytest

from tests.support.audio_factory import encode, speech
from tests.support.av_factory import with_av
from tests.support.cli import files, ser_here


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pcm_TC = speech(2.0, "happy")[:, None]
    contents = {
        **{f"memo {number}.m4a": with_av(pcm_TC, "ipod", "aac", rate_hz=16_000) for number in range(5)},
        **{f"call{number}.WAV": encode(pcm_TC) for number in range(2)},
        **{f"notes/{number}.txt": b"words" for number in range(3)},
        "README": b"words",
        "Thumbs.db": b"litter",
        "._call0.WAV": b"litter",
    }
    for name, data in contents.items():
        file = tmp_path / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return tmp_path / "in"


def test_what_is_left_out_is_counted_by_suffix_and_with_the_reason(folder: Path, tmp_path: Path) -> None:
    hidden = "2 hidden (names with a dot in front, or left by file servers and systems)"
    others = f"3 .txt, 1 without suffix (not the suffix of a recording), {hidden}"
    preview = ser_here("score", folder, tmp_path / "out", "--dry-run")
    assert preview.code == 0
    assert "by suffix: 5 .m4a, 2 .wav\n" in preview.out
    assert f"left out: {others}\n" in preview.out
    assert not (tmp_path / "out").exists()

    chosen = ser_here("score", folder, tmp_path / "out", "--dry-run", "--glob", "*.WAV")
    assert "by suffix: 2 .wav\n" in chosen.out
    assert f"left out: 5 .m4a, 1 without suffix (not matched by '*.WAV'), {hidden}\n" in chosen.out

    told = ser_here("score", folder, tmp_path / "out", "--dry-run", "--output-mode", "json").data
    assert (told["suffixes"], told["left_out"], told["hidden"]) == ({"m4a": 5, "wav": 2}, {"txt": 3, "": 1}, 2)
    assert told["left_out_because"] == {"not the suffix of a recording": {"txt": 3, "": 1}}

    whole = ser_here("score", folder, tmp_path / "out")
    assert whole.code == 0, whole.err
    assert "7 files: 7 scored, 0 partial, 0 failed" in whole.out
    assert f"left out: {others}\n" in whole.out

    # What is named as a recording, and is none, is a row.
    (folder / "memo 5.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(2_000))
    broken = ser_here("score", folder, tmp_path / "out")
    assert broken.code == 3
    assert "8 files: 7 scored, 0 partial, 1 failed; 7 unchanged" in broken.out
    reasons = {row["path"]: row["reason"] for row in files(tmp_path / "out").to_pylist()}
    assert reasons == {path: "unreadable" if "5" in path else None for path in reasons}
    assert len(reasons) == 8
