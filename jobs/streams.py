"""The standard streams of the command: what goes through them is plain text, and what does not arrive is told.

Whatever brought a text (a file's name, a model's card, a server's answer, a library's log line), no terminal gets its
control characters: an escape sequence could move the cursor, retitle the window, or type for its user.
"""

import io
import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from ser_core.errors import TERMINAL_COLOUR, OutputError, SerError, one_line, printable

_PLAIN_PARTS = re.compile(r"[^\n\t]+")


class ReaderGoneError(SerError):
    """Whoever read standard output has closed it: the command ends without a word, as others do."""

    exit_code = 128 + signal.SIGPIPE


class PlainStream(io.TextIOBase):
    """Writes plain text to another stream: printable characters, spaces, tabs and line breaks.

    What its encoding cannot hold is written as an escape too.
    """

    def __init__(self, stream: TextIO | None, *, must_arrive: bool, is_raw: bool = False) -> None:
        """
        Args:
            stream: where the text goes; None: it is closed.
            must_arrive: whether a text that cannot be written is an error, or else nothing at all.
            is_raw: whether the text is taken as it is, since its writer draws.
        """
        self._stream = stream
        self._must_arrive = must_arrive
        self._is_raw = is_raw

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    def raw(self) -> "PlainStream":
        """The same stream for one that draws, as a progress bar does."""
        return PlainStream(self._stream, must_arrive=self._must_arrive, is_raw=True)

    def write(self, text: str) -> int:
        """Write a text.

        Raises:
            OutputError: it must arrive, and cannot.
            ReaderGoneError: it must arrive, and nobody reads any more.
        """
        plain = text if self._is_raw else _plain(text)
        encodable = plain.encode(self.encoding, "backslashreplace").decode(self.encoding)
        # Who asks what kind of stream this is writes nothing, and would take an error for an answer.
        if encodable:
            self._try(lambda stream: stream.write(encodable))
        return len(text)

    def flush(self) -> None:
        """Write what is held back; raises as `write` does."""
        self._try(lambda stream: stream.flush())

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def _try(self, act: Callable[[TextIO], object]) -> None:
        try:
            if self._stream is not None:
                act(self._stream)
                return
            why: BaseException = OSError("it is closed")
        except (OSError, ValueError) as error:
            why = error
            self._drop()
        if self._must_arrive:
            if isinstance(why, BrokenPipeError):
                raise ReaderGoneError("")
            raise OutputError(f"standard output cannot be written ({one_line(why)}); send it elsewhere")

    def _drop(self) -> None:
        """Python would try again to write what is held back, and end with an error of its own."""
        with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - quick at every end
            os.dup2(nowhere.fileno(), self.fileno())


def _plain(text: str) -> str:
    return _PLAIN_PARTS.sub(lambda match: printable(match[0]), TERMINAL_COLOUR.sub("", text))


@contextmanager
def plain_streams() -> Iterator[None]:
    """Within it, what is written to standard output and standard error is plain."""
    before = sys.stdout, sys.stderr
    sys.stdout = PlainStream(sys.stdout, must_arrive=True)
    sys.stderr = PlainStream(sys.stderr, must_arrive=False)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def open_streams() -> None:
    """Set the process's own streams right, before anything else opens a file; what libraries log is one line each.

    A closed descriptor would become the first file that is opened, and what others write to standard error would go
    there. Standard error gets a descriptor of its own, so that Ray's core may be silenced at number 2.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    encoding = sys.stderr.encoding if sys.stderr is not None else None
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding=encoding, errors="backslashreplace")
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_OneLine())
    warnings.formatwarning = lambda message, category, *_: f"{category.__name__}: {printable(str(message))}\n"
