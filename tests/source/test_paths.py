"""Names of any bytes as text, and exactly back."""

import random

import pytest

from ser_core.source.names import escape_path, unescape_path


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"a/b c.wav", "a/b c.wav"),
        ("é日\U0001f600".encode(), "é日\U0001f600"),
        (b"a\xff\x80.wav", "a\\xff\\x80.wav"),
        (b"back\\slash", "back\\\\slash"),
        (b"\\xff", "\\\\xff"),
        (b"\\\xff", "\\\\\\xff"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
        (b"new\nline'\"=%", "new\nline'\"=%"),
    ],
)
def test_known_names(raw: bytes, path: str) -> None:
    assert escape_path(raw) == path
    assert unescape_path(path) == raw


def test_random_bytes_come_back_and_are_utf8() -> None:
    generator = random.Random(1)
    alphabet = b"ax\\/\xff\xc3\xa9\x80f0" + bytes(range(256))
    for _ in range(20_000):
        raw = bytes(generator.choices(alphabet, k=generator.randrange(12)))
        path = escape_path(raw)
        path.encode("utf-8", "strict")
        assert unescape_path(path) == raw
