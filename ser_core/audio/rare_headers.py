"""What headers of matrices, samplers, trackers and pocket computers promise; libsndfile reads to the end."""

import struct
from collections.abc import Callable
from typing import BinaryIO

_MAX_HEAD_BYTES = 512
_SDS_HEAD_BYTES, _SDS_BLOCK_BYTES, _SDS_BLOCK_DATA_BYTES = 21, 127, 120


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
