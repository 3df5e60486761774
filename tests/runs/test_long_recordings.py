"""Memory does not grow with the length of a recording, and a long one is scored as its pieces are."""

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from ser_core.storage import s3
from tests.conftest import S3Server
from tests.support.archive import WINDOW_SECONDS
from tests.support.audio_factory import RATE_HZ, encode, speech, write_sparse_rf64, write_spoken_rf64
from tests.support.av_factory import write_long
from tests.support.cli import WITH_DETECTION, files, finish, predictions, ser_here, start
from tests.support.memory import Sampler
from tests.support.ray_cluster import on_ray

MAX_GROWTH_BYTES = 300 * 10**6


def peak_of_scoring(source: str | Path, output: str | Path, *options: str, timeout: float = 1200) -> int:
    process = start("score", source, output, "--cpus", "2", *options)
    sampler = Sampler(process)
    answer = finish(process, timeout=timeout)
    assert answer.code == 0, answer.err
    return sampler.stop()


@pytest.mark.heavy
@pytest.mark.parametrize("engine", ["local", on_ray()])
def test_ten_hours_take_no_more_memory_than_one(engine: str, tmp_path: Path) -> None:
    """Somebody speaks all the time, so that loader, detector and network have work to the end."""
    peaks = {}
    for hours in (1, 10):
        source, output = tmp_path / str(hours), tmp_path / f"out{hours}"
        source.mkdir()
        write_spoken_rf64(source / "long.wav", 60 * hours, "angry")
        options = "--engine", engine, *WITH_DETECTION
        peaks[hours] = peak_of_scoring(source, output, *options, timeout=3600)
        is_silent = pc.equal(predictions(output)["emotion"], "no_speech")
        assert len(is_silent) == hours * 3600 // WINDOW_SECONDS
        assert pc.sum(is_silent).as_py() == 0
        assert files(output)["speech_seconds"][0].as_py() > 0.8 * hours * 3600
    assert peaks[10] - peaks[1] < MAX_GROWTH_BYTES, peaks


@pytest.mark.heavy
def test_ten_hours_of_silence_take_no_more_memory_than_one(tmp_path: Path) -> None:
    """In stereo and at 48 kHz."""
    peaks = {}
    for hours in (1, 10):
        (tmp_path / str(hours)).mkdir()
        write_sparse_rf64(tmp_path / str(hours) / "long.wav", hours * 3600.0)
        peaks[hours] = peak_of_scoring(tmp_path / str(hours), tmp_path / f"out{hours}", "--engine", "local")
        assert predictions(tmp_path / f"out{hours}").num_rows == hours * 3600 // WINDOW_SECONDS
    assert peaks[10] - peaks[1] < MAX_GROWTH_BYTES, peaks


@pytest.mark.heavy
@pytest.mark.parametrize(("suffix", "subtype"), [("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III")])
def test_a_long_compressed_recording_takes_no_more_memory(tmp_path: Path, suffix: str, subtype: str) -> None:
    peaks = {}
    minute = speech(60.0, "calm", rate_hz=44_100)
    for minutes in (10, 120):
        (tmp_path / str(minutes)).mkdir()
        file = tmp_path / str(minutes) / f"long.{suffix.lower()}"
        file.write_bytes(encode(np.tile(minute, minutes), rate_hz=44_100, format=suffix, subtype=subtype))
        peaks[minutes] = peak_of_scoring(file.parent, tmp_path / f"out{minutes}")
        assert files(tmp_path / f"out{minutes}")["audio_seconds"][0].as_py() == pytest.approx(60.0 * minutes, abs=0.1)
    assert peaks[120] - peaks[10] < MAX_GROWTH_BYTES, peaks


@pytest.mark.heavy
def test_a_long_object_is_read_in_ranges(ceph_s3: S3Server, tmp_path: Path) -> None:
    peaks = {}
    for minutes in (5, 40):
        write_sparse_rf64(tmp_path / "long.wav", 60.0 * minutes)
        source = ceph_s3.location.join(str(minutes))
        s3.filesystem().put_file(str(tmp_path / "long.wav"), source.join("long.wav").path)
        output = ceph_s3.location.join(f"out{minutes}")
        peaks[minutes] = peak_of_scoring(source.url, output.url)
        assert predictions(output.url, output.delta_options()).num_rows == 60 * minutes // WINDOW_SECONDS
    assert peaks[40] - peaks[5] < MAX_GROWTH_BYTES, peaks


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "video"), [("long.m4a", False), ("long.mp4", True), ("long.mka", False)])
def test_ten_hours_of_compressed_audio_and_of_video(tmp_path: Path, name: str, video: bool) -> None:
    """The index of an MP4 has an entry for each packet: 1.5 million in ten hours."""
    peaks = {}
    for hours in (1, 10):
        (tmp_path / str(hours)).mkdir()
        seconds = write_long(tmp_path / str(hours) / name, hours, video=video)
        peaks[hours] = peak_of_scoring(tmp_path / str(hours), tmp_path / f"out{hours}", "--engine", "local")
        assert files(tmp_path / f"out{hours}")["audio_seconds"][0].as_py() == pytest.approx(seconds, abs=0.1)
    assert peaks[10] - peaks[1] < MAX_GROWTH_BYTES, peaks


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "video"), [("long.m4a", False), ("long.mp4", True)])
def test_ten_hours_of_compressed_objects(ceph_s3: S3Server, tmp_path: Path, name: str, video: bool) -> None:
    peaks = {}
    for hours in (1, 10):
        seconds = write_long(tmp_path / name, hours, video=video)
        source, output = (ceph_s3.location.join(f"{place}{hours}") for place in ("in", "out"))
        s3.filesystem().put_file(str(tmp_path / name), source.join(name).path)
        peaks[hours] = peak_of_scoring(source.url, output.url, "--engine", "local")
        rows = files(output.url, output.delta_options())
        assert rows["audio_seconds"][0].as_py() == pytest.approx(seconds, abs=0.1)
    assert peaks[10] - peaks[1] < MAX_GROWTH_BYTES, peaks


def pieces_agree(tmp_path: Path, seconds: int, piece_seconds: int) -> None:
    """A recording gives the same windows as its pieces, cut at multiples of the window."""
    (tmp_path / "in").mkdir()
    voices = ("calm", "happy", "sad", "angry")
    whole = np.concatenate([speech(30.0, voices[part % 4], seed=part) for part in range(seconds // 30)])
    (tmp_path / "in" / "whole.wav").write_bytes(encode(whole))
    for piece in range(seconds // piece_seconds):
        start_sample = piece * piece_seconds * RATE_HZ
        part = whole[start_sample : start_sample + piece_seconds * RATE_HZ]
        (tmp_path / "in" / f"piece_{piece:03}.wav").write_bytes(encode(part))
    answer = ser_here("score", tmp_path / "in", tmp_path / "out", "--speech", "on")
    assert answer.code == 0, answer.err
    rows = predictions(tmp_path / "out")
    of_pieces = rows.filter(pc.starts_with(rows["path"], "piece_"))
    of_whole = rows.filter(pc.equal(rows["path"], "whole.wav"))
    assert of_pieces.num_rows == of_whole.num_rows == seconds // WINDOW_SECONDS
    assert 0 < of_whole["confidence"].null_count < of_whole.num_rows
    for name in (name for name in rows.column_names if name.startswith("p_") or name == "speech_share"):
        np.testing.assert_allclose(of_pieces[name].to_numpy(), of_whole[name].to_numpy(), rtol=0, atol=1e-5)


def test_five_minutes_are_scored_as_their_pieces_are(tmp_path: Path) -> None:
    pieces_agree(tmp_path, 300, 30)


@pytest.mark.heavy
def test_an_hour_is_scored_as_its_pieces_are(tmp_path: Path) -> None:
    pieces_agree(tmp_path, 3600, 60)
