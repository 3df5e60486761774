"""The files of `odd_audio/wild` in SER_TEST_DATA: each gives what the table in the README beside them says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ser_core.audio.decode import iter_segments
from ser_core.audio.recording import open_recording
from ser_core.audio.segments import WindowSettings
from ser_core.source.listing import Skipped
from ser_core.source.names import suffix_of
from ser_core.source.source import Source
from tests.support.cli import ser_here

pytestmark = pytest.mark.heavy

#: Seconds, within 0.2 s as MP3s without gapless data are longer; and the reason where the file is partial.
RECORDINGS: dict[str, tuple[float, str | None]] = {
    "clean_3s.wav": (3, None),
    "header_says_half.wav": (3, None),
    "cat_two_tagged.mp3": (6, None),
    "chained_same_serial.opus": (4, None),
    "id3v2_before_riff.wav": (3, None),
    "nist_truncated.wav": (1.5, "truncated"),
    "junk_before_first_frame.mp3": (3, None),
    "no_id3.mp3": (3, None),
    "mp3_in_wav.wav": (3, None),
    "oboe_int32max.wav": (3, None),
    "ffmpeg_pipe.w64": (3, None),
    "data_size_plus_44.wav": (3, None),
    "list_pad_to_4.wav": (3, None),
    "zeros_at_end.mp3": (3, None),
    "speex.ogg": (3, None),
}
LISTS = {
    "list_utf16.txt": ["clean_3s.wav"],
    "list_print0.txt": ["clean_3s.wav", "speex.ogg"],
    "list_semicolon.csv": ["clean_3s.wav"],
}
OTHERS = {"make_wrapped_4gib.py", "corpus_nul.csv"}


@pytest.fixture
def folder() -> Path:
    if "SER_TEST_DATA" not in os.environ:
        pytest.skip("SER_TEST_DATA is not set: the files of odd_audio/wild are not tried")
    return Path(os.environ["SER_TEST_DATA"]).resolve() / "odd_audio" / "wild"


def judged(file: Path) -> tuple[float, str | None]:
    segments = list(iter_segments(file, channels="mix", windows=WindowSettings(), suffix=suffix_of(file.name)))
    reasons = [segment.fault.reason for segment in segments if segment.fault]
    return sum(segment.audio_seconds for segment in segments), next(iter(reasons), None)


def test_every_file_of_the_table_is_held_to_it(folder: Path) -> None:
    table = [line.split("|")[1] for line in (folder / "README.md").read_text().splitlines() if line.startswith("| `")]
    named = {name.split()[0] for cell in table for name in re.findall("`([^`]+)`", cell)}
    assert named == {*RECORDINGS, *LISTS, *OTHERS}
    assert named == {file.name for file in folder.iterdir()} - {"README.md"}


@pytest.mark.parametrize("name", RECORDINGS)
def test_each_recording_gives_what_the_table_says(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What libmpg123 would take for resource forks of files.
    (tmp_path / ".AppleDouble").mkdir()
    (tmp_path / "._").write_bytes(b"litter")
    monkeypatch.chdir(tmp_path)
    seconds, reason = RECORDINGS[name]
    assert judged(folder / name) == (pytest.approx(seconds, abs=0.2), reason)


def test_sizes_that_wrapped_at_4_gib_are_passed_over(folder: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, folder / "make_wrapped_4gib.py", tmp_path / "wrapped.wav"], check=True)
    # Without a mix: it takes minutes for eight channels of 192 kHz.
    with (tmp_path / "wrapped.wav").open("rb") as file, open_recording(file) as recording:
        num_frames = sum(len(block_TC) for block_TC in recording.blocks())
        assert round(num_frames / recording.sample_rate_hz) == 702
        assert recording.fault is None


@pytest.mark.parametrize("name", LISTS)
def test_each_list_is_read(name: str, folder: Path) -> None:
    tables = Source.parse(str(folder / name)).list(exclude=None, skipped=Skipped())
    rows = [row for table in tables for row in table.to_pylist()]
    assert [row["path"] for row in rows] == LISTS[name]
    assert all(row["size"] > 0 for row in rows)


def test_a_nul_in_a_table_of_labels_is_named_or_read(folder: Path, tmp_path: Path) -> None:
    answer = ser_here("corpus", "csv", folder / "corpus_nul.csv", tmp_path / "manifest.parquet", "--name", "wild")
    if answer.code != 0:
        assert len(answer.err.splitlines()) == 1
        assert "NUL" in answer.err
