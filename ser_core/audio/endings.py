"""Where audio begins behind other bytes, whether more follows where a decoder stopped, whether a file breaks off."""

import os
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

#: A file of nothing but empty chunks must not keep us busy.
MAX_CHUNKS = 1000
#: A difference below this means nothing: recorders count a WAV's header as samples (80 bytes where it has every field,
#: 116 with sizes of 64 bits), or leave out a pad byte.
LEAST_AUDIO_BYTES = 128
#: Programs that write to a pipe put the largest size there is, less what comes before the samples, or round numbers:
#: what lies so far below 2^31 (or on it) or 2^32.
STREAMED_ROOM = 2**16
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
_TAR_HEAD_BYTES, _TAR_MARK_PLACE, _TAR_MARK = 512, slice(257, 262), b"ustar"
_MAX_ZEROS = 2**26
#: What is passed over of other bytes in front of a recording.
MAX_JUNK_BYTES = 2**22
_MAX_HEAD_BYTES = 32
#: A page may end in some.
_KEPT_ZEROS = 256
_BOX_HEAD_BYTES = 8
_TAG_STARTS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")
#: Chunks that may follow the samples of a WAV, and be cut off.
_LATE_CHUNKS = frozenset(
    {b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"smpl", b"iXML", b"_PMX", b"JUNK", b"PAD ", b"fact"}
)
_KNOWN_CHUNKS = _LATE_CHUNKS | {b"data", b"fmt "}
#: What may begin behind samples that nobody has counted: a tag or XML, or the name and size of a chunk.
_TRAILER = re.compile(rb"(?=TAG|ID3[\2-\4]|APETAGEX|LYRICSBEGIN|<\?x|([A-Za-z_][\w ]{3})(.{4}))", re.DOTALL)
#: From a blank to the letters.
_LEAST_SPREAD = 64
#: What samples with a sign have where it is quiet.
EITHER = b"\x00\xff"


def find_head(file: BinaryIO, start: int) -> int | None:
    """Where the first recording begins behind other bytes at `start`; None if there is none near, or they are many.

    Zeros are passed over up to 64 MB, as room that a recorder or a download kept; frames without a header may follow.
    """
    file.seek(start)
    look = file.read(_LOOK_BYTES)
    if (found := _search_head(file, start)) is not None:
        return found
    end = min(file.seek(0, os.SEEK_END), start + _MAX_ZEROS)
    begin = end if any(look) else _end_of_run(file, start, end)
    if begin >= end:
        return None
    # The first bytes of a box's size may be zeros too.
    found = _search_head(file, begin - 4)
    return begin if found is None else found


def is_collection(file: BinaryIO, start: int) -> bool:
    """Whether an archive or the like begins there, whose first recording is not all of it."""
    file.seek(start)
    look = file.read(_TAR_HEAD_BYTES)
    return look.startswith(_COLLECTION_STARTS) or look[_TAR_MARK_PLACE] == _TAR_MARK


def _search_head(file: BinaryIO, start: int) -> int | None:
    for begin in range(start, start + MAX_JUNK_BYTES, _LOOK_BYTES):
        file.seek(begin)
        look = file.read(_LOOK_BYTES + _MAX_HEAD_BYTES)
        if found := _HEAD.search(look):
            return begin + found.start()
        if len(look) <= _LOOK_BYTES:
            break
    return None


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


def end_of_content(file: BinaryIO, num_bytes: int, *, num_kept: int = _KEPT_ZEROS) -> int:
    """Where the zeros at the end of a file begin, or `num_kept` behind: room that was kept for more."""
    end = _stripped_end(file, 0, num_bytes, b"\0")
    return min(num_bytes, end + num_kept) if end else num_bytes


def goes_on(file: BinaryIO, position: int, num_bytes: int, byte_order: str) -> bool:
    """Whether more audio follows where a header says that the samples end, and no chunk, tag, text or padding.

    Args:
        file: the file.
        position: where the counted samples end.
        num_bytes: the file's size.
        byte_order: of the sizes of chunks, "<" or ">".
    """
    if num_bytes - position >= 2**32 - STREAMED_ROOM:
        # The size wrapped.
        return True
    begin = _end_of_run(file, position, num_bytes)
    if num_bytes - begin < LEAST_AUDIO_BYTES:
        return False
    return not any(_is_no_audio(file, at, num_bytes, byte_order) for at in (position, begin))


def end_of_audio(file: BinaryIO, start: int, num_bytes: int, byte_order: str, *, silence: bytes = EITHER) -> int:
    """Where samples end that nobody has counted: before the chunks, tags and text at the end of the file, and padding.

    Args:
        file: the file.
        start: where the samples begin.
        num_bytes: the file's size.
        byte_order: of the sizes of chunks, "<" or ">".
        silence: the bytes that silence is made of; zeros and bytes of 255 are padding where they are none of it.
    """
    padding = bytes(byte for byte in EITHER if byte not in silence)
    content_end = _end_without(file, start, num_bytes, b"\0")
    begin = max(start, content_end - _LOOK_BYTES)
    file.seek(begin)
    for found in _TRAILER.finditer(file.read(content_end - begin)):
        at = begin + found.start()
        size = int.from_bytes(found[2] or b"", "little" if byte_order == "<" else "big")
        if at + size <= num_bytes and _is_no_audio(file, at, num_bytes, byte_order, is_to_end=True):
            return _end_without(file, start, at, padding)
    return _end_without(file, start, num_bytes, padding)


def _end_of_run(file: BinaryIO, start: int, num_bytes: int) -> int:
    """Where the first byte is that differs from the one at `start`: digital silence and padding are runs."""
    file.seek(start)
    first = file.read(1)
    file.seek(start)
    while piece := file.read(min(_LOOK_BYTES, num_bytes - start)):
        if rest := piece.lstrip(first):
            return start + len(piece) - len(rest)
        start += len(piece)
    return num_bytes


def _end_without(file: BinaryIO, start: int, end: int, padding: bytes) -> int:
    """Where the padding in front of `end` begins, if it is long; it is looked at for 125 MiB at most."""
    position = _stripped_end(file, max(start, end - MAX_CHUNKS * _LOOK_BYTES), end, padding)
    return position if end - position >= LEAST_AUDIO_BYTES else end


def _stripped_end(file: BinaryIO, start: int, end: int, padding: bytes) -> int:
    """Where bytes of `padding` begin that go on up to `end`; `start` where there is nothing else."""
    while end > start:
        begin = max(start, end - _LOOK_BYTES)
        file.seek(begin)
        if kept := file.read(end - begin).rstrip(padding):
            return begin + len(kept)
        end = begin
    return start


def _is_no_audio(file: BinaryIO, start: int, num_bytes: int, byte_order: str, *, is_to_end: bool = False) -> bool:
    """Whether a chunk, a tag, text or another recording begins there.

    Args:
        file: the file.
        start: where.
        num_bytes: the file's size.
        byte_order: of the sizes of chunks.
        is_to_end: whether it must reach to the end of the file, as where nothing but itself speaks for it.
    """
    file.seek(start)
    head = file.read(_LOOK_BYTES)
    if head.startswith(_TAG_STARTS):
        return not is_to_end or num_bytes - start <= _LOOK_BYTES
    if not is_to_end and _HEAD.match(head):
        return True
    if _is_text(head.rstrip(b"\0")):
        return True
    end = start
    for chunk_id, size, offset in iter_padded_chunks(file, start, byte_order):
        is_name = chunk_id.isascii() and chunk_id.decode("ascii").isprintable()
        if not is_name or chunk_id.startswith(_TAG_STARTS):
            break
        end = offset + size
        if not is_to_end:
            # Its number of bytes would be absurd if it were made of samples.
            return end <= num_bytes + 1 or chunk_id in _LATE_CHUNKS
        if end >= num_bytes - 1:
            return end <= num_bytes + 1
    file.seek(end)
    rest = file.read(_LOOK_BYTES).strip(b"\0")
    return end > start and (len(rest) < 8 or rest.startswith(_TAG_STARTS) or _is_text(rest))


def _is_text(contents: bytes) -> bool:
    """Whether it is words; 8-bit samples can be printable, but quiet ones are alike."""
    is_printable = contents.isascii() and all(byte >= ord(" ") or byte in b"\t\r\n" for byte in contents)
    return is_printable and len(contents) >= LEAST_AUDIO_BYTES and max(contents) - min(contents) >= _LEAST_SPREAD


def iter_padded_chunks(file: BinaryIO, start: int, byte_order: str) -> Iterator[tuple[bytes, int, int]]:
    """(id, size, offset of the body) of each chunk from `start` on; some writers pad to four bytes, some not at all."""
    size = 0
    for _ in range(MAX_CHUNKS):
        file.seek(start)
        head = file.read(8 + 3)
        num_pad = min(3, len(head) - len(head.lstrip(b"\0")))
        if size % 2 and num_pad == 0 and head[:4] not in _KNOWN_CHUNKS:
            num_pad = 1
        head = head[num_pad : num_pad + 8]
        if len(head) < 8:
            return
        chunk_id, size = struct.unpack(byte_order + "4sI", head)
        start += num_pad + 8
        yield chunk_id, size, start
        start += size
