"""Files to segments: whatever the file, its audio is cut as the definition says or a sentence says why not."""

import io
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from ser_core.audio.decode import iter_segments
from ser_core.audio.segments import AUDIO_HASH_CHARACTERS, Segment, WindowSettings
from ser_core.errors import ServiceError
from ser_core.faults import Fault
from ser_core.vocabulary import REASONS, Channels
from tests.support.audio_factory import ODD_FILES, RATE_HZ, encode, noise, speech, write_sparse_rf64

WINDOWS = WindowSettings()


def segments_of(source: Any, *, channels: Channels = "mix", windows: WindowSettings = WINDOWS) -> list[Segment]:
    return list(iter_segments(source, channels=channels, windows=windows))


def windows_of(segments: list[Segment], channel: int = -1) -> np.ndarray:
    return np.concatenate([segment.pcm_NS for segment in segments if segment.channel == channel])


def assert_is_whole(segments: list[Segment]) -> None:
    """What holds for the segments of any file."""
    assert [segment.segment_index for segment in segments] == list(range(len(segments)))
    assert [segment.is_last for segment in segments] == [False] * (len(segments) - 1) + [True]
    for segment in segments:
        assert segment.fault is None or segment.fault.reason in REASONS
        assert bool(segment.gaps) <= bool(segment.fault)
        assert len(segment.pcm_NS) == len(segment.window_index) == len(segment.end_seconds) == len(segment.level_dbfs)
        assert segment.pcm_NS.dtype == np.float32
        assert np.isfinite(segment.pcm_NS).all()
        assert all(start <= end for start, end in segment.gaps)
    if not any(segment.window_index for segment in segments):
        assert segments[-1].fault is not None


@pytest.mark.parametrize("channels", ["mix", "each"])
@pytest.mark.parametrize("name", ODD_FILES)
def test_every_odd_file_is_scored_or_says_why_not(name: str, channels: Channels) -> None:
    contents, reason = ODD_FILES[name]
    segments = segments_of(contents(), channels=channels)
    assert_is_whole(segments)
    faults = [segment.fault for segment in segments if segment.fault]
    assert next((fault.reason for fault in faults), None) == reason
    assert all("\n" not in fault.detail and len(fault.detail) < 120 for fault in faults)


def test_odd_files_of_others() -> None:
    folder = os.environ.get("SER_TEST_DATA")
    if folder is None:
        pytest.skip("SER_TEST_DATA is not set: the odd audio files of other projects are not tried")
    files = sorted(Path(folder, "odd_audio").rglob("*.wav"))
    assert files
    for file in files:
        segments = segments_of(file)
        assert_is_whole(segments)
        if file.parent.name == "valid":
            reasons = {segment.fault.reason for segment in segments if segment.fault}
            assert reasons <= {"too_short", "empty"}, f"{file.name}: {segments[-1].fault}"


def test_a_path_an_open_file_a_call_and_contents_give_the_same(tmp_path: Path) -> None:
    contents = encode(noise(4))
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff name\n'=%.wav"))
    path.write_bytes(contents)
    with path.open("rb") as file:
        for source in (path, str(path), file, lambda: io.BytesIO(contents)):
            np.testing.assert_array_equal(windows_of(segments_of(source)), windows_of(segments_of(contents)))


@pytest.mark.parametrize("rate_hz", [4_000, 8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("num_channels", [1, 2, 6])
def test_streamed_resampling_equals_that_of_the_whole_file(rate_hz: int, num_channels: int) -> None:
    contents = encode(noise(7.3, rate_hz=rate_hz, num_channels=num_channels), rate_hz=rate_hz)
    pcm_TC = soundfile.read(io.BytesIO(contents), dtype="float32", always_2d=True)[0]
    mixed_T = pcm_TC.mean(axis=1)
    expected_T = mixed_T if rate_hz == RATE_HZ else soxr.resample(mixed_T, rate_hz, RATE_HZ)
    windows_NS = windows_of(segments_of(contents))
    np.testing.assert_allclose(windows_NS.reshape(-1)[: len(expected_T)], expected_T, atol=1e-7)


def test_long_streams_equal_the_whole_too() -> None:
    contents = encode(noise(70, rate_hz=48_000, num_channels=2), rate_hz=48_000)
    pcm_TC = soundfile.read(io.BytesIO(contents), dtype="float32")[0]
    expected_T = soxr.resample(pcm_TC.mean(axis=1), 48_000, RATE_HZ)
    windows_NS = windows_of(segments_of(contents))
    np.testing.assert_allclose(windows_NS.reshape(-1)[: len(expected_T)], expected_T[: windows_NS.size], atol=1e-7)


@pytest.mark.parametrize("format", ["FLAC", "MP3", "OGG"])
def test_compressed_files_are_read_as_in_one_go(format: str) -> None:
    contents = encode(noise(70), format=format)
    expected_T = soundfile.read(io.BytesIO(contents), dtype="float32")[0]
    windows_NS = windows_of(segments_of(contents))
    # libsndfile and FFmpeg decode the compressed ones with rounding of their own.
    np.testing.assert_allclose(windows_NS.reshape(-1)[: len(expected_T)], expected_T[: windows_NS.size], atol=1e-5)


def test_a_long_16_khz_file_gives_the_windows_of_its_pieces() -> None:
    pcm_TC = noise(500)
    whole = windows_of(segments_of(encode(pcm_TC)))
    piece_samples = 20 * WINDOWS.window_samples
    pieces = [segments_of(encode(pcm_TC[at : at + piece_samples])) for at in range(0, len(pcm_TC), piece_samples)]
    np.testing.assert_array_equal(whole, np.concatenate([windows_of(piece) for piece in pieces]))


def test_the_hash_of_audio_is_that_of_its_samples_whatever_holds_them() -> None:
    # Integers: of floats each encoder makes its own.
    pcm_TC = (noise(250.5, rate_hz=8_000, num_channels=2) * 2**15).astype(np.int16)

    def found(pcm_TC: np.ndarray, **options: Any) -> str | None:
        contents = encode(pcm_TC, rate_hz=options.pop("rate_hz", 8_000), **options)
        *before, last = iter_segments(contents, channels="mix", windows=WINDOWS, hashes_audio=True)
        assert before
        assert {segment.audio_hash for segment in before} == {None}
        return last.audio_hash

    whole = found(pcm_TC)
    assert whole is not None
    assert len(whole) == AUDIO_HASH_CHARACTERS
    assert found(pcm_TC, format="FLAC") == found(pcm_TC, format="AIFF") == whole
    *_, last = iter_segments(encode(pcm_TC, rate_hz=8_000), channels="each", windows=WINDOWS, hashes_audio=True)
    assert last.audio_hash == whole
    other_TC = pcm_TC.copy()
    other_TC[-1, 1] += 1
    others = {found(other_TC), found(pcm_TC[:-1]), found(pcm_TC, rate_hz=8_001), found(pcm_TC.reshape(-1, 1))}
    assert len(others - {whole}) == 4
    assert {segment.audio_hash for segment in segments_of(encode(pcm_TC, rate_hz=8_000))} == {None}


def test_each_channel_has_windows_of_its_own() -> None:
    pcm_TC = noise(300, num_channels=3)
    segments = segments_of(encode(pcm_TC, subtype="FLOAT"), channels="each")
    assert_is_whole(segments)
    for channel in range(3):
        windows_NS = windows_of(segments, channel)
        np.testing.assert_array_equal(windows_NS.reshape(-1)[: len(pcm_TC)], pcm_TC[: windows_NS.size, channel])
        seconds = sum(segment.audio_seconds for segment in segments if segment.channel == channel)
        assert seconds == pytest.approx(300)


def test_what_a_cut_file_holds_is_scored_and_the_rest_is_a_gap() -> None:
    whole = encode(noise(12))
    (cut,) = segments_of(whole[: 44 + round(3.2 * RATE_HZ) * 2])
    np.testing.assert_array_equal(cut.pcm_NS, windows_of(segments_of(whole))[:1])
    assert cut.gaps == [(3.2, 12.0)]
    assert cut.fault == Fault("truncated", "the header promises 12.0 s but the audio ends at 3.2 s")


@pytest.mark.parametrize("channels", ["mix", "each"])
@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_what_is_longer_than_the_limit_is_scored_up_to_it(channels: Channels, rate_hz: int) -> None:
    contents = encode(noise(20, rate_hz=rate_hz, num_channels=2), rate_hz=rate_hz)
    limited = replace(WINDOWS, max_file_seconds=7.5)
    whole, segments = (
        segments_of(contents, channels=channels),
        segments_of(contents, channels=channels, windows=limited),
    )
    assert_is_whole(segments)
    for last in [segment for segment in segments if segment.fault]:
        assert last.fault == Fault("too_long", "what follows is beyond --max-file-hours 0.00208333, at 7.5 s")
        assert last.gaps == [(7.5, 20.0)]
        assert last.audio_seconds == 7.5
        # The windows that the limit leaves whole are those of the whole file.
        np.testing.assert_array_equal(windows_of(segments, last.channel)[:2], windows_of(whole, last.channel)[:2])
        assert len(windows_of(segments, last.channel)) == 3
    assert len(segments) == (1 if channels == "mix" else 2)


def test_a_file_as_long_as_the_limit_is_whole() -> None:
    [segment] = segments_of(encode(noise(20)), windows=replace(WINDOWS, max_file_seconds=20.0))
    assert segment.fault is None
    assert len(segment.window_index) == 7


def test_a_file_has_a_bounded_number_of_windows_over_all_channels() -> None:
    contents = encode(noise(20, num_channels=2))
    found = segments_of(contents, channels="each", windows=replace(WINDOWS, hop_seconds=0.25, max_file_windows=40))
    assert sum(len(segment.window_index) for segment in found) <= 40
    detail = "what follows is beyond 40 windows (--hop-seconds 0.25), at 5.0 s"
    assert [segment.fault for segment in found if segment.fault] == [Fault("too_long", detail)] * 2


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_samples_that_are_no_sound_cost_their_windows_alone(value: float, rate_hz: int) -> None:
    pcm_TC = noise(15, rate_hz=rate_hz)
    clean = windows_of(segments_of(encode(pcm_TC, rate_hz=rate_hz, subtype="FLOAT")))
    pcm_TC[round(7.5 * rate_hz)] = value
    segments = segments_of(encode(pcm_TC, rate_hz=rate_hz, subtype="FLOAT"))
    assert_is_whole(segments)
    assert segments[0].window_index == [0, 1, 3, 4]
    assert segments[0].gaps == [(6.0, 9.0)]
    assert segments[0].fault.reason == "not_finite"
    np.testing.assert_array_equal(segments[0].pcm_NS, clean[[0, 1, 3, 4]])


def test_a_bad_channel_spares_the_others() -> None:
    pcm_TC = noise(6, num_channels=2)
    pcm_TC[:, 1] = np.nan
    good, bad = segments_of(encode(pcm_TC, subtype="FLOAT"), channels="each")
    assert (good.fault, len(good.pcm_NS)) == (None, 2)
    assert (bad.fault.reason, len(bad.pcm_NS), bad.gaps) == ("not_finite", 0, [(0.0, 6.0)])


class _BreakingFile(io.BytesIO):
    """Raises in the place of its third quarter."""

    def __init__(self, contents: bytes, error: Exception) -> None:
        super().__init__(contents)
        self._broken = range(len(contents) // 2, 3 * len(contents) // 4)
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() in self._broken:
            raise self._error
        return super().read(size)


@pytest.mark.parametrize("format", ["WAV", "FLAC", "MP3"])
def test_an_error_while_reading_ends_the_file_with_its_reason(format: str) -> None:
    error = Fault("changed", "the file changed while it was read")
    segments = segments_of(_BreakingFile(encode(noise(200), format=format), error))
    assert_is_whole(segments)
    assert segments[-1].fault.reason == "changed"
    assert segments[-1].gaps[0][1] == pytest.approx(200)
    assert len(windows_of(segments)) > 20


def test_a_fault_of_the_storage_is_passed_on() -> None:
    with pytest.raises(ServiceError, match="expired"):
        segments_of(_BreakingFile(encode(noise(100)), ServiceError("the credentials have expired")))


def test_synthetic_speech_is_sound() -> None:
    (segment,) = segments_of(encode(speech(3, "angry")[:, None]))
    assert -15 < segment.level_dbfs[0] < -5


_DECODE_AND_REPORT = """
import sys
from ser_core.audio import segments as segments_module
from ser_core.audio.decode import iter_segments
from ser_core.audio.segments import WindowSettings
from tests.support.processes import peak_memory_bytes
for segment in iter_segments(sys.argv[1], channels="mix", windows=WindowSettings()):
    pass
print(peak_memory_bytes())
"""


def _peak_memory_bytes(path: Path, seconds: float) -> int:
    write_sparse_rf64(path, seconds)
    command = [sys.executable, "-c", _DECODE_AND_REPORT, str(path)]
    return int(subprocess.check_output(command, text=True, timeout=240))


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    """Eight minutes of 48 kHz stereo: 92 MB as they are, 184 MB as float32."""
    growth = _peak_memory_bytes(tmp_path / "long.wav", 12 * 60) - _peak_memory_bytes(tmp_path / "short.wav", 4 * 60)
    assert growth < 60e6


@pytest.mark.heavy
def test_ten_hours_take_no_more_memory_than_one(tmp_path: Path) -> None:
    growth = _peak_memory_bytes(tmp_path / "long.wav", 36_000) - _peak_memory_bytes(tmp_path / "short.wav", 3_600)
    assert growth < 300e6


def test_a_header_plans_no_memory() -> None:
    """2^36 frames, of which 64,000 are there."""
    contents = ODD_FILES["lying.flac"][0]()
    tracemalloc.start()
    segments_of(contents)
    top_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert top_bytes < 30e6
