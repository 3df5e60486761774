"""FLACs that are damaged, or hold more than they promise: what libsndfile does not read, FFmpeg does."""

import io

import numpy as np
import pytest

from ser_core.audio.recording import open_recording
from ser_core.faults import Fault
from tests.audio.test_all_audio import ID3V1, assert_is_cut, judged
from tests.support.audio_factory import encode, noise, with_flac_frames

#: Samples of a frame, as libsndfile and FFmpeg write them.
FRAME = 4_096
KINDS = [(1, 16_000, 9), (2, 44_100, 30)]


def made(num_channels: int, rate_hz: int, seconds: int) -> bytes:
    pcm_TC = noise(seconds, rate_hz=rate_hz, num_channels=num_channels)
    return encode(pcm_TC, rate_hz=rate_hz, format="FLAC")


def heard_TC(contents: bytes) -> np.ndarray:
    with open_recording(io.BytesIO(contents)) as recording:
        return np.concatenate(list(recording.blocks()))


#: As a frame's header begins, with a number that none has.
NO_FRAME = b"\xff\xf8\x7d\x08" + b"\xff" * 20


@pytest.mark.parametrize("tail", [b"", ID3V1, bytes(5_000), NO_FRAME], ids=["", "ID3v1", "zeros", "no frame"])
@pytest.mark.parametrize(("num_channels", "rate_hz", "seconds"), KINDS)
def test_more_than_the_header_promises_is_heard(num_channels: int, rate_hz: int, seconds: int, tail: bytes) -> None:
    contents = made(num_channels, rate_hz, seconds)
    num_frames = seconds * rate_hz
    # The last but one: in the middle of the last frame.
    for promised in (1, num_frames // 2, num_frames - 2 * FRAME, num_frames - 100, num_frames):
        short = with_flac_frames(contents, promised) + tail
        assert judged(short) == (pytest.approx(seconds), None)
    np.testing.assert_array_equal(heard_TC(with_flac_frames(contents, num_frames // 2)), heard_TC(contents))


@pytest.mark.parametrize(("num_channels", "rate_hz", "seconds"), KINDS)
def test_of_a_flac_that_promises_its_half_and_breaks_off_all_is_heard(
    num_channels: int, rate_hz: int, seconds: int
) -> None:
    contents = with_flac_frames(made(num_channels, rate_hz, seconds), seconds * rate_hz // 2)
    heard, _ = judged(contents[: len(contents) * 8 // 10])
    assert heard == pytest.approx(0.8 * seconds, abs=FRAME / rate_hz)


@pytest.mark.parametrize("tail", [ID3V1, bytes(5_000)], ids=["ID3v1", "zeros"])
def test_tags_behind_a_stream_without_a_length_are_no_damage(tail: bytes) -> None:
    assert judged(with_flac_frames(made(1, 16_000, 9), 0) + tail) == (9.0, None)


@pytest.mark.parametrize(("num_channels", "rate_hz", "seconds"), KINDS)
@pytest.mark.parametrize("place", [0.003, 0.5, 0.9])
def test_what_follows_damage_is_heard(num_channels: int, rate_hz: int, seconds: int, place: float) -> None:
    contents = bytearray(made(num_channels, rate_hz, seconds))
    clean_TC = heard_TC(bytes(contents))
    begin = int(place * len(contents)) + 100
    contents[begin : begin + 20] = bytes(20)
    heard, fault = judged(bytes(contents))
    lost_seconds = seconds - heard
    assert lost_seconds <= 2 * FRAME / rate_hz + 0.01
    assert fault is not None
    assert fault.reason == "unreadable"
    words = (
        f"{lost_seconds:.1f} s are damaged and left out" if lost_seconds > 0.05 else "the audio is damaged in places"
    )
    assert fault.detail == f"{words}, at {heard:.1f} s"
    # What lies before it and behind it is where it was.
    num_before, damaged_TC = int(place * len(clean_TC)) - 2 * FRAME, heard_TC(bytes(contents))
    np.testing.assert_array_equal(damaged_TC[: max(0, num_before)], clean_TC[: max(0, num_before)])
    np.testing.assert_array_equal(damaged_TC[-100:], clean_TC[-100:])


@pytest.mark.parametrize("share", [0.05, 0.25])
def test_a_long_hole_is_named_by_what_it_cost(share: float) -> None:
    contents = bytearray(made(2, 44_100, 30))
    begin, num_bytes = len(contents) // 2, int(share * len(contents))
    contents[begin : begin + num_bytes] = b"\x55" * num_bytes
    heard, fault = judged(bytes(contents))
    assert heard == pytest.approx(30 * (1 - share), abs=0.3)
    assert fault == Fault("unreadable", f"{30 - heard:.1f} s are damaged and left out, at {heard:.1f} s")


def test_a_bit_that_flipped_costs_nothing_but_a_word() -> None:
    contents = bytearray(made(1, 16_000, 9))
    contents[len(contents) // 2] ^= 1
    assert judged(bytes(contents)) == (9.0, Fault("unreadable", "the audio is damaged in places, at 9.0 s"))


def test_a_flac_that_breaks_off_is_still_cut() -> None:
    contents = made(1, 16_000, 3)
    assert_is_cut(contents[: len(contents) * 6 // 10], 1.8, promised="3.0")


def test_channels_between_left_and_side_are_read_in_frames_too() -> None:
    """The frame's header names two channels in four ways."""
    pcm_TC = np.repeat(noise(9), 2, axis=1)
    contents = encode(pcm_TC, format="FLAC")
    assert judged(with_flac_frames(contents, 72_000)) == (9.0, None)
