"""Parquet files that hold the recordings themselves, as Hugging Face's data sets do: a column of bytes and paths."""

import os
import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate, count, islice
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa

from ser_core.faults import Fault
from ser_core.records import PLAN_SCHEMA
from ser_core.source.listing import PlannedFile
from ser_core.source.members import Member
from ser_core.source.names import AUDIO_SUFFIXES, VIDEO_SUFFIXES, escape_path, suffix_of

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_BYTES, _PATH = "bytes", "path"
#: Words in the names of columns that hold recordings.
_AUDIO_WORDS = frozenset({"audio", "wav", "wave", "flac", "mp3", "speech", "sound", "voice", "recording", "utterance"})
#: The first bytes of recordings, by which a column of another name is known.
_AUDIO_START = re.compile(
    rb"(?:RIFF|RIFX|RF64|BW64).{4}WAVE|riff\x2e\x91\xcf\x11|fLaC|OggS|ID3|\xff[\xe2-\xff]|FORM.{4}AIF|\.snd|caff"
    rb"|.{4}ftyp(?:M4A|mp4|iso|3gp|qt|dash)|\x1a\x45\xdf\xa3|\x30\x26\xb2\x75|#!AMR|wvpk|\x0b\x77",
    re.DOTALL,
)
_LOOK_ROWS = 100
_BINARY_TYPES = frozenset({pa.binary(), pa.large_binary()})
_BUFFER_BYTES = 2**20
_NAMES_AT_ONCE = 10_000
#: Rows are read whole, so that the plan need not say more of one.
_MAX_PLANNED_BYTES = 2**25


def open_parquet(file: BinaryIO) -> "pq.ParquetFile":
    """Open a file so that its columns are read in pieces."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False)


def bytes_column(opened: "pq.ParquetFile") -> str | None:
    """The column that holds recordings, as Parquet names it ("audio.bytes"); None if there is none.

    Its name says so, or its first value: pictures lie in such columns too.
    """
    schema = opened.schema_arrow
    structs: list[str] = [
        f"{field.name}.{_BYTES}"
        for field in schema
        if pa.types.is_struct(field.type)
        and field.type.get_field_index(_BYTES) >= 0
        and field.type.field(_BYTES).type in _BINARY_TYPES
    ]
    plain: list[str] = [field.name for field in schema if field.type in _BINARY_TYPES]
    named = [column for column in (*structs, *plain) if _is_named_audio(column)]
    if named:
        return named[0]
    others = [*structs, *(name for name in plain if name.lower() == _BYTES)]
    return next((column for column in others if _begins_with_audio(opened, column)), None)


def _is_named_audio(column: str) -> bool:
    name = column.removesuffix(f".{_BYTES}")
    return not _AUDIO_WORDS.isdisjoint(re.split(r"[^a-z0-9]+", name.lower()))


def _begins_with_audio(opened: "pq.ParquetFile", column: str) -> bool:
    """Whether the first value of a column is a recording, by its path or by its bytes."""
    path = _path_column(opened.schema_arrow, column)
    batches = opened.iter_batches(1, columns=[column, path] if path else [column], use_threads=False)
    for batch in islice(batches, _LOOK_ROWS):
        value = batch.column(0).to_pylist()[0]
        row = value if isinstance(value, dict) else {_BYTES: value}
        if row.get(_BYTES):
            is_named = suffix_of(str(row.get(_PATH) or "")) in (*AUDIO_SUFFIXES, *VIDEO_SUFFIXES)
            return is_named or _AUDIO_START.match(row[_BYTES]) is not None
    return False


def holds_audio(opened: "pq.ParquetFile") -> bool:
    """Whether there is a column of recordings that is not empty in all rows."""
    column = bytes_column(opened)
    if column is None:
        return False
    for chunk in _chunks(opened, column):
        statistics = chunk.statistics
        if statistics is None or not statistics.has_null_count or statistics.null_count < chunk.num_values:
            return True
    return False


def _chunks(opened: "pq.ParquetFile", column: str) -> Iterator[Any]:
    for index in range(opened.metadata.num_row_groups):
        group = opened.metadata.row_group(index)
        for number in range(group.num_columns):
            if group.column(number).path_in_schema == column:
                yield group.column(number)


def list_rows(file: BinaryIO, container: PlannedFile) -> pa.Table:
    """A row of the plan (PLAN_SCHEMA) for each row: `<container>/<row, 8 digits>/<name>`; its size is a mean.

    Raises:
        Fault: it holds no audio.
    """
    opened = open_parquet(file)
    column = bytes_column(opened)
    if column is None or not holds_audio(opened):
        raise Fault("unreadable", "it has no column of audio")
    num_rows = max(1, opened.metadata.num_rows)
    size = min(sum(chunk.total_uncompressed_size for chunk in _chunks(opened, column)) // num_rows, _MAX_PLANNED_BYTES)
    tables = [PLAN_SCHEMA.empty_table()]
    numbers = count()
    for names in _names(opened, column):
        rows = []
        for name, number in zip(names, numbers, strict=False):
            version = Member(container.path, container.version, number, container.size).version_text()
            path = f"{container.path}/{number:08}{name}"
            rows.append(PlannedFile(path, size, version, container.modified)._asdict())
        tables.append(pa.Table.from_pylist(rows, PLAN_SCHEMA))
    return pa.concat_tables(tables)


def _names(opened: "pq.ParquetFile", column: str) -> Iterator[list[str]]:
    """For each row "/" and its file's name, "" where it has none."""
    path = _path_column(opened.schema_arrow, column)
    if path is None:
        for start in range(0, opened.metadata.num_rows, _NAMES_AT_ONCE):
            yield [""] * min(_NAMES_AT_ONCE, opened.metadata.num_rows - start)
        return
    for batch in opened.iter_batches(_NAMES_AT_ONCE, columns=[path], use_threads=False):
        yield [_name(row[_PATH]) if row else "" for row in batch.column(0).to_pylist()]


def _path_column(schema: pa.Schema, column: str) -> str | None:
    """The column of paths beside that of bytes, as Parquet names it."""
    outer = column.rpartition(".")[0]
    has_paths = outer and schema.field(outer).type.get_field_index(_PATH) >= 0
    return f"{outer}.{_PATH}" if has_paths else None


def _name(path: object) -> str:
    last = re.split(r"[/\\]", str(path or ""))[-1]
    return f"/{escape_path(os.fsencode(last))}" if last else ""


class RowReader:
    """Reads recordings of one Parquet file by their rows; forward is quick, back reads a row group again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._opened = open_parquet(file)
        column = bytes_column(self._opened) or ""
        self._columns = [column, path] if (path := _path_column(self._opened.schema_arrow, column)) else [column]
        counts = [self._opened.metadata.row_group(index).num_rows for index in range(self._opened.num_row_groups)]
        self._starts = list(accumulate(counts, initial=0))
        self._position = -1
        self._group = -1
        self._batches: Iterator[pa.RecordBatch] = iter(())

    def read(self, row: int) -> bytes | Fault:
        """The bytes of a row, or why it has none.

        Raises:
            Fault: the table is damaged there, or the file is of another version.
        """
        group = bisect_right(self._starts, row) - 1
        if group != self._group or row < self._position:
            self._group, self._position = group, self._starts[group]
            self._batches = self._opened.iter_batches(1, row_groups=[group], columns=self._columns, use_threads=False)
        try:
            while True:
                batch = next(self._batches)
                self._position += 1
                if self._position > row:
                    break
        except (pa.ArrowException, StopIteration) as error:
            self._group = -1
            raise Fault("unreadable", "the table is damaged there") from error
        value = batch.column(0).to_pylist()[0]
        data: bytes | None = value.get(_BYTES) if isinstance(value, dict) else value
        if data is None and isinstance(value, dict) and value.get(_PATH):
            return Fault("unsupported", "the row holds no bytes, only the path of a file; give a list of such files")
        return Fault("empty", "the row holds no audio") if data is None else data

    def close(self) -> None:
        """Close the file."""
        self._opened.close(force=True)
        self._file.close()
