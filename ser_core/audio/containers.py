"""What libsndfile does not tell of a file: the length by its AIFF, AU or W64 header, how an Ogg file ends, MP3s' ends.

Without a length tag libsndfile takes a guess from the first frames of an MP3 for its length, and stops there; of MP3s
joined end to end it reads the first. It stops at the border of a frame, so reading can go on there.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from ser_core.faults import Fault

_W64_DATA_ID = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_AU_UNKNOWN = 2**32 - 1
_MAX_CHUNKS = 1000
#: An Ogg page is at most this long: 27 bytes of header, 255 segments of up to 255 bytes and their lengths.
_OGG_HEAD_BYTES = 27
_MAX_OGG_PAGE_BYTES = _OGG_HEAD_BYTES + 255 + 255 * 255
_OGG_SERIAL = slice(14, 18)
_MAX_MP3_FRAME_BYTES = 2881
_MP3_LENGTH_TAGS = (b"Xing", b"Info", b"VBRI")


def data_bytes(file: BinaryIO, num_bytes: int, format: str) -> tuple[int, int] | None:
    """Bytes of samples that the header promises, and that the file holds; None where it does not say.

    Args:
        file: the file.
        num_bytes: its size.
        format: libsndfile's name of its format.
    """
    if format == "AU":
        file.seek(0)
        head = file.read(12)
        byte_order = ">" if head.startswith(b".snd") else "<"
        offset, size = struct.unpack(byte_order + "II", head[4:])
        return None if size == _AU_UNKNOWN else (size, num_bytes - offset)
    chunks = {"AIFF": _aiff_chunks, "W64": _w64_chunks}.get(format)
    for chunk_id, size, offset in chunks(file) if chunks else ():
        if chunk_id == b"SSND":
            # Eight bytes of the chunk come before the samples.
            return size - 8, num_bytes - offset - 8
        if chunk_id == _W64_DATA_ID:
            return size, num_bytes - offset
    return None


def fault_of_ogg_end(file: BinaryIO, num_bytes: int) -> Fault | None:
    """What is wrong with the end of an Ogg file: it breaks off inside a page, or is not of the stream it began with."""
    file.seek(0)
    first_page = file.read(_OGG_HEAD_BYTES)
    file.seek(max(0, num_bytes - _MAX_OGG_PAGE_BYTES))
    tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    segment_bytes = page[_OGG_HEAD_BYTES : _OGG_HEAD_BYTES + page[26]] if len(page) >= _OGG_HEAD_BYTES else b""
    if not segment_bytes or len(page) < _OGG_HEAD_BYTES + page[26] + sum(segment_bytes):
        return Fault("truncated", "the file breaks off")
    if page[_OGG_SERIAL] != first_page[_OGG_SERIAL]:
        return Fault("truncated", "the file goes on with another stream, which is not read")
    return None


def mp3_has_length_tag(file: BinaryIO) -> bool:
    """Whether the first frame of an MP3 gives the number of frames (Xing, LAME or Fraunhofer tag)."""
    file.seek(_end_of_id3(file, 0))
    first_frame = file.read(_MAX_MP3_FRAME_BYTES)
    return any(tag in first_frame for tag in _MP3_LENGTH_TAGS)


def mp3_goes_on_at(file: BinaryIO, position: int) -> bool:
    """Whether an MP3 frame begins at `position`, perhaps behind an ID3 tag."""
    file.seek(_end_of_id3(file, position))
    header = file.read(3)
    if len(header) < 3:
        return False
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bit_rate, sample_rate = header[2] >> 4, header[2] >> 2 & 3
    is_synchronous = header[0] == 0xFF and header[1] >> 5 == 7
    return is_synchronous and version != 1 and layer != 0 and bit_rate != 15 and sample_rate != 3


def _aiff_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """(id, size, offset of the body) of each chunk."""
    start = 12
    for _ in range(_MAX_CHUNKS):
        file.seek(start)
        head = file.read(8)
        if len(head) < 8:
            return
        chunk_id, size = struct.unpack(">4sI", head)
        yield chunk_id, size, start + 8
        start += 8 + size + size % 2


def _w64_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """(id, size, offset of the body) of each chunk; in the file the size counts the 24 bytes of the chunk's head."""
    start = 40
    for _ in range(_MAX_CHUNKS):
        file.seek(start)
        head = file.read(24)
        if len(head) < 24:
            return
        chunk_id, size = struct.unpack("<16sQ", head)
        yield chunk_id, size - 24, start + 24
        start += max(24, size + -size % 8)


def _end_of_id3(file: BinaryIO, start: int) -> int:
    """Where the ID3v2 tag at `start` ends; `start` if there is none. Its size is four bytes of seven bits."""
    file.seek(start)
    tag = file.read(10)
    if len(tag) < 10 or tag[:3] != b"ID3":
        return start
    return start + 10 + sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True))
