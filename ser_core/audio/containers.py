"""What containers promise and hold beside what libsndfile tells: WAV headers, other lengths, the ends of Ogg and MP3.

libsndfile reads a WAV whose data end early without a word, gives no frame at data size 0, and stops at 4 GiB at
data size 0xFFFFFFFF (both sizes stand for "not known yet" in WAVs that were streamed).
Formats: RIFF/RIFX (Microsoft, "Multimedia Programming Interface", 1991), RF64 (EBU Tech 3306), BW64 (ITU-R BS.2088).

Without a length tag libsndfile takes a guess from the first frames of an MP3 for its length, and stops there; of MP3s
joined end to end it reads the first. It stops at the border of a frame, so reading can go on there.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ser_core.faults import Fault

_RIFF_IDS = {b"RIFF": "<", b"RIFX": ">", b"RF64": "<", b"BW64": "<"}
_UINT32_MAX = 2**32 - 1
#: A file of nothing but empty chunks must not keep us busy.
_MAX_CHUNKS = 1000
_MAX_FMT_BYTES = 4096

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 0x0001, 0x0003, 0x0006, 0x0007, 0xFFFE
_SAMPLE_CODECS = frozenset({_PCM, _FLOAT, _ALAW, _MULAW})
#: MS ADPCM, IMA ADPCM, GSM 6.10: blocks, whose frames the format chunk counts.
_BLOCK_CODECS = frozenset({0x0002, 0x0011, 0x0031})
#: Codecs that libsndfile 1.2 decodes inside a WAV; the last five: NMS ADPCM, G.721 (twice), MPEG layers 2 and 3.
KNOWN_CODECS = _SAMPLE_CODECS | _BLOCK_CODECS | {0x0038, 0x0040, 0x0064, 0x0050, 0x0055}
#: Follows the format tag in the sub-format of an extensible header, where that means the tag.
_SUB_FORMAT_TAIL = bytes.fromhex("0000 0000 1000 8000 00aa 0038 9b71")
#: Sizes that sox and arecord write where they write to a pipe.
_SOX_STREAMED, _ARECORD_STREAMED = 0x7FFFF000, 0x80000000


@dataclass(frozen=True, kw_only=True)
class WavHeader:
    """The parts of a WAV header that say where the samples are.

    `promised_bytes` is None for a streamed WAV, whose header does not know its length.
    """

    #: Format tag, or the sub-format of an extensible header; None where that is cut off.
    codec: int | None
    sample_rate_hz: int
    block_align: int
    #: Frames in `block_align` bytes; None where the header does not say.
    frames_per_block: int | None
    data_offset: int
    data_bytes: int
    promised_bytes: int | None
    byte_order: str
    fmt_body: bytes
    is_bw64: bool

    @property
    def promised_seconds(self) -> float | None:
        """Length the header promises; None where it does not say."""
        if self.promised_bytes is None or not (self.frames_per_block and self.block_align and self.sample_rate_hz):
            return None
        return self.promised_bytes // self.block_align * self.frames_per_block / self.sample_rate_hz

    @property
    def is_honest(self) -> bool:
        """Whether libsndfile can read the file as it is."""
        return self.promised_bytes == self.data_bytes and not self.is_bw64

    def honest_head(self) -> bytes:
        """A header for the bytes from `data_offset` on that gives their true number."""
        fmt_chunk = b"fmt " + struct.pack(self.byte_order + "I", len(self.fmt_body)) + self.fmt_body
        fmt_chunk += b"\0" * (len(self.fmt_body) % 2)
        riff_bytes = 4 + len(fmt_chunk) + 8 + self.data_bytes
        if riff_bytes < _UINT32_MAX:
            sizes = [struct.pack(self.byte_order + "I", size) for size in (riff_bytes, self.data_bytes)]
            riff_id = b"RIFF" if self.byte_order == "<" else b"RIFX"
            return riff_id + sizes[0] + b"WAVE" + fmt_chunk + b"data" + sizes[1]
        num_frames = self.data_bytes // max(1, self.block_align) * (self.frames_per_block or 1)
        ds64 = b"ds64" + struct.pack("<IQQQI", 28, riff_bytes + 36, self.data_bytes, num_frames, 0)
        unknown = struct.pack("<I", _UINT32_MAX)
        return b"RF64" + unknown + b"WAVE" + ds64 + fmt_chunk + b"data" + unknown


def read_wav_header(file: BinaryIO, num_bytes: int) -> WavHeader | None:
    """Read the header of a file of `num_bytes`; None if it is no WAV, or breaks off before the samples."""
    file.seek(0)
    riff = file.read(12)
    if len(riff) < 12 or riff[:4] not in _RIFF_IDS or riff[8:] != b"WAVE":
        return None
    byte_order = _RIFF_IDS[riff[:4]]
    fmt_body, long_data_bytes = b"", None
    for chunk_id, size, offset in _chunks(file, 12, num_bytes, byte_order):
        if chunk_id == b"fmt ":
            file.seek(offset)
            fmt_body = file.read(min(size, _MAX_FMT_BYTES))
        elif chunk_id == b"ds64" and size >= 16:
            file.seek(offset)
            _riff_bytes, long_data_bytes = struct.unpack("<QQ", file.read(16).ljust(16, b"\0"))
        elif chunk_id == b"data":
            if len(fmt_body) < 14:
                return None
            data_size = long_data_bytes if size == _UINT32_MAX and long_data_bytes is not None else size
            return _header(file, num_bytes, byte_order, fmt_body, offset, data_size, riff[:4] == b"BW64")
    return None


def _header(
    file: BinaryIO, num_bytes: int, byte_order: str, fmt_body: bytes, data_offset: int, size: int, is_bw64: bool
) -> WavHeader:
    codec, _channels, sample_rate_hz, _byte_rate, block_align = struct.unpack(byte_order + "HHIIH", fmt_body[:14])
    if codec == _EXTENSIBLE:
        codec = _sub_format(fmt_body, byte_order)
    frames_per_block = 1 if codec in _SAMPLE_CODECS else None
    if codec in _BLOCK_CODECS and len(fmt_body) >= 20:
        (frames_per_block,) = struct.unpack(byte_order + "H", fmt_body[18:20])
    num_held = num_bytes - data_offset
    is_streamed = _is_streamed_size(size, block_align) and (
        size > num_held or (size == 0 and num_held > 0 and not _are_chunks(file, data_offset, num_bytes, byte_order))
    )
    return WavHeader(
        codec=codec,
        sample_rate_hz=sample_rate_hz,
        block_align=block_align,
        frames_per_block=frames_per_block,
        data_offset=data_offset,
        data_bytes=num_held if is_streamed else min(size, num_held),
        promised_bytes=None if is_streamed else size,
        byte_order=byte_order,
        fmt_body=fmt_body,
        is_bw64=is_bw64,
    )


def _sub_format(fmt_body: bytes, byte_order: str) -> int | None:
    if len(fmt_body) < 40:
        return None
    (codec,) = struct.unpack(byte_order + "H", fmt_body[24:26])
    return codec if fmt_body[26:40] == _SUB_FORMAT_TAIL else _EXTENSIBLE


def _is_streamed_size(size: int, block_align: int) -> bool:
    sox_size = _SOX_STREAMED - _SOX_STREAMED % max(1, block_align)
    return size in (0, _UINT32_MAX, 2**64 - 1, sox_size, _ARECORD_STREAMED)


def _are_chunks(file: BinaryIO, start: int, num_bytes: int, byte_order: str) -> bool:
    """Whether the rest of the file is whole chunks: then a data size of 0 means what it says."""
    end = start
    for chunk_id, size, offset in _chunks(file, start, num_bytes, byte_order):
        if not (chunk_id.isascii() and chunk_id.decode("ascii").isprintable()):
            return False
        end = offset + size
    return end in (num_bytes, num_bytes - 1)


def _chunks(file: BinaryIO, start: int, num_bytes: int, byte_order: str) -> Iterator[tuple[bytes, int, int]]:
    """(id, size, offset of the body) of each chunk from `start` on."""
    for _ in range(_MAX_CHUNKS):
        if start + 8 > num_bytes:
            return
        file.seek(start)
        head = file.read(8)
        if len(head) < 8:
            return
        chunk_id, size = struct.unpack(byte_order + "4sI", head)
        yield chunk_id, size, start + 8
        start += 8 + size + size % 2


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
