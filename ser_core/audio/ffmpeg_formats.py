"""What is known of FFmpeg's formats: which are opened, which say how long they are, which do not say what they are."""

from collections.abc import Callable
from typing import BinaryIO

from ser_core.audio import endings

#: Formats without a length (an MP3 may have a tag that tells it), whose frames are found by their sync words: what
#: cannot be decoded between or behind them is no audio.
UNFRAMED = (
    "mp3",
    "aac",
    "loas",
    "ac3",
    "eac3",
    "dts",
    "amr",
    "amrnb",
    "amrwb",
    "mpeg",
    "mpegts",
    "g722",
    "gsm",
    "sbc",
)
#: Formats that say how long all streams are together, and not each.
JOINT_LENGTH = frozenset({"matroska,webm", "flv"})
#: FFmpeg may open these alone: others (HLS, concat and their like) open further files and addresses, or take any text.
_FORMATS = (
    *UNFRAMED, "aiff", "ape", "asf", "au", "avi", "avr", "caf", "dsf", "dss", "flac", "flv", "iff",
    "ircam", "matroska", "webm", "mov", "mp4", "mpc", "mpc8", "mxf", "nistsphere", "nut", "ogg", "paf",
    "pvf", "qcp", "rm", "shn", "sox", "tak", "truehd", "tta", "voc", "w64", "wav", "wsd", "wtv", "wv", "xwma",
)  # fmt: skip
OPTIONS = {"format_whitelist": ",".join(_FORMATS), "protocol_whitelist": "none"}
#: What shows of these alone that they are cut off.
BREAKS_OFF: dict[str, Callable[[BinaryIO, int, int], bool]] = {
    "ogg": endings.ogg_breaks_off,
    "avi": endings.riff_breaks_off,
    "asf": endings.asf_breaks_off,
    "voc": endings.voc_breaks_off,
    "iff": endings.form_breaks_off,
}
#: Formats in which a recorder that pauses leaves a step in the times, and a hole is known by other signs.
PAUSED = frozenset({"matroska,webm", "ogg"})
#: By FFmpeg's own decoders, those that are used in their place: its own drop the frames of pauses, as phones send them.
DECODERS = {"amrnb": "libopencore_amrnb", "amrwb": "libopencore_amrwb"}
#: Formats that count their frames, behind which FFmpeg takes tags for damage.
COUNTED = frozenset({"wv"})
#: Formats that give each packet its time, so that a step in it is a loss.
TIMED = frozenset({"asf", "nut"})
#: Formats of whose length FFmpeg takes a guess, or knows that of other streams.
GUESSED_LENGTH = frozenset({"asf", "avi", "voc"})
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
