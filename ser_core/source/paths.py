"""How a file's name is written in tables: UTF-8, other bytes as \\xHH, a backslash doubled; the exact way back."""

import re

_FOREIGN_BYTE = re.compile("[\udc80-\udcff]")
_ESCAPE = re.compile(rb"\\(?:\\|x([0-9a-f]{2}))")


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
