"""Tar archives, as shards of data sets: their members' names and where their bytes lie; nothing is unpacked."""

import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc

from ser_core.faults import Fault
from ser_core.records import PLAN_SCHEMA
from ser_core.source.listing import NO_FILE, NO_SUFFIX, SLICE_ROWS, PlannedFile, Skipped
from ser_core.source.members import Member
from ser_core.source.names import escape_path, is_hidden

_PIECE_BYTES = 2**20
#: Headers with names and notes are shorter.
_MAX_HEADER_BYTES = 2**20
#: Why a member is left out.
_REPLACED = "an archive holds a later one of the same name"


class _BreaksOffError(Exception):
    """An archive is damaged, or ends, at a byte."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class _Headers:
    """A file as tarfile reads it: headers alone, none of which may say that it takes all memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        if size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError("a header is too long")
        return self._file.read(size)

    def seek(self, position: int) -> int:
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()


def require_archive(file: BinaryIO) -> None:
    """Look at the first member.

    Raises:
        Fault: it is no tar archive, or it cannot be read.
    """
    with suppress(_BreaksOffError):
        next(_members(file, file.seek(0, os.SEEK_END)), None)


def list_archive(file: BinaryIO, container: PlannedFile, wants: Callable[[str], bool], skipped: Skipped) -> pa.Table:
    """Rows of the plan (PLAN_SCHEMA) for the members that are wanted, and for the archive itself where it breaks off.

    Of several members of one name the last counts, as it does for who unpacks; the others are counted as left out.

    Raises:
        Fault: it is no tar archive, or it cannot be read.
    """
    tables = [PLAN_SCHEMA.empty_table()]
    rows: list[PlannedFile] = []
    for row in _rows(file, container, wants, skipped):
        rows.append(row)
        if len(rows) == SLICE_ROWS:
            tables.append(pa.Table.from_pylist([one._asdict() for one in rows], PLAN_SCHEMA))
            rows = []
    tables.append(pa.Table.from_pylist([one._asdict() for one in rows], PLAN_SCHEMA))
    return _last_of_each_name(pa.concat_tables(tables), skipped)


def _rows(
    file: BinaryIO, container: PlannedFile, wants: Callable[[str], bool], skipped: Skipped
) -> Iterator[PlannedFile]:
    def place(start: int, size: int) -> Member:
        return Member(container.path, container.version, start, size)

    modified = container.modified
    try:
        for member in _members(file, container.size):
            name = "/".join(part for part in escape_path(os.fsencode(member.name)).split("/") if part not in {"", "."})
            path = f"{container.path}/{name}"
            is_file = member.isfile() and not member.issparse()
            if member.isdir() or not name:
                continue
            if is_hidden(name):
                skipped.num_hidden += 1
            elif not wants(name):
                skipped.count(name, NO_SUFFIX)
            elif not (is_file or member.issym() or member.islnk() or member.issparse()):
                skipped.count(name, NO_FILE)
            elif is_file:
                yield PlannedFile(path, member.size, place(member.offset_data, member.size).version_text(), modified)
            else:
                yield PlannedFile(path, -1, place(member.offset, 0).without_data().version_text(), modified)
    except _BreaksOffError as error:
        yield PlannedFile(container.path, -1, place(error.position, 0).broken().version_text(), modified)


def _members(file: BinaryIO, size: int) -> Iterator[tarfile.TarInfo]:
    """The members whose bytes are all there, of archives that are joined too."""
    position = 0
    while position < size or not position:
        file.seek(position)
        try:
            headers = cast("IO[bytes]", _Headers(file))
            with tarfile.open(fileobj=headers, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
                while (member := archive.next()) is not None:
                    # It keeps all that it has read.
                    archive.members = []  # type: ignore[attr-defined]
                    end = member.offset_data + (member.size if member.isfile() and not member.issparse() else 0)
                    if end > size:
                        raise _BreaksOffError(size)
                    position = -(-end // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                    yield member
                position = archive.offset
        except tarfile.TarError as error:
            if not position:
                raise Fault("unreadable", "it is no tar archive without compression") from error
            raise _BreaksOffError(position) from error
        position = _after_end(file, position)


def _after_end(file: BinaryIO, position: int) -> int:
    """Where the bytes go on that are not zero after an archive's end, which is zeros."""
    begin = position
    file.seek(position)
    while piece := file.read(_PIECE_BYTES):
        kept = piece.lstrip(b"\0")
        if kept:
            position += (len(piece) - len(kept)) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
            break
        position += len(piece)
    if position == begin:
        raise _BreaksOffError(position)
    return position


def _last_of_each_name(table: pa.Table, skipped: Skipped) -> pa.Table:
    numbered = table.append_column("number", pa.array(range(len(table)), pa.int64()))
    kept = numbered.group_by("path").aggregate([("number", "max")])["number_max"].combine_chunks()
    if len(kept) < len(table):
        for path in table["path"].filter(pc.invert(pc.is_in(numbered["number"], kept))).to_pylist():
            skipped.count(path, _REPLACED)
    return table.take(kept)
