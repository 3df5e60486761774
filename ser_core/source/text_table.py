"""Tables as text, as people have them: any separator, header and encoding that names itself, lines that are broken."""

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import IO, NamedTuple

#: A longer line is several; so a file without line ends does not fill memory.
MAX_LINE_LENGTH = 2**20
#: A quote that is open for more lines was never meant to be.
_MAX_LINES_PER_ROW = 20
_HEAD_BYTES = 4096
_SEPARATORS = ",;\t|"
#: Byte-order marks, and what is done about characters that are none: bytes of names in UTF-8 are kept.
_MARKS = {
    b"\xff\xfe\x00\x00": ("utf-32", "replace"),
    b"\x00\x00\xfe\xff": ("utf-32", "replace"),
    b"\xff\xfe": ("utf-16", "replace"),
    b"\xfe\xff": ("utf-16", "replace"),
    b"\xef\xbb\xbf": ("utf-8-sig", "surrogateescape"),
    b"": ("utf-8", "surrogateescape"),
}


class NoListError(ValueError):
    """A file that cannot be read as the list or table that it should be; the message does not name the file."""


def open_text(file: IO[bytes], newline: str = "") -> io.TextIOWrapper:
    """Open a file at its start as text: UTF-8, or what its byte-order mark says; bytes that are none are surrogates.

    Raises:
        NoListError: it seems to be UTF-16 without a byte-order mark.
    """
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    encoding, errors = next(kind for mark, kind in _MARKS.items() if head.startswith(mark))
    if encoding == "utf-8" and len(head) >= 8:
        for bytes_of_half in (head[0::2], head[1::2]):
            if bytes_of_half.count(0) > 0.7 * len(bytes_of_half):
                raise NoListError("it seems to be UTF-16 without a byte-order mark; save it as UTF-8")
    return io.TextIOWrapper(file, encoding=encoding, errors=errors, newline=newline)


def iter_lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Lines with their ends; too long ones in pieces."""
    return iter(lambda: text.readline(MAX_LINE_LENGTH), "")


class Row(NamedTuple):
    """A row of a table."""

    #: From 1; the header is none.
    number: int
    fields: Sequence[str]
    #: The line, or lines, that it is written in, without the end.
    text: str


@dataclass(frozen=True)
class TextTable:
    """A table with a header, read row by row."""

    #: In lower case, without spaces around; `rows` may have fewer or more fields.
    names: list[str]
    #: The separator, and whether there are spaces around it, which then belong to no value.
    separator: str
    is_padded: bool
    rows: Iterator[Row]

    def index_of(self, name: str) -> int | None:
        """Where a column is, None if it is not there.

        Raises:
            NoListError: there are two of this name.
        """
        return position_of(name, self.names)


def position_of(name: str, names: Sequence[str]) -> int | None:
    """Where a column is among the names of all, None if it is not there.

    Raises:
        NoListError: there are two of this name.
    """
    if names.count(name) > 1:
        raise NoListError(f"the column '{name}' is there twice; leave one")
    return names.index(name) if name in names else None


def open_table(file: IO[bytes], known: Collection[str]) -> TextTable:
    """Read a table's header: the separator is the one by which most columns have a known name.

    A first line `sep=;`, as Excel has it, says the separator. A row that cannot be told from the next is its first line
    alone; empty lines are none.

    Args:
        file: at its start.
        known: names of columns that are wanted, in lower case.

    Raises:
        NoListError: it holds no line, or is no text.
    """
    lines = iter_lines(open_text(file))
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise NoListError("it is empty")
    named = re.fullmatch(r"\s*\"?sep=(.)\"?\s*", first, re.IGNORECASE)
    if named:
        first = next((line for line in lines if line.strip()), "")

    def header_by(separator: str) -> list[str]:
        found, _ = next(_rows_of(iter([first]), separator), ([], ""))
        return found

    def num_known(separator: str) -> int:
        return len({name.strip().lower() for name in header_by(separator)} & set(known))

    separator = named[1] if named else max(_SEPARATORS, key=num_known)
    # A header may go over several lines too.
    rows = _rows_of(chain([first], lines), separator)
    header, _ = next(rows, ([], ""))
    return TextTable(
        names=[name.strip().lower() for name in header],
        separator=separator,
        is_padded=any(name != name.strip() for name in header),
        rows=(Row(number, fields, text) for number, (fields, text) in enumerate(rows, start=1)),
    )


class _Lines:
    """Hands lines to a reader of CSV, and keeps those of the row that it is at."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.of_row: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self.of_row) == _MAX_LINES_PER_ROW:
            raise csv.Error("a quote is left open")
        line = next(self._lines)
        self.of_row.append(line)
        return line

    def give_back_all_but_first(self) -> str:
        first, *others = self.of_row
        self._lines = chain(others, self._lines)
        return first


def _rows_of(plain_lines: Iterator[str], separator: str) -> Iterator[tuple[list[str], str]]:
    """The fields of each row, and its text."""
    lines = _Lines(plain_lines)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        lines.of_row = []
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            line = lines.give_back_all_but_first().rstrip("\r\n")
            reader = csv.reader(lines, delimiter=separator, strict=True)
            yield line.split(separator), line
            continue
        if fields:
            yield fields, "".join(lines.of_row).rstrip("\r\n")
