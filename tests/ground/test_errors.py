"""An error as one line, as messages hold it."""

import pytest

from ser_core.errors import one_line, printable, without_password


class _TaskError(Exception):
    """As Ray's: what a task raised, with a traceback for text."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("\x1b[36mray::task()\x1b[39m\nTraceback ...")
        self.cause = cause


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(13, "Permission denied", "/a"), "Permission denied"),
        (PermissionError(), "access is denied"),
        (PermissionError("no\nway"), "no"),
        (ValueError(), "ValueError"),
        (ValueError("\n \x1b[31m what? \x1b[0m\nmore"), "what?"),
        (_TaskError(ValueError("odd\nindeed")), "ValueError: odd"),
    ],
)
def test_an_error_is_one_line(error: Exception, line: str) -> None:
    assert one_line(error) == line


def test_a_name_is_printable() -> None:
    assert printable("/tmp/é \udcff\n\x1b[1m\x9b\\.wav") == "/tmp/é \\xff\\x0a\\x1b[1m\\x9b\\.wav"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("--address ray://me:secret@head:10001: no", "--address ray://***@head:10001: no"),
        ("the cluster at me:secret@10.0.0.1:6379 is named", "the cluster at ***@10.0.0.1:6379 is named"),
        ("http://token@[::1]:8265/", "http://***@[::1]:8265/"),
        ("s3://bucket/a:b@c:1.wav", "s3://bucket/a:b@c:1.wav"),
        ("/home/me@work/x.wav: no", "/home/me@work/x.wav: no"),
    ],
)
def test_passwords_in_addresses_are_not_shown(text: str, shown: str) -> None:
    assert without_password(text) == shown
