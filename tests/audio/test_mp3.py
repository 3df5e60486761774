"""MP3 and other frames without a header of the file: behind, between and in front of other bytes."""

import io
import struct
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from ser_core.audio.decode import iter_segments
from ser_core.audio.segments import WindowSettings
from ser_core.audio.sync_frames import find_frames
from tests.audio.test_all_audio import APE, ID3, ID3V1, SECONDS, assert_is_whole, coded, judged
from tests.support.audio_factory import noise
from tests.support.av_factory import with_av

CONTAINERS = {"libmp3lame": "mp3", "mp2": "mp2", "aac": "adts", "ac3": "ac3"}
JUNK = np.random.default_rng(1).bytes(4_000_000)
LYRICS3 = b"LYRICSBEGIN" + b"INDIC0000210" + b"LYR00100" + b"a" * 100 + b"000130LYRICS200"
LYRICS3_V1 = b"LYRICSBEGIN" + b"[00:01]a line\r\n" * 20 + b"LYRICSEND"
XML = b'<?xml version="1.0"?><x:xmpmeta xmlns:x="adobe:ns:meta/">' + b"<word>said</word>" * 200 + b"</x:xmpmeta>"


@cache
def made(codec: str = "libmp3lame") -> bytes:
    return coded(CONTAINERS[codec], codec)


def id3_of(num_bytes: int) -> bytes:
    size = bytes((num_bytes >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + size + JUNK[:num_bytes]


def ape_of(num_bytes: int) -> bytes:
    item = struct.pack("<II", num_bytes, 2) + b"Cover Art (front)\0" + JUNK[:num_bytes]
    head, foot = (struct.pack("<IIIIQ", 2_000, len(item) + 32, 1, flags, 0) for flags in (0xA0000000, 0x80000000))
    return b"APETAGEX" + head + item + b"APETAGEX" + foot


@pytest.mark.parametrize("num_bytes", [150_000, 1_000_000, 3_900_000])
@pytest.mark.parametrize("codec", ["libmp3lame", "mp2", "aac", "ac3"])
def test_frames_are_found_far_behind_other_bytes(codec: str, num_bytes: int) -> None:
    heard, fault = judged(JUNK[:num_bytes] + made(codec))
    # FFmpeg takes some of the junk for frames.
    assert (heard, fault) == (pytest.approx(SECONDS, abs=0.2), None)


def test_where_they_begin_is_said() -> None:
    begin = made().index(b"\xff\xfb")
    *_, last = iter_segments(JUNK[:1_000_000] + made(), channels="mix", windows=WindowSettings())
    assert (last.fault, last.note) == (None, f"the first {1_000_000 + begin:,} bytes are no audio")


@pytest.mark.parametrize("rate_hz", [44_100, 48_000, 32_000, 22_050, 24_000, 16_000, 11_025, 12_000, 8_000])
@pytest.mark.parametrize("codec", ["libmp3lame", "mp2", "aac", "ac3"])
def test_frames_of_every_rate_are_known(codec: str, rate_hz: int) -> None:
    if (codec == "mp2" and rate_hz < 16_000) or (codec == "ac3" and rate_hz < 32_000):
        pytest.skip("there is no such codec")
    contents = with_av(noise(1, rate_hz=rate_hz), CONTAINERS[codec], codec, rate_hz=rate_hz)
    # The first frame of an MP3 is a tag, perhaps with a rate of bits of its own.
    begin = find_frames(io.BytesIO(JUNK[:10_000] + contents), 0, 12_000)
    assert begin is not None
    assert begin >= 10_000


def test_junk_of_any_kind_holds_no_frames() -> None:
    for junk in (JUNK, b"\xff" * 1_000_000, bytes(1_000_000), b"\xff\xfb" * 500_000, b"some words\n" * 100_000):
        assert find_frames(io.BytesIO(junk), 0, len(junk)) is None


@pytest.mark.parametrize("tag", [id3_of(2_500_000), ape_of(3_000_000), id3_of(300_000) + ape_of(300_000)])
@pytest.mark.parametrize("codec", ["libmp3lame", "aac", "ac3"])
def test_tags_of_any_length_in_front_are_skipped(codec: str, tag: bytes) -> None:
    assert_is_whole(tag + made(codec))


@pytest.mark.parametrize("tail", [LYRICS3, LYRICS3 + ID3V1, LYRICS3_V1 + ID3V1, XML, XML + ID3V1, APE + LYRICS3])
def test_words_behind_the_last_frame_are_no_audio_and_no_damage(tail: bytes) -> None:
    assert_is_whole(made() + tail)


@pytest.mark.parametrize(
    "between",
    [ID3V1, ID3, APE, ID3V1 + ID3 + ID3, LYRICS3 + ID3V1 + ID3, XML, bytes(10_000), id3_of(200_000)],
    ids=["ID3v1", "ID3v2", "APE", "three", "lyrics", "XML", "zeros", "cover"],
)
def test_joined_mp3s_with_tags_between_are_heard_whole(between: bytes) -> None:
    assert_is_whole(made() + between + made() + ID3V1, 2 * SECONDS)


@pytest.mark.parametrize("num_bytes", [1, 3, 50, 300, 1_000])
@pytest.mark.parametrize("head", [b"", b"junk" * 700], ids=["", "junk"])
@pytest.mark.parametrize("codec", ["libmp3lame", "mp2", "aac", "ac3"])
def test_a_start_in_mid_frame_costs_that_frame(codec: str, num_bytes: int, head: bytes) -> None:
    contents = made(codec)
    heard, fault = judged(head + contents[2_000 + num_bytes :])
    assert fault is None
    assert heard == pytest.approx(SECONDS * (1 - (2_000 + num_bytes) / len(contents)), abs=0.15)


@pytest.mark.parametrize(("container", "codec"), [("mp4", "libmp3lame"), ("mov", "mp2"), ("mp4", "ac3")])
def test_frames_of_a_container_without_its_index_are_no_recording(container: str, codec: str) -> None:
    contents = coded(container, codec)
    heard, fault = judged(contents[: len(contents) * 6 // 10])
    assert heard == 0
    assert fault is not None
    assert fault.reason == "unreadable"


@pytest.mark.parametrize("name", ["._", "._x.mp3", ".AppleDouble"])
def test_what_lies_in_the_working_folder_is_not_looked_at(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == ".AppleDouble":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.mp3").write_bytes(b"\0\5\x16\7" + bytes(100))
    else:
        (tmp_path / name).write_bytes(b"\0\5\x16\7" + bytes(100))
    (tmp_path / "x.mp3").write_bytes(made())
    monkeypatch.chdir(tmp_path)
    assert_is_whole(made())
    segments = list(iter_segments("x.mp3", channels="mix", windows=WindowSettings(), suffix="mp3"))
    assert sum(segment.audio_seconds for segment in segments) == pytest.approx(SECONDS, abs=0.12)
