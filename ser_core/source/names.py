"""Names of files: their suffixes, which of them are nobody's recordings, and texts of names that are no UTF-8."""

import re

_FOREIGN_BYTE = re.compile("[\udc80-\udcff]")
_ESCAPE = re.compile(rb"\\(?:\\|x([0-9a-f]{2}))")
#: A name that begins with a dot, but for that of the folder above.
_DOTTED = re.compile(r"(?:^|/)\.(?!\.(?:/|$))")
#: What file servers, Windows, Linux and unpacked archives of a Mac leave about, beside names that begin with a dot.
_LITTER = re.compile(
    r"(?i)(?:^|/)(?:@eaDir|@Recycle|@Recently-Snapshot|#recycle|#snapshot|\$RECYCLE\.BIN|System Volume Information"
    r"|lost\+found|__MACOSX|Thumbs\.db|ehthumbs\.db|desktop\.ini)(?:/|$)|@SynoEAStream$"
)

#: Suffixes of recordings: each such file is a row, one that cannot be read too.
AUDIO_SUFFIXES = (
    "wav", "wave", "rf64", "bwf", "w64", "flac", "aif", "aiff", "aifc", "au", "snd", "caf", "mp3", "mp2", "mpga",
    "ogg", "oga", "opus", "spx", "m4a", "m4b", "aac", "adts", "amr", "awb", "wma", "wv", "tta", "ape", "tak", "ac3",
    "eac3", "ec3", "dts", "thd", "mka", "weba", "ra", "qcp", "dss", "ds2", "dsf", "dff", "mpc", "aax", "3ga", "m4r",
    "m2a", "mpa", "f4a", "nut", "shn", "sbc", "dvf", "msv",
    # Telephony and speech laboratories.
    "g722", "g729", "gsm", "ul", "ulaw", "mulaw", "pcmu", "al", "alaw", "pcma", "sln", "sln16", "vox", "nist", "sph",
    "voc", "ircam", "sf", "paf", "pvf", "svx", "avr",
)  # fmt: skip
#: Suffixes of videos, whose sound is scored.
VIDEO_SUFFIXES = (
    "mp4", "m4v", "mov", "3gp", "3gpp", "3g2", "mkv", "webm", "avi", "asf", "wmv", "flv", "ogv", "mpg", "mpeg", "vob",
    "m2ts", "mts", "ts", "mxf", "f4v",
)  # fmt: skip


def escape_path(raw: bytes) -> str:
    """The text of a raw name. Texts sort as their bytes do, and a longer path's prefix stays its prefix."""
    text = raw.decode("utf-8", "surrogateescape").replace("\\", "\\\\")
    if text.isascii():
        return text
    return _FOREIGN_BYTE.sub(lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", text)


def unescape_path(path: str) -> bytes:
    """The raw name that `escape_path` made this text of."""
    raw = path.encode()
    if b"\\" not in raw:
        return raw
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]) if match[1] else b"\\", raw)


def suffix_of(path: str) -> str:
    """What follows the last dot of a file's name, in lower case, "" if there is none."""
    stem, dot, suffix = path.rsplit("/", 1)[-1].rpartition(".")
    return suffix.lower() if dot and stem else ""


def is_hidden(path: str) -> bool:
    """Whether a name in the path begins with a dot, or is of those that systems and storage boxes leave about."""
    is_dotted = (path.startswith(".") or "/." in path) and _DOTTED.search(path) is not None
    return is_dotted or _LITTER.search(path) is not None
