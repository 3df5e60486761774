"""Ogg pages: whether a file of them breaks off or has holes, and what FFmpeg trims wrongly where files are joined.

Sources: RFC 3533 (pages), RFC 7845 (Opus in Ogg).
"""

import re
import struct
import zlib
from typing import Any, BinaryIO, Final

import av

#: An Ogg page is at most this long: 27 bytes of header, 255 segments of up to 255 bytes and their lengths.
_OGG_HEAD_BYTES = 27
_MAX_OGG_PAGE_BYTES = _OGG_HEAD_BYTES + 255 + 255 * 255
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_LOOK_BYTES = 2**17
#: The first page of a stream.
_FIRST_PAGE = re.compile(rb"OggS\x00\x02")
#: How far in front of its only page of audio a stream may begin: its tags, with a picture, lie between.
_MAX_HEADERS_BYTES = 2**20
#: FFmpeg's side data: samples to leave out at a packet's start, and at its end.
_SKIPPED: Final = "skip_samples"
_SKIP_LAYOUT = "<II"


def is_ogg(file: BinaryIO, start: int) -> bool:
    """Whether an Ogg page begins there."""
    file.seek(start)
    return file.read(4) == b"OggS"


def ogg_breaks_off(file: BinaryIO, _start: int, num_bytes: int) -> bool:
    """Whether an Ogg file ends within a page, or the last one is damaged."""
    file.seek(max(0, num_bytes - 2 * _MAX_OGG_PAGE_BYTES))
    tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    segment_bytes = page[_OGG_HEAD_BYTES : _OGG_HEAD_BYTES + page[26]] if len(page) >= _OGG_HEAD_BYTES else b""
    end = _OGG_HEAD_BYTES + len(segment_bytes) + sum(segment_bytes)
    return not segment_bytes or len(page) < end or not _is_sound(page[:end])


def ogg_has_holes(file: BinaryIO, start: int, num_bytes: int) -> bool:
    """Whether a page of an Ogg file is damaged, or missing; other bytes between pages are none."""
    next_numbers: dict[bytes, int] = {}
    has_ended, is_behind_junk = False, False
    while start < num_bytes:
        file.seek(start)
        page = file.read(_MAX_OGG_PAGE_BYTES)
        if not page.startswith(b"OggS"):
            start, is_behind_junk = _next_page(file, start, num_bytes), True
            continue
        segment_bytes = page[_OGG_HEAD_BYTES : _OGG_HEAD_BYTES + page[26]]
        page = page[: _OGG_HEAD_BYTES + len(segment_bytes) + sum(segment_bytes)]
        serial, number, is_first = page[14:18], int.from_bytes(page[18:22], "little"), page[5] & 2
        # What is recorded from a running stream begins in its middle.
        expected = next_numbers.get(serial, -1 if is_behind_junk else number)
        is_next = has_ended or not is_behind_junk if is_first else number == expected
        if not is_next or not _is_sound(page):
            return True
        next_numbers[serial] = number + 1
        has_ended, is_behind_junk = bool(page[5] & 4), False
        start += len(page)
    return False


def _next_page(file: BinaryIO, start: int, num_bytes: int) -> int:
    """Where the next Ogg page begins; `num_bytes` where there is none."""
    while start < num_bytes:
        file.seek(start)
        if (found := file.read(_LOOK_BYTES).find(b"OggS")) >= 0:
            return start + found
        start += _LOOK_BYTES - len(b"OggS") + 1
    return num_bytes


def _is_sound(page: bytes) -> bool:
    """Whether an Ogg page's checksum (RFC 3533, section 6) is right: zlib's, of all bits the other way round."""
    without = page[:22] + bytes(4) + page[26:]
    checksum = zlib.crc32(without.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{checksum:032b}"[::-1], 2) == int.from_bytes(page[22:26], "little")


def undo_false_trim(packet: "av.Packet[Any]", file: BinaryIO, page_start: int, start: int) -> None:
    """Keep a packet that FFmpeg would leave out because the count of samples begins anew where Oggs are joined.

    It does so in a stream with one page of audio that has the serial number of the one before.

    Args:
        packet: of a stream of an Ogg.
        file: the file.
        page_start: where the packet's page begins in it.
        start: where the first page begins.
    """
    if (packet.duration or 0) > 1 or not packet.has_sidedata(_SKIPPED):
        return
    side_data = packet.get_sidedata(_SKIPPED)
    numbers = bytes(side_data)
    num_at_start, num_at_end = struct.unpack_from(_SKIP_LAYOUT, numbers)
    begin = max(start + 1, page_start - _MAX_HEADERS_BYTES)
    file.seek(begin)
    if num_at_end and page_start > begin and _FIRST_PAGE.search(file.read(page_start - begin)):
        side_data.update(struct.pack(_SKIP_LAYOUT, num_at_start, 0) + numbers[struct.calcsize(_SKIP_LAYOUT) :])
        packet.set_sidedata(side_data)
