"""What containers promise and hold beside what decoders tell: lengths, and tags in front."""

import os
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

from ser_core.audio.endings import MAX_CHUNKS, goes_on
from ser_core.audio.wav_header import STREAMED_64, is_streamed_size

_W64_DATA_ID = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
#: By libsndfile's name of a format: where its chunks begin, their head, alignment, whether sizes count the head.
_CHUNKED = {
    "AIFF": (12, ">4sI", 2, False),
    "SVX": (12, ">4sI", 2, False),
    "W64": (40, "<16sQ", 8, True),
    "CAF": (8, ">4sq", 1, False),
}
#: Chunks of samples, and how many of their bytes come before the samples.
_SAMPLE_CHUNKS = {b"SSND": 8, b"BODY": 0, b"data": 4, _W64_DATA_ID: 0}
_AU_UNKNOWN = 2**32 - 1
_AVR_HEAD_BYTES = 128
_ID3_HEAD_BYTES, _APE_HEAD_BYTES = 10, 32
#: Of the headers of matrices, samplers, trackers and pocket computers.
_MAX_HEAD_BYTES = 512
_SDS_HEAD_BYTES, _SDS_BLOCK_BYTES, _SDS_BLOCK_DATA_BYTES = 21, 127, 120


def data_bytes(file: BinaryIO, start: int, num_bytes: int, format: str) -> tuple[int, int] | None:
    """Bytes of samples that the header promises, and that the file holds; None where it does not say.

    Args:
        file: the file.
        start: where the audio file begins in it.
        num_bytes: its size.
        format: libsndfile's name of its format.
    """
    file.seek(start)
    head = file.read(_AVR_HEAD_BYTES).ljust(_AVR_HEAD_BYTES, b"\0")
    if format == "AU":
        offset, size = struct.unpack(_au_byte_order(head) + "II", head[4:12])
        held = num_bytes - start - offset
        return None if size > held and is_streamed_size(size) else (size, held)
    if format == "AVR":
        is_stereo, num_bits, num_frames = struct.unpack(">HH10xI", head[12:30])
        return num_frames * (1 + (is_stereo != 0)) * num_bits // 8, num_bytes - start - _AVR_HEAD_BYTES
    if format not in _CHUNKED:
        return None
    first, layout, align, counts_itself = _CHUNKED[format]
    for chunk_id, size, offset in iter_chunks(file, start + first, layout, align=align, counts_itself=counts_itself):
        if (num_skipped := _SAMPLE_CHUNKS.get(chunk_id)) is not None:
            held = num_bytes - offset
            is_unknown = size < 0 or (size > held and is_streamed_size(size))
            return None if is_unknown else (size - num_skipped, held - num_skipped)
    return None


def honest_head(file: BinaryIO, start: int, num_bytes: int) -> bytes:
    """The head of an AU, AIFF or CAF up to its size, which is mended; empty where that is right, and for other files.

    More audio may follow than a size counts, and libsndfile refuses a CAF without one, or with one that no file has.
    """
    file.seek(start)
    magic = file.read(12)
    if len(magic) == 12 and magic[:4] in (b".snd", b"dns."):
        byte_order = _au_byte_order(magic)
        offset, size = struct.unpack(byte_order + "II", magic[4:])
        end = start + offset + size
        if _is_short(file, end, num_bytes, byte_order) or (end > num_bytes and is_streamed_size(size)):
            return magic[:8] + struct.pack("<I", _AU_UNKNOWN)
    elif magic[:4] == b"FORM" and magic[8:] in (b"AIFF", b"AIFC"):
        for chunk_id, size, offset in iter_chunks(file, start + 12, ">4sI", align=2):
            if chunk_id == b"SSND" and _is_short(file, offset + size, num_bytes, ">"):
                held = min(num_bytes - offset, _AU_UNKNOWN)
                return _read(file, start, offset - 4) + struct.pack(">I", held)
    elif magic[:4] == b"caff":
        for chunk_id, size, offset in iter_chunks(file, start + 8, ">4sq"):
            if chunk_id == b"data" and (not 0 <= size < STREAMED_64 or _is_short(file, offset + size, num_bytes, ">")):
                return _read(file, start, offset - 8) + struct.pack(">q", num_bytes - offset)
    return b""


def end_of_svx(file: BinaryIO, start: int, num_bytes: int) -> int:
    """Where the samples of an 8SVX end, which libsndfile reads to the end of the file; `num_bytes` of other files."""
    file.seek(start)
    magic = file.read(12)
    if magic[:4] == b"FORM" and magic[8:] in (b"8SVX", b"16SV"):
        for chunk_id, size, offset in iter_chunks(file, start + 12, ">4sI", align=2):
            if chunk_id == b"BODY" and size and not _is_short(file, offset + size, num_bytes, ">"):
                return min(offset + size, num_bytes)
    return num_bytes


def _is_short(file: BinaryIO, end: int, num_bytes: int, byte_order: str) -> bool:
    return end < num_bytes and goes_on(file, end, num_bytes, byte_order)


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def _au_byte_order(head: bytes) -> str:
    return ">" if head.startswith(b".snd") else "<"


def caf_seconds(file: BinaryIO, start: int, num_bytes: int, *, held_seconds: float) -> float:
    """Length of a CAF: by its table of packets without what the encoder added, or by the bytes of its samples.

    Args:
        file: the file.
        start: where the audio file begins in it.
        num_bytes: its size.
        held_seconds: what the samples that are there last, by their bytes.
    """
    rate_hz = 0.0
    for chunk_id, _size, offset in iter_chunks(file, start + 8, ">4sq"):
        file.seek(offset)
        if chunk_id == b"desc":
            (rate_hz,) = struct.unpack(">d", file.read(8).ljust(8, b"\0"))
        elif chunk_id == b"pakt":
            _num_packets, num_frames = struct.unpack(">qq", file.read(16).ljust(16, b"\0"))
            if num_frames > 0 and rate_hz >= 1:
                return float(num_frames / rate_hz)
    promised, held = data_bytes(file, start, num_bytes, "CAF") or (0, 0)
    return held_seconds * promised / held if promised > 0 and held > 0 else held_seconds


def end_of_tags(file: BinaryIO, start: int) -> int:
    """Where the ID3v2 and APE tags at `start` end; `start` if there are none.

    An ID3v2's size is four bytes of seven bits, and an APE tag's counts all but its header.
    """
    for _ in range(MAX_CHUNKS):
        file.seek(start)
        tag = file.read(_APE_HEAD_BYTES)
        if len(tag) >= _ID3_HEAD_BYTES and tag.startswith(b"ID3"):
            has_footer = tag[5] & 0x10
            start += _ID3_HEAD_BYTES * (2 if has_footer else 1)
            start += sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0), strict=True))
        elif len(tag) == _APE_HEAD_BYTES and tag.startswith(b"APETAGEX"):
            size, flags = struct.unpack("<I4xI", tag[12:24])
            is_header = flags & 1 << 29
            start += _APE_HEAD_BYTES + (size if is_header else 0)
        else:
            break
    return start


def iter_chunks(
    file: BinaryIO, start: int, layout: str, *, align: int = 1, counts_itself: bool = False
) -> Iterator[tuple[bytes, int, int]]:
    """(id, size, offset of the body) of each chunk.

    Args:
        file: the file.
        start: where the first chunk begins.
        layout: `struct`'s format of a chunk's head: its id and its size.
        align: chunks begin at multiples of so many bytes.
        counts_itself: whether a size in the file counts the head too.
    """
    head_bytes = struct.calcsize(layout)
    num_bytes = file.seek(0, os.SEEK_END)
    for _ in range(MAX_CHUNKS):
        # A wrong size may lead further than can be sought.
        file.seek(min(start, num_bytes))
        head = file.read(head_bytes)
        if len(head) < head_bytes:
            return
        chunk_id, size = struct.unpack(layout, head)
        size -= head_bytes * counts_itself
        yield chunk_id, size, start + head_bytes
        start += head_bytes + max(0, size) + -size % align


def promised_frames(file: BinaryIO, start: int, format: str) -> int | None:
    """Frames that a header promises; None where it does not say, or is of another format.

    Args:
        file: the file.
        start: where the audio file begins in it.
        format: libsndfile's name of its format.
    """
    if format not in _READERS:
        return None
    file.seek(start)
    try:
        return _READERS[format](file.read(_MAX_HEAD_BYTES))
    except struct.error:
        return None


def held_sds_frames(file: BinaryIO, start: int, num_bytes: int) -> int:
    """Frames that a MIDI sample dump holds (blocks of 120 bytes of seven bits): libsndfile makes up those it lacks."""
    file.seek(start)
    head = file.read(_SDS_HEAD_BYTES).ljust(_SDS_HEAD_BYTES, b"\0")
    bytes_per_sample = -(-max(1, head[6]) // 7)
    num_blocks = max(0, num_bytes - start - _SDS_HEAD_BYTES) // _SDS_BLOCK_BYTES
    return num_blocks * (_SDS_BLOCK_DATA_BYTES // bytes_per_sample)


def _mat4(head: bytes) -> int:
    """Two matrices: the rate, then a column a frame (MATLAB 4)."""
    byte_order = ">" if head[2:4] == b"\x03\xe8" else "<"
    (name_bytes,) = struct.unpack_from(byte_order + "I", head, 16)
    (num_frames,) = struct.unpack_from(byte_order + "I", head, 20 + name_bytes + 8 + 8)
    return int(num_frames)


def _mat5(head: bytes) -> int:
    """Two matrices, each an element of elements: flags, then rows and columns (MATLAB 5)."""
    byte_order = ">" if head[126:128] == b"MI" else "<"
    (first_bytes,) = struct.unpack_from(byte_order + "I", head, 132)
    (num_frames,) = struct.unpack_from(byte_order + "I", head, 136 + first_bytes + 8 + 16 + 8 + 4)
    return int(num_frames)


def _mpc2k(head: bytes) -> int:
    (num_frames,) = struct.unpack_from("<I", head, 30)
    return int(num_frames)


def _wve(head: bytes) -> int:
    (num_frames,) = struct.unpack_from(">I", head, 18)
    return int(num_frames)


def _xi(head: bytes) -> int | None:
    """Bytes of the one sample, which has one byte or two a frame; libsndfile itself writes no number."""
    num_bytes, flags = struct.unpack_from("<I10xB", head, 298)
    is_16_bit = flags & 16
    return int(num_bytes // (2 if is_16_bit else 1)) or None


_READERS: dict[str, Callable[[bytes], int | None]] = {
    "MAT4": _mat4,
    "MAT5": _mat5,
    "MPC2K": _mpc2k,
    "WVE": _wve,
    "XI": _xi,
}
