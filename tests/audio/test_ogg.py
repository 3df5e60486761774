"""Oggs as recorders and joiners leave them: without an end flag, joined under one serial number."""

import struct
import zlib
from collections.abc import Callable

import pytest

from ser_core.faults import Fault
from tests.audio.test_all_audio import SECONDS, assert_is_whole, coded, judged
from tests.support.audio_factory import encode, noise

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_END = 4


def made(kind: str) -> bytes:
    codec = {"opus": "libopus", "flac": "flac"}.get(kind)
    if codec is None:
        return encode(noise(SECONDS, rate_hz=44_100), rate_hz=44_100, format="OGG", subtype="VORBIS")
    return coded("ogg", codec, rate_hz=48_000)


def with_pages(ogg: bytes, change: Callable[[bytearray, bool], object]) -> bytes:
    """An Ogg whose pages were changed; their checksums (RFC 3533, section 6) are right again."""
    starts = [at for at in range(len(ogg)) if ogg.startswith(b"OggS\0", at)]
    pages = []
    for start, end in zip(starts, [*starts[1:], len(ogg)], strict=True):
        page = bytearray(ogg[start:end])
        change(page, end == len(ogg))
        page[22:26] = bytes(4)
        checksum = zlib.crc32(bytes(page).translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
        page[22:26] = struct.pack("<I", int(f"{checksum:032b}"[::-1], 2))
        pages.append(bytes(page))
    return b"".join(pages)


def without_end(page: bytearray, _is_last: bool) -> None:
    page[5] &= ~_END


def with_serial(page: bytearray, _is_last: bool) -> None:
    page[14:18] = b"same"


@pytest.mark.parametrize("kind", ["opus", "vorbis", "flac"])
def test_pages_are_told_from_their_checksums(kind: str) -> None:
    contents = made(kind)
    assert with_pages(contents, lambda page, is_last: None) == contents


@pytest.mark.parametrize("kind", ["opus", "vorbis", "flac"])
def test_a_last_page_without_its_flag_is_no_loss(kind: str) -> None:
    contents = with_pages(made(kind), without_end)
    assert_is_whole(contents)
    assert_is_whole(contents + bytes(5_000))


@pytest.mark.parametrize("kind", ["opus", "vorbis"])
def test_without_the_flag_a_file_that_breaks_off_is_still_cut(kind: str) -> None:
    contents = with_pages(made(kind), without_end)
    heard, fault = judged(contents[: len(contents) * 6 // 10])
    assert fault == Fault("truncated", f"the file breaks off, at {heard:.1f} s")
    # A page of Opus has a second.
    assert 0.6 * SECONDS - 1 <= heard <= 0.6 * SECONDS


@pytest.mark.parametrize("change", [with_serial, lambda page, is_last: None], ids=["one serial", "their own"])
@pytest.mark.parametrize("num_parts", [2, 3])
@pytest.mark.parametrize("kind", ["opus", "vorbis"])
def test_joined_streams_are_heard_whole(kind: str, num_parts: int, change: Callable[[bytearray, bool], object]) -> None:
    parts = [with_pages(made(kind), change) for _ in range(num_parts)]
    assert_is_whole(b"".join(parts), num_parts * SECONDS)


@pytest.mark.parametrize("kind", ["opus", "vorbis"])
def test_joined_streams_without_flags_and_of_one_serial_are_heard_whole(kind: str) -> None:
    def both(page: bytearray, is_last: bool) -> None:
        without_end(page, is_last)
        with_serial(page, is_last)

    assert_is_whole(with_pages(made(kind), both) * 2, 2 * SECONDS)


@pytest.mark.parametrize("seconds", [0.5, 1, 3, 5])
def test_a_stream_with_one_page_of_audio_is_heard_behind_another(seconds: float) -> None:
    """FFmpeg takes the samples that it counts from none for those beyond the end of the first."""
    short = with_pages(encode(noise(seconds), format="OGG", subtype="OPUS"), with_serial)
    long = with_pages(made("opus"), with_serial)
    assert_is_whole(long + short, SECONDS + seconds)
    assert_is_whole(short + long, SECONDS + seconds)
    assert_is_whole(short + short, 2 * seconds)
    assert_is_whole(short + long + short, SECONDS + 2 * seconds)
