"""What a WAV header promises, what the file holds, and a header that tells the truth.

libsndfile reads a WAV whose data end early without a word, gives no frame at data size 0, and stops at 4 GiB at
data size 0xFFFFFFFF (both sizes stand for "not known yet" in WAVs that were streamed).
Formats: RIFF/RIFX (Microsoft, "Multimedia Programming Interface", 1991), RF64 (EBU Tech 3306), BW64 (ITU-R BS.2088).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

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
