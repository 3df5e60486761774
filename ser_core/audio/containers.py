"""What containers promise and hold beside what decoders tell: WAV headers, other lengths, MP3 tags, the end of Ogg.

libsndfile reads a WAV whose data end early without a word, and stops where a WAV's header says that its data end, also
where the header is wrong: not known yet (streamed), never updated (the recorder died), or wrapped at 4 GiB.
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
#: Codecs that libsndfile 1.2 decodes exactly inside a WAV; the last three: NMS ADPCM, G.721 (twice).
KNOWN_CODECS = _SAMPLE_CODECS | _BLOCK_CODECS | {0x0038, 0x0040, 0x0064}
#: Follows the format tag in the sub-format of an extensible header, where that means the tag.
_SUB_FORMAT_TAIL = bytes.fromhex("0000 0000 1000 8000 00aa 0038 9b71")
#: Programs that write to a pipe put the largest size there is, less what comes before the samples, or round numbers:
#: what lies within 64 KiB below 2^31 (or on it) or 2^32; in 64 bits whatever no file can have.
_STREAMED_ROOM, _STREAMED_64 = 2**16, 2**60
_LOOK_BYTES = 2**16
_TAG_STARTS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")
#: Chunks that may follow the samples, and be cut off.
_LATE_CHUNKS = frozenset(
    {b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"smpl", b"iXML", b"_PMX", b"JUNK", b"PAD ", b"fact"}
)
#: A difference below this means nothing: some recorders count the header as samples, some leave out a pad byte.
_LEAST_AUDIO_BYTES = 64


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


def read_wav_header(file: BinaryIO, start: int, num_bytes: int) -> WavHeader | None:
    """Read the header at `start` in a file of `num_bytes`; None if it is no WAV, or breaks off before the samples."""
    file.seek(start)
    riff = file.read(12)
    if len(riff) < 12 or riff[:4] not in _RIFF_IDS or riff[8:] != b"WAVE":
        return None
    byte_order = _RIFF_IDS[riff[:4]]
    fmt_body, long_data_bytes = b"", None
    for chunk_id, size, offset in _chunks(file, start + 12, num_bytes, byte_order):
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
    if num_held < size < num_held + _LEAST_AUDIO_BYTES:
        size = num_held
    is_streamed = size > num_held and _is_streamed_size(size)
    # A header that was never brought up to date, or wrapped, is followed by more samples.
    is_unknown = is_streamed or (size < num_held and not _is_no_audio(file, data_offset + size, num_bytes, byte_order))
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
        is_bw64=is_bw64,
    )


def _sub_format(fmt_body: bytes, byte_order: str) -> int | None:
    if len(fmt_body) < 40:
        return None
    (codec,) = struct.unpack(byte_order + "H", fmt_body[24:26])
    return codec if fmt_body[26:40] == _SUB_FORMAT_TAIL else _EXTENSIBLE


def _is_streamed_size(size: int) -> bool:
    return any(limit - _STREAMED_ROOM <= size <= limit for limit in (2**31, 2**32)) or size >= _STREAMED_64


def _is_no_audio(file: BinaryIO, start: int, num_bytes: int, byte_order: str) -> bool:
    """Whether what follows the samples is a chunk, a tag, text, zeros, or too little to matter."""
    file.seek(start)
    head = file.read(_LOOK_BYTES)
    text = head[:_LEAST_AUDIO_BYTES]
    if len(text) < _LEAST_AUDIO_BYTES or head.lstrip(b"\0").startswith(_TAG_STARTS):
        return True
    if text.isascii() and all(byte >= ord(" ") or byte in b"\t\r\n" for byte in text):
        return True
    if num_bytes - start >= 2**32 - _STREAMED_ROOM:
        # The size wrapped.
        return False
    if not any(head):
        file.seek(max(start, num_bytes - _LOOK_BYTES))
        return not any(file.read(_LOOK_BYTES))
    for chunk_id, size, offset in _chunks(file, start, num_bytes, byte_order):
        is_name = chunk_id.isascii() and chunk_id.decode("ascii").isprintable()
        # Its number of bytes would be absurd if it were made of samples.
        return is_name and (offset + size <= num_bytes + 1 or chunk_id in _LATE_CHUNKS)
    return False


def _chunks(file: BinaryIO, start: int, num_bytes: int, byte_order: str) -> Iterator[tuple[bytes, int, int]]:
    """(id, size, offset of the body) of each chunk from `start` on; some writers pad chunks to four bytes."""
    for _ in range(_MAX_CHUNKS):
        file.seek(start)
        head = file.read(8 + 3)
        num_pad = min(3, len(head) - len(head.lstrip(b"\0")))
        head = head[num_pad : num_pad + 8]
        if len(head) < 8:
            return
        chunk_id, size = struct.unpack(byte_order + "4sI", head)
        start += num_pad + 8
        yield chunk_id, size, start
        start += size + size % 2


_W64_DATA_ID = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_AU_UNKNOWN = 2**32 - 1
#: An Ogg page is at most this long: 27 bytes of header, 255 segments of up to 255 bytes and their lengths.
_OGG_HEAD_BYTES = 27
_MAX_OGG_PAGE_BYTES = _OGG_HEAD_BYTES + 255 + 255 * 255
_MAX_MP3_FRAME_BYTES = 2881
#: The side information, in front of the tag, and the checksum.
_MAX_MP3_SIDE_BYTES = 40


def data_bytes(file: BinaryIO, start: int, num_bytes: int, format: str) -> tuple[int, int] | None:
    """Bytes of samples that the header promises, and that the file holds; None where it does not say.

    Args:
        file: the file.
        start: where the audio file begins in it.
        num_bytes: its size.
        format: libsndfile's name of its format.
    """
    if format == "AU":
        file.seek(start)
        head = file.read(12)
        byte_order = ">" if head.startswith(b".snd") else "<"
        offset, size = struct.unpack(byte_order + "II", head[4:])
        return None if size == _AU_UNKNOWN else (size, num_bytes - start - offset)
    chunks = {"AIFF": _aiff_chunks, "W64": _w64_chunks}.get(format)
    for chunk_id, size, offset in chunks(file, start) if chunks else ():
        if chunk_id == b"SSND":
            # Eight bytes of the chunk come before the samples.
            return size - 8, num_bytes - offset - 8
        if chunk_id == _W64_DATA_ID:
            return None if size >= _STREAMED_64 else (size, num_bytes - offset)
    return None


def ogg_breaks_off(file: BinaryIO, num_bytes: int) -> bool:
    """Whether an Ogg file ends within a page."""
    file.seek(max(0, num_bytes - _MAX_OGG_PAGE_BYTES))
    tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    segment_bytes = page[_OGG_HEAD_BYTES : _OGG_HEAD_BYTES + page[26]] if len(page) >= _OGG_HEAD_BYTES else b""
    return not segment_bytes or len(page) < _OGG_HEAD_BYTES + page[26] + sum(segment_bytes)


def riff_breaks_off(file: BinaryIO, num_bytes: int) -> bool:
    """Whether a RIFF file (AVI) is shorter than its header says, where that knows."""
    file.seek(0)
    riff = file.read(8)
    (size,) = struct.unpack("<I", riff[4:].ljust(4, b"\0"))
    return riff[:4] == b"RIFF" and size + 8 >= num_bytes + _LEAST_AUDIO_BYTES and not _is_streamed_size(size)


def mp3_tag_seconds(file: BinaryIO) -> float | None:
    """Length of an MP3 by the tag in its first frame (Xing's, LAME's or Fraunhofer's); None where there is none.

    Source: the LAME tag's specification (G. Nurbo), and ISO/IEC 11172-3 for the frame's header.
    """
    file.seek(end_of_id3(file, 0))
    frame = file.read(_MAX_MP3_FRAME_BYTES)
    for tag, flags_bytes, offset in ((b"Xing", 4, 8), (b"Info", 4, 8), (b"VBRI", 0, 14)):
        at = frame.find(tag, 4, 4 + _MAX_MP3_SIDE_BYTES)
        if at < 0:
            continue
        has_frames = not flags_bytes or (frame[at + 7 : at + 8] and frame[at + 7] & 1)
        num_frames = int.from_bytes(frame[at + offset : at + offset + 4], "big")
        version, rate_index = frame[1] >> 3 & 3, frame[2] >> 2 & 3
        if not has_frames or rate_index == 3 or version == 1:
            return None
        # Layer III of MPEG 1 has 1,152 samples a frame; MPEG 2 and 2.5 half of it, at half and a quarter of the rates.
        rate_hz = (44_100, 48_000, 32_000)[rate_index] >> (3 - version if version else 2)
        return num_frames * (1_152 if version == 3 else 576) / rate_hz
    return None


def _aiff_chunks(file: BinaryIO, start: int) -> Iterator[tuple[bytes, int, int]]:
    """(id, size, offset of the body) of each chunk."""
    start += 12
    for _ in range(_MAX_CHUNKS):
        file.seek(start)
        head = file.read(8)
        if len(head) < 8:
            return
        chunk_id, size = struct.unpack(">4sI", head)
        yield chunk_id, size, start + 8
        start += 8 + size + size % 2


def _w64_chunks(file: BinaryIO, start: int) -> Iterator[tuple[bytes, int, int]]:
    """(id, size, offset of the body) of each chunk; in the file the size counts the 24 bytes of the chunk's head."""
    start += 40
    for _ in range(_MAX_CHUNKS):
        file.seek(start)
        head = file.read(24)
        if len(head) < 24:
            return
        chunk_id, size = struct.unpack("<16sQ", head)
        yield chunk_id, size - 24, start + 24
        start += max(24, size + -size % 8)


def end_of_id3(file: BinaryIO, start: int) -> int:
    """Where the ID3v2 tags at `start` end; `start` if there is none. A tag's size is four bytes of seven bits."""
    for _ in range(_MAX_CHUNKS):
        file.seek(start)
        tag = file.read(10)
        if len(tag) < 10 or tag[:3] != b"ID3":
            break
        start += 10 + sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True))
    return start
