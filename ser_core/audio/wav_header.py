"""WAV headers: what they promise, what the file holds, and a header that tells the truth.

libsndfile reads a WAV whose data end early without a word, and stops where a WAV's header says that its data end, also
where the header is wrong: not known yet (streamed), never updated (the recorder died), or wrapped at 4 GiB.
Formats: RIFF/RIFX (Microsoft, "Multimedia Programming Interface", 1991), RF64 (EBU Tech 3306), BW64 (ITU-R BS.2088).
"""

import struct
from dataclasses import dataclass, replace
from typing import BinaryIO

from ser_core.audio.byte_view import ByteView
from ser_core.audio.endings import EITHER, LEAST_AUDIO_BYTES, STREAMED_ROOM, end_of_audio, goes_on, iter_padded_chunks

_RIFF_IDS = {b"RIFF": "<", b"RIFX": ">", b"RF64": "<", b"BW64": "<"}
_UINT32_MAX = 2**32 - 1
_MAX_FMT_BYTES = 4096

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 0x0001, 0x0003, 0x0006, 0x0007, 0xFFFE
_SAMPLE_CODECS = frozenset({_PCM, _FLOAT, _ALAW, _MULAW})
#: Bytes of silence, where they are not 0 and 255 as in samples with a sign.
_SILENCE = {_FLOAT: b"\0", _ALAW: b"\x55\xd5", _MULAW: b"\x7f\xff"}
#: MS ADPCM, IMA ADPCM, GSM 6.10: blocks, whose frames the format chunk counts.
_BLOCK_CODECS = frozenset({0x0002, 0x0011, 0x0031})
#: Codecs that libsndfile 1.2 decodes exactly inside a WAV; the last three: NMS ADPCM, G.721 (twice).
KNOWN_CODECS = _SAMPLE_CODECS | _BLOCK_CODECS | {0x0038, 0x0040, 0x0064}
#: Follows the format tag in the sub-format of an extensible header, where that means the tag.
_SUB_FORMAT_TAIL = bytes.fromhex("0000 0000 1000 8000 00aa 0038 9b71")
#: In 64 bits a size is that of a stream where no file can have it; in 32 within `STREAMED_ROOM` below one of these.
STREAMED_64 = 2**55
_STREAMED_SIZES = (0x7F000000 + STREAMED_ROOM, 2**31, 2**32)


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
    #: Whether every chunk before the samples is padded as it must be.
    is_padded_right: bool = True
    #: Frames that are counted beside the samples (chunk `fact`); 0 where they are not.
    num_frames: int = 0

    @property
    def promised_seconds(self) -> float | None:
        """Length the header promises; None where it does not say."""
        if self.promised_bytes is None or not (self.frames_per_block and self.block_align and self.sample_rate_hz):
            return None
        return self.promised_bytes // self.block_align * self.frames_per_block / self.sample_rate_hz

    @property
    def bytes_per_second(self) -> int:
        """The mean rate of the samples' bytes; 0 where the header does not say."""
        return int.from_bytes(self.fmt_body[8:12], "little" if self.byte_order == "<" else "big")

    @property
    def is_honest(self) -> bool:
        """Whether libsndfile can read the file as it is."""
        return self.promised_bytes == self.data_bytes and not self.is_bw64 and self.is_padded_right

    def honest_view(self, file: BinaryIO) -> ByteView:
        """The file with a header that tells the truth, up to where its samples end."""
        end = self.data_offset + self.data_bytes
        return ByteView(file, end, head=self.honest_head(), offset=self.data_offset)

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


def read_wav_header(file: BinaryIO, start: int, num_bytes: int) -> WavHeader | None:
    """Read the header at `start` in a file of `num_bytes`; None if it is no WAV, or breaks off before the samples."""
    file.seek(start)
    riff = file.read(12)
    if len(riff) < 12 or riff[:4] not in _RIFF_IDS or riff[8:] != b"WAVE":
        return None
    byte_order = _RIFF_IDS[riff[:4]]
    fmt_body, long_data_bytes = b"", None
    expected, is_padded_right, num_frames = start + 12, True, 0
    for chunk_id, size, offset in iter_padded_chunks(file, start + 12, byte_order):
        is_padded_right &= offset - 8 == expected
        expected = offset + size + size % 2
        file.seek(offset)
        if chunk_id == b"fact":
            (num_frames,) = struct.unpack(byte_order + "I", file.read(4).ljust(4, b"\0"))
        elif chunk_id == b"fmt ":
            fmt_body = file.read(min(size, _MAX_FMT_BYTES))
        elif chunk_id == b"ds64" and size >= 16:
            _riff_bytes, long_data_bytes = struct.unpack("<QQ", file.read(16).ljust(16, b"\0"))
        elif chunk_id == b"data":
            if len(fmt_body) < 14:
                return None
            data_size = long_data_bytes if size == _UINT32_MAX and long_data_bytes is not None else size
            header = _header(file, num_bytes, byte_order, fmt_body, offset, data_size)
            is_bw64 = riff[:4] == b"BW64"
            return replace(header, is_bw64=is_bw64, is_padded_right=is_padded_right, num_frames=num_frames)
    return None


def _header(file: BinaryIO, num_bytes: int, byte_order: str, fmt_body: bytes, data_offset: int, size: int) -> WavHeader:
    codec, _channels, sample_rate_hz, _byte_rate, block_align = struct.unpack(byte_order + "HHIIH", fmt_body[:14])
    if codec == _EXTENSIBLE:
        codec = _sub_format(fmt_body, byte_order)
    frames_per_block = 1 if codec in _SAMPLE_CODECS else None
    if codec in _BLOCK_CODECS and len(fmt_body) >= 20:
        (frames_per_block,) = struct.unpack(byte_order + "H", fmt_body[18:20])
    num_held = num_bytes - data_offset
    if num_held < size < num_held + LEAST_AUDIO_BYTES:
        size = num_held
    is_unknown = size > num_held and is_streamed_size(size)
    # A header that was never brought up to date, or wrapped, is followed by more samples.
    is_unknown |= size < num_held and goes_on(file, data_offset + size, num_bytes, byte_order)
    if is_unknown or size > num_held:
        silence = _silence_of(codec, fmt_body, byte_order)
        num_held = end_of_audio(file, data_offset, num_bytes, byte_order, silence=silence) - data_offset
    return WavHeader(
        codec=codec,
        sample_rate_hz=sample_rate_hz,
        block_align=block_align,
        frames_per_block=frames_per_block,
        data_offset=data_offset,
        data_bytes=num_held if is_unknown else min(size, num_held),
        promised_bytes=None if is_unknown else size,
        byte_order=byte_order,
        fmt_body=fmt_body,
        is_bw64=False,
    )


def _silence_of(codec: int | None, fmt_body: bytes, byte_order: str) -> bytes:
    num_bits = int.from_bytes(fmt_body[14:16], "little" if byte_order == "<" else "big")
    if codec == _PCM and num_bits <= 8:
        return b"\x7f\x80"
    return _SILENCE.get(codec or 0, EITHER)


def _sub_format(fmt_body: bytes, byte_order: str) -> int | None:
    if len(fmt_body) < 40:
        return None
    (codec,) = struct.unpack(byte_order + "H", fmt_body[24:26])
    return codec if fmt_body[26:40] == _SUB_FORMAT_TAIL else _EXTENSIBLE


def is_streamed_size(size: int) -> bool:
    """Whether a size says that its writer did not know it yet."""
    return any(limit - STREAMED_ROOM <= size <= limit for limit in _STREAMED_SIZES) or size >= STREAMED_64
