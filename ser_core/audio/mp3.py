"""The two things about an MP3 that libsndfile does not tell: whether its length is known, and what follows its end.

Without a length tag libsndfile takes a guess from the first frames for the length, and stops there; of MP3s joined
end to end it reads the first. It stops at the border of a frame, so reading can go on there.
"""

from typing import BinaryIO

_MAX_FRAME_BYTES = 2881
_LENGTH_TAGS = (b"Xing", b"Info", b"VBRI")


def has_length_tag(file: BinaryIO) -> bool:
    """Whether the first frame gives the number of frames (Xing, LAME or Fraunhofer tag)."""
    file.seek(_end_of_id3(file, 0))
    first_frame = file.read(_MAX_FRAME_BYTES)
    return any(tag in first_frame for tag in _LENGTH_TAGS)


def goes_on_at(file: BinaryIO, position: int) -> bool:
    """Whether a frame begins at `position`, perhaps behind an ID3 tag."""
    file.seek(_end_of_id3(file, position))
    header = file.read(3)
    if len(header) < 3:
        return False
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bit_rate, sample_rate = header[2] >> 4, header[2] >> 2 & 3
    is_synchronous = header[0] == 0xFF and header[1] >> 5 == 7
    return is_synchronous and version != 1 and layer != 0 and bit_rate != 15 and sample_rate != 3


def _end_of_id3(file: BinaryIO, start: int) -> int:
    """Where the ID3v2 tag at `start` ends; `start` if there is none. Its size is four bytes of seven bits."""
    file.seek(start)
    tag = file.read(10)
    if len(tag) < 10 or tag[:3] != b"ID3":
        return start
    return start + 10 + sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True))
