"""What AIFF, AU and W64 headers promise, what MP3 tags say, and how Ogg files end."""

import io

import numpy as np
import pytest
import soundfile

from ser_core.audio.containers import data_bytes
from ser_core.audio.ffmpeg.ogg import ogg_breaks_off
from ser_core.audio.recording import Recording, open_recording
from ser_core.audio.sync_frames import tag_seconds
from tests.support.audio_factory import RATE_HZ, encode, noise


@pytest.mark.parametrize("format", ["AIFF", "AU", "W64"])
def test_promises_are_told_from_what_is_there(format: str) -> None:
    contents = encode(noise(2, num_channels=2), format=format, subtype="PCM_16")
    assert data_bytes(io.BytesIO(contents), 0, len(contents), format) == (128_000, 128_000)
    assert data_bytes(io.BytesIO(contents[:-1_000]), 0, len(contents) - 1_000, format) == (128_000, 127_000)


def test_a_streamed_au_promises_nothing() -> None:
    contents = encode(noise(1), format="AU", subtype="PCM_16")
    streamed = contents[:8] + b"\xff" * 4 + contents[12:]
    assert data_bytes(io.BytesIO(streamed), 0, len(streamed), "AU") is None


def test_other_formats_promise_nothing_here() -> None:
    assert data_bytes(io.BytesIO(b"fLaC"), 0, 4, "FLAC") is None


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_ends_whole_or_within_a_page(subtype: str) -> None:
    contents = encode(noise(3), format="OGG", subtype=subtype)
    assert not ogg_breaks_off(io.BytesIO(contents), 0, len(contents))
    assert ogg_breaks_off(io.BytesIO(contents[:-9]), 0, len(contents) - 9)


def read(contents: bytes) -> tuple[float, Recording]:
    """Seconds of audio, and the recording after its last block."""
    with open_recording(io.BytesIO(contents)) as recording:
        return sum(len(block_TC) for block_TC in recording.blocks()) / recording.sample_rate_hz, recording


def without_length_tag(contents: bytes) -> bytes:
    return contents[contents.index(contents[:2], 4) :]


def test_joined_mp3s_are_read_to_the_last() -> None:
    parts = [encode(noise(5, seed=seed), format="MP3") for seed in range(3)]
    seconds, recording = read(b"".join(parts) + b"TAG" + bytes(125))
    # Each encoder's delay and padding but the first's is heard.
    assert seconds == pytest.approx(15, abs=0.3)
    assert recording.fault is None


@pytest.mark.parametrize(("rate_hz", "num_channels"), [(48_000, 1), (16_000, 2)])
def test_joined_mp3s_of_different_kinds_are_brought_to_the_first_kind(rate_hz: int, num_channels: int) -> None:
    other = encode(noise(5, rate_hz=rate_hz, num_channels=num_channels), rate_hz=rate_hz, format="MP3")
    seconds, recording = read(encode(noise(5), format="MP3") + other)
    assert seconds == pytest.approx(10, abs=0.2)
    assert recording.fault is None


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_joined_oggs_are_read_to_the_last(subtype: str) -> None:
    parts = [encode(noise(seconds, seed=seconds), format="OGG", subtype=subtype) for seconds in (2, 3)]
    seconds, recording = read(b"".join(parts))
    assert seconds == pytest.approx(5, abs=0.1)
    assert recording.fault is None


def test_an_mp3_without_a_length_is_read_to_its_end() -> None:
    """Loud, then silent: what libsndfile guesses from the first frames is far too short."""
    pcm_TC = np.concatenate([noise(5), np.zeros((20 * RATE_HZ, 1), np.float32)])
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", RATE_HZ, 1, format="MP3", bitrate_mode="VARIABLE") as file:
        file.write(pcm_TC)
    contents = without_length_tag(buffer.getvalue())
    assert soundfile.info(io.BytesIO(contents)).duration < 20
    seconds, recording = read(contents)
    assert seconds == pytest.approx(25, abs=0.2)
    assert recording.fault is None
    assert recording.promised_seconds is None


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("id3_bytes", [None, 5_000])
def test_length_tags_are_found_behind_id3(id3_bytes: int | None, rate_hz: int) -> None:
    contents = encode(noise(2, rate_hz=rate_hz), rate_hz=rate_hz, format="MP3")
    id3 = b"" if id3_bytes is None else b"ID3\4\0\0" + bytes([0, 0, id3_bytes >> 7, id3_bytes & 127]) + bytes(id3_bytes)
    assert tag_seconds(io.BytesIO(id3 + id3 + contents)) == pytest.approx(2, abs=0.2)
    assert tag_seconds(io.BytesIO(id3 + without_length_tag(contents))) is None
