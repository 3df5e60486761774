"""Reads a list of paths: a text file with one a line, or the column `path` of a CSV or Parquet file."""

import io
from collections.abc import Iterator
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc

from ser_core.errors import SourceError, one_line
from ser_core.source.listing import SLICE_ROWS, escape_path, iter_sorted
from ser_core.storage import Location, one_line_faults, read

LIST_SUFFIXES = frozenset({"txt", "csv", "parquet"})
_COLUMN = "path"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_path_list(location: Location, suffix: str) -> Iterator[str]:
    """The paths of a list, escaped as in the tables, each once, sorted; blank ones are left out.

    Raises:
        SourceError: the file cannot be read as what its suffix says, or has no column `path`.
    """
    readers = {"txt": _read_text, "csv": _read_csv, "parquet": _read_parquet}
    try:
        with one_line_faults(location, "cannot be read", what="list", raises=SourceError):
            chunks = [_escape(chunk) for chunk in readers[suffix](_open(location))]
    except pa.ArrowException as error:
        raise SourceError(f"list {location}: {one_line(error)}") from error
    column = pa.chunked_array(chunks, pa.large_string())
    return iter_sorted(pa.chunked_array([pc.unique(column)]))


def _open(location: Location) -> IO[bytes]:
    if location.is_s3:
        return io.BytesIO(read(location))
    return open(location.path, "rb")  # noqa: PTH123 - may be no UTF-8


def _escape(raw_paths: list[bytes | None]) -> pa.Array:
    kept = [escape_path(raw) for raw in raw_paths if raw and raw.strip()]
    return pa.array(kept, pa.large_string())


def _read_text(file: IO[bytes]) -> Iterator[list[bytes | None]]:
    with file:
        chunk: list[bytes | None] = []
        for number, line in enumerate(file):
            chunk.append((line.removeprefix(_BYTE_ORDER_MARK) if number == 0 else line).rstrip(b"\r\n"))
            if len(chunk) == SLICE_ROWS:
                yield chunk
                chunk = []
        yield chunk


def _read_csv(file: IO[bytes]) -> Iterator[list[bytes | None]]:
    from pyarrow import csv

    convert = csv.ConvertOptions(include_columns=[_COLUMN], column_types={_COLUMN: pa.binary()})
    parse = csv.ParseOptions(newlines_in_values=True)
    try:
        with file, csv.open_csv(file, parse_options=parse, convert_options=convert) as reader:
            for batch in reader:
                yield batch.column(0).to_pylist()
    except KeyError as error:
        raise _no_column() from error


def _read_parquet(file: IO[bytes]) -> Iterator[list[bytes | None]]:
    import pyarrow.parquet as pq

    with file:
        kinds = [field.type for field in pq.read_schema(file) if field.name == _COLUMN]
        if len(kinds) != 1:
            raise _no_column()
        # A text that is repeated, a million times in a file of a few kilobytes, stays one.
        texts = [_COLUMN] if kinds[0] in {pa.string(), pa.large_string(), pa.binary()} else []
        with pq.ParquetFile(file, read_dictionary=texts) as table:
            for batch in table.iter_batches(SLICE_ROWS, columns=[_COLUMN]):
                yield _texts(batch.column(0).unique())


def _texts(column: pa.Array) -> list[bytes | None]:
    try:
        raw_paths: list[bytes | None] = column.cast(pa.large_binary()).to_pylist()
    except pa.ArrowException as error:
        raise pa.ArrowInvalid(f"its column '{_COLUMN}' holds no texts") from error
    return raw_paths


def _no_column() -> pa.ArrowInvalid:
    return pa.ArrowInvalid(f"it has no column '{_COLUMN}', or two; name the column of paths so")
