"""Where audio begins behind other bytes, whether more follows where a decoder stopped, whether a file breaks off."""

import re
import struct
import zlib
from typing import BinaryIO

from ser_core.audio.containers import iter_chunks
from ser_core.audio.wav_header import LEAST_AUDIO_BYTES, MAX_CHUNKS, is_streamed_size

#: An Ogg page may be as long as half of it.
_LOOK_BYTES = 2**17
_READ_AHEAD_BYTES = 2**16
#: The start of a FLAC, with the head of its first block: 34 bytes.
_FLAC_HEAD, _FLAC_HEAD_BYTES = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22"), 8
#: The first bytes of recordings with a header, long enough to be no accident: FLAC, WAV and AVI, AIFF, AU, CAF, W64,
#: Ogg, MP4, Matroska, ASF, WavPack, FLV, TTA, AMR, VOC, NIST SPHERE.
_HEAD = re.compile(
    rb"fLaC[\x00\x80]\x00\x00\x22|(?:RIFF|RIFX|RF64|BW64).{4}(?:WAVE|AVI )|FORM.{4}(?:AIF[FC]|8SVX|16SV)"
    rb"|\.snd\x00\x00.{6}\x00\x00\x00[\x01-\x1f]|caff\x00\x01\x00\x00|riff\x2e\x91\xcf\x11|OggS\x00\x02"
    rb"|\x00\x00.{2}ftyp|\x1a\x45\xdf\xa3.{1,12}\x42[\x86\x82]|\x30\x26\xb2\x75\x8e\x66\xcf\x11|wvpk.{4}.\x04"
    rb"|FLV\x01[\x01\x04\x05]\x00\x00\x00\x09|TTA1[\x01-\x03]\x00|#!AMR(?:-WB)?\n|Creative Voice File\x1a|NIST_1A\n",
    re.DOTALL,
)
#: Collections of files, whose first member is not all that they hold: ZIP, RAR, 7z, gzip, a PDF, SQLite.
_COLLECTION_STARTS = (b"PK", b"Rar!", b"7z\xbc\xaf", b"\x1f\x8b", b"%PDF", b"SQLite", b"PAR1")
_TAR_MARK = slice(257, 262), b"ustar"
#: An Ogg page is at most this long: 27 bytes of header, 255 segments of up to 255 bytes and their lengths.
_OGG_HEAD_BYTES = 27
_MAX_OGG_PAGE_BYTES = _OGG_HEAD_BYTES + 255 + 255 * 255
#: A page may end in some.
_KEPT_ZEROS = 256
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_ASF_DATA_HEAD_BYTES = 50
_MAX_VOC_BLOCK_TYPE = 9
_BOX_HEAD_BYTES = 8


def find_head(file: BinaryIO, start: int) -> int | None:
    """Where the first recording begins behind other bytes at `start`; None if there is none near, or they are many."""
    file.seek(start)
    look = file.read(_LOOK_BYTES)
    place, mark = _TAR_MARK
    if look.startswith(_COLLECTION_STARTS) or look[place] == mark:
        return None
    found = _HEAD.search(look)
    return start + found.start() if found else None


def another_follows(file: BinaryIO, position: int) -> bool:
    """Whether another recording begins at a position or near behind it: decoders stop where the first one ends."""
    file.seek(position)
    return _HEAD.search(file.read(_LOOK_BYTES)) is not None


def flac_follows(file: BinaryIO, start: int, position: int) -> bool:
    """Whether another FLAC than that at `start` begins before a position, to which the decoder has read ahead."""
    begin = max(start + len(b"fLaC"), position - _READ_AHEAD_BYTES)
    file.seek(begin)
    return _FLAC_HEAD.search(file.read(position - begin + _FLAC_HEAD_BYTES)) is not None


def mp4_boxes(file: BinaryIO, start: int) -> list[bytes]:
    """The names of an MP4's outermost boxes: two `ftyp` where another is joined to it, `moof` of fragments."""
    names: list[bytes] = []
    while len(names) < MAX_CHUNKS:
        file.seek(start)
        size, name, long_size = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
        size = long_size if size == 1 else size
        if size < _BOX_HEAD_BYTES:
            break
        names.append(name)
        start += size
    return names


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


def end_of_content(file: BinaryIO, num_bytes: int) -> int:
    """Where the zeros at the end of a file begin, or a little behind: room that was kept for more."""
    end = num_bytes
    while end > 0:
        begin = max(0, end - _LOOK_BYTES)
        file.seek(begin)
        if held := file.read(end - begin).rstrip(b"\0"):
            return min(num_bytes, begin + len(held) + _KEPT_ZEROS)
        end = begin
    return num_bytes


def ogg_has_holes(file: BinaryIO, start: int, num_bytes: int) -> bool:
    """Whether a page of an Ogg file is damaged, or missing."""
    next_numbers: dict[bytes, int] = {}
    while start < num_bytes:
        file.seek(start)
        page = file.read(_MAX_OGG_PAGE_BYTES)
        if not page.startswith(b"OggS"):
            return _holds_page(file, start)
        segment_bytes = page[_OGG_HEAD_BYTES : _OGG_HEAD_BYTES + page[26]]
        page = page[: _OGG_HEAD_BYTES + len(segment_bytes) + sum(segment_bytes)]
        serial, number, is_first = page[14:18], int.from_bytes(page[18:22], "little"), page[5] & 2
        if not _is_sound(page) or (not is_first and number != next_numbers.get(serial, number)):
            return True
        next_numbers[serial] = number + 1
        start += len(page)
    return False


def _holds_page(file: BinaryIO, start: int) -> bool:
    file.seek(start)
    return any(b"OggS" in piece for piece in iter(lambda: file.read(_LOOK_BYTES), b""))


def _is_sound(page: bytes) -> bool:
    """Whether an Ogg page's checksum (RFC 3533, section 6) is right: zlib's, of all bits the other way round."""
    without = page[:22] + bytes(4) + page[26:]
    checksum = zlib.crc32(without.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{checksum:032b}"[::-1], 2) == int.from_bytes(page[22:26], "little")


def form_breaks_off(file: BinaryIO, start: int, num_bytes: int) -> bool:
    """Whether an IFF file (8SVX, MAUD) is shorter than it says."""
    file.seek(start + 4)
    return start + 8 + int.from_bytes(file.read(4), "big") >= num_bytes + LEAST_AUDIO_BYTES


def riff_breaks_off(file: BinaryIO, start: int, num_bytes: int) -> bool:
    """Whether an AVI (several RIFFs where it is long) is shorter than it says, where that knows, or ends in zeros."""
    for chunk_id, size, offset in iter_chunks(file, start, "<4sI", align=2):
        if chunk_id != b"RIFF" or is_streamed_size(size):
            return False
        if offset + size >= num_bytes + LEAST_AUDIO_BYTES:
            return True
        names = [name for name, _, at in iter_chunks(file, offset + 4, "<4sI", align=2) if at <= offset + size]
        if names[-1:] == [bytes(4)] and b"idx1" not in names:
            return True
    return False


def asf_breaks_off(file: BinaryIO, start: int, num_bytes: int) -> bool:
    """Whether an ASF (WMA, WMV) is shorter than its header says, where that knows, or its last packet is empty."""
    num_packets, packet_bytes = 0, 0
    for object_id, _size, offset in iter_chunks(file, start + 30, "<16sQ", counts_itself=True):
        if object_id == _ASF_PROPERTIES:
            file.seek(offset + 16)
            size, num_packets, flags, packet_bytes = struct.unpack("<Q8xQ24xII", file.read(56).ljust(56, b"\0"))
            is_streamed = flags & 1
            if is_streamed:
                return False
            if start + size >= num_bytes + LEAST_AUDIO_BYTES:
                return True
        elif object_id == _ASF_DATA and num_packets:
            file.seek(offset - 24 + _ASF_DATA_HEAD_BYTES + (num_packets - 1) * packet_bytes)
            packet = file.read(min(packet_bytes, _LOOK_BYTES))
            return bool(packet) and not any(packet)
    return False


def voc_breaks_off(file: BinaryIO, start: int, num_bytes: int) -> bool:
    """Whether the last block of a VOC is longer than the file."""
    file.seek(start + 20)
    start += int.from_bytes(file.read(2), "little")
    for _ in range(MAX_CHUNKS):
        file.seek(start)
        head = file.read(4)
        if len(head) < 4 or not 0 < head[0] <= _MAX_VOC_BLOCK_TYPE:
            return False
        start += 4 + int.from_bytes(head[1:], "little")
        if start >= num_bytes + LEAST_AUDIO_BYTES:
            return True
    return False
