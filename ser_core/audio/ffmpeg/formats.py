"""What is known of FFmpeg's formats: which are opened, which say how long they are, which do not say what they are."""

import os
import struct
from collections.abc import Callable
from typing import BinaryIO

from ser_core.audio.containers import iter_chunks
from ser_core.audio.endings import LEAST_AUDIO_BYTES, MAX_CHUNKS, end_of_content, goes_on
from ser_core.audio.ffmpeg.ogg import ogg_breaks_off
from ser_core.audio.wav_header import STREAMED_64, is_streamed_size

#: Formats without a length (an MP3 may have a tag that tells it), whose frames are found by their sync words: what
#: cannot be decoded between or behind them is no audio.
UNFRAMED = (
    "mp3", "aac", "loas", "ac3", "eac3", "dts", "amr", "amrnb", "amrwb", "mpeg", "mpegts", "g722", "gsm", "sbc",
)  # fmt: skip
#: Formats that say how long all streams are together, and not each.
JOINT_LENGTH = frozenset({"matroska,webm", "flv"})
#: FFmpeg may open these alone: others (HLS, concat and their like) open further files and addresses, or take any text.
_FORMATS = (
    *UNFRAMED, "aiff", "ape", "asf", "au", "avi", "avr", "caf", "dsf", "dss", "flac", "flv", "iff",
    "ircam", "matroska", "webm", "mov", "mp4", "mpc", "mpc8", "mxf", "nistsphere", "nut", "ogg", "paf",
    "pvf", "qcp", "rm", "shn", "sox", "tak", "truehd", "tta", "voc", "w64", "wav", "wsd", "wtv", "wv", "xwma",
)  # fmt: skip
OPTIONS = {"format_whitelist": ",".join(_FORMATS), "protocol_whitelist": "none"}
#: Formats in which a recorder that pauses leaves a step in the times, and a hole is known by other signs.
PAUSED = frozenset({"matroska,webm", "ogg"})
#: By FFmpeg's own decoders, those that are used in their place: its own drop the frames of pauses, as phones send them.
DECODERS = {"amrnb": "libopencore_amrnb", "amrwb": "libopencore_amrwb"}
#: Formats that count their frames, behind which FFmpeg takes tags for damage.
COUNTED = frozenset({"wv"})
#: Formats that give each packet its time, so that a step in it is a loss.
TIMED = frozenset({"asf", "nut", "flac"})
#: Formats of whose length FFmpeg takes a guess, knows that of other streams, or does not look at it.
GUESSED_LENGTH = frozenset({"asf", "avi", "voc", "sox"})
#: Audio without a header, as telephony keeps it, by suffix; (FFmpeg's format, its options).
HEADLESS: dict[str, tuple[str, dict[str, str]]] = {
    "g722": ("g722", {}),
    "g729": ("g729", {}),
    "gsm": ("gsm", {}),
    "sbc": ("sbc", {}),
    **dict.fromkeys(("ul", "ulaw", "mulaw", "pcmu"), ("mulaw", {"sample_rate": "8000"})),
    **dict.fromkeys(("al", "alaw", "pcma"), ("alaw", {"sample_rate": "8000"})),
    "sln": ("s16le", {"sample_rate": "8000"}),
    "sln16": ("s16le", {"sample_rate": "16000"}),
}
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_ASF_DATA_HEAD_BYTES = 50
_MAX_VOC_BLOCK_TYPE = 9
_LOOK_BYTES = 2**17
_ID3V1_BYTES = 128
_SOX_HEAD_BYTES = 28
#: A frame of GSM 06.10 begins with these four bits (0xD).
_GSM_FRAME_BYTES, _NO_GSM = 33, bytes(byte for byte in range(256) if byte >> 4 != 0xD)
_LOOK_FRAMES = 2**12
#: The shortest that holds speech.
_AMR_FRAME_BYTES = 13
_FAMILIAR_STARTS = (
    b"RIFF",
    b"OggS",
    b"ID3",
    b"\x1a\x45\xdf\xa3",
    b"\x30\x26\xb2\x75",
    b"caff",
    b"wvpk",
    b"#!AMR",
    b"MAC ",
    b".RMF",
)


def is_familiar(file: BinaryIO, start: int) -> bool:
    """Whether a file's first bytes are those of a format that has a header."""
    file.seek(start)
    head = file.read(16)
    return head.startswith(_FAMILIAR_STARTS) or head[4:8] == b"ftyp"


def words_of_opening(file: BinaryIO, start: int) -> str:
    """Why FFmpeg finds nothing in a file, as far as its first bytes tell."""
    if not is_familiar(file, start):
        return "this is no audio file of a known format"
    file.seek(start + 4)
    if file.read(4) == b"ftyp":
        return "the MP4 has no index (moov): it was never finished, or it is cut off"
    return "the header is broken or cut off"


def sox_seconds(file: BinaryIO, start: int) -> float | None:
    """Length by the header of a file of SoX's own format; None where that does not say."""
    file.seek(start)
    head = file.read(_SOX_HEAD_BYTES).ljust(_SOX_HEAD_BYTES, b"\0")
    byte_order = "<" if head.startswith(b".SoX") else ">"
    num_samples, rate_hz, num_channels = struct.unpack(byte_order + "QdI", head[8:])
    is_known = 0 < num_samples < STREAMED_64 and num_channels and rate_hz >= 1
    return num_samples / num_channels / rate_hz if is_known else None


def end_of_frames(file: BinaryIO, start: int, num_bytes: int, headless: str | None) -> int:
    """Where AMR, or audio without a header (of this format of FFmpeg's), ends: before tags and what is no frame."""
    file.seek(start)
    is_amr = file.read(5) == b"#!AMR"
    if headless is None and not is_amr:
        return num_bytes
    file.seek(max(start, num_bytes - _ID3V1_BYTES))
    if file.read(3) == b"TAG":
        num_bytes -= _ID3V1_BYTES
    if headless != "gsm":
        return end_of_content(file, num_bytes, num_kept=_AMR_FRAME_BYTES - 1) if is_amr else num_bytes
    num_frames = -(-(num_bytes - start) // _GSM_FRAME_BYTES)
    while num_frames > 0:
        first = max(0, num_frames - _LOOK_FRAMES)
        file.seek(start + first * _GSM_FRAME_BYTES)
        frames = file.read((num_frames - first) * _GSM_FRAME_BYTES)
        if kept := len(frames[::_GSM_FRAME_BYTES].rstrip(_NO_GSM)):
            return min(num_bytes, start + (first + kept) * _GSM_FRAME_BYTES)
        num_frames = first
    return num_bytes


def _form_breaks_off(file: BinaryIO, start: int, num_bytes: int) -> bool:
    """Whether an IFF file (8SVX, MAUD) is shorter than it says."""
    file.seek(start + 4)
    return start + 8 + int.from_bytes(file.read(4), "big") >= num_bytes + LEAST_AUDIO_BYTES


def _riff_breaks_off(file: BinaryIO, start: int, num_bytes: int) -> bool:
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


def _asf_breaks_off(file: BinaryIO, start: int, num_bytes: int) -> bool:
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


def _asf_goes_on(file: BinaryIO, start: int, num_bytes: int) -> bool:
    """Whether another packet follows the data of an ASF, as they count them: it begins as the first one does."""
    packet_bytes = 0
    for object_id, _size, offset in iter_chunks(file, start + 30, "<16sQ", counts_itself=True):
        if object_id == _ASF_PROPERTIES:
            file.seek(offset + 68)
            (packet_bytes,) = struct.unpack("<I", file.read(4).ljust(4, b"\0"))
    for object_id, size, offset in iter_chunks(file, start, "<16sQ", counts_itself=True):
        if object_id == _ASF_DATA and packet_bytes and 0 < size < STREAMED_64:
            first = offset - 24 + _ASF_DATA_HEAD_BYTES
            num_packets = -(-(offset + size - first) // packet_bytes)
            heads = []
            for number in (0, num_packets):
                file.seek(first + number * packet_bytes)
                heads.append(file.read(3))
            return heads[0] == heads[1] and first + (num_packets + 1) * packet_bytes <= num_bytes
    return False


def _voc_goes_on(file: BinaryIO, start: int, num_bytes: int) -> bool:
    """Whether more follows the blocks of a VOC."""
    end = _end_of_voc(file, start)
    return end < num_bytes and goes_on(file, end, num_bytes, "<")


def _voc_breaks_off(file: BinaryIO, start: int, num_bytes: int) -> bool:
    """Whether the last block of a VOC is longer than the file."""
    return _end_of_voc(file, start) >= num_bytes + LEAST_AUDIO_BYTES


def _end_of_voc(file: BinaryIO, start: int) -> int:
    """Where the blocks of a VOC end, according to their heads."""
    num_bytes = file.seek(0, os.SEEK_END)
    file.seek(start + 20)
    start += int.from_bytes(file.read(2), "little")
    for _ in range(MAX_CHUNKS):
        file.seek(start)
        head = file.read(4)
        if len(head) < 4 or not 0 < head[0] <= _MAX_VOC_BLOCK_TYPE or start >= num_bytes:
            break
        size = int.from_bytes(head[1:], "little")
        if size == 0:
            # FFmpeg reads samples without a count to the end.
            return num_bytes
        start += 4 + size
    return start


#: What shows of these alone that they are cut off.
BREAKS_OFF: dict[str, Callable[[BinaryIO, int, int], bool]] = {
    "ogg": ogg_breaks_off,
    "avi": _riff_breaks_off,
    "asf": _asf_breaks_off,
    "voc": _voc_breaks_off,
    "iff": _form_breaks_off,
}
#: What shows of these that their headers count less than there is.
GOES_ON: dict[str, Callable[[BinaryIO, int, int], bool]] = {"asf": _asf_goes_on, "voc": _voc_goes_on}
