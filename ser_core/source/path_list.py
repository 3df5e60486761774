"""Reads a list of paths: lines, a column of a table, the entries of a manifest, of a Kaldi or a music player's list."""

import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import IO, cast
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from ser_core.errors import SourceError, one_line
from ser_core.source.json_list import PATH_NAMES, iter_json_paths
from ser_core.source.listing import SLICE_ROWS
from ser_core.source.members import CONTAINER_SUFFIXES
from ser_core.source.names import escape_path, suffix_of
from ser_core.source.text_table import (
    MAX_LINE_LENGTH,
    NoListError,
    TextTable,
    iter_lines,
    open_table,
    open_text,
    position_of,
)
from ser_core.storage import Location, one_line_faults, read

#: What people have lists in, or archives, that this program does not read; any other file may be a recording.
FOREIGN_SUFFIXES = frozenset(
    {
        "xls", "xlsx", "ods", "zip", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar", "xml", "yaml", "yml", "html", "pdf",
        "doc", "docx", "ark", "arrow", "feather", "orc", "avro", "pkl", "npy", "npz", "h5", "hdf5", "db", "sqlite",
        "pls", "xspf", "cue", "wpl",
    }
)  # fmt: skip
_GZIP = "gz"
_FILE_URL = "file://"


def is_collection(name: str) -> bool:
    """Whether a file's name says that it names or holds others: a list, a table with audio in it, an archive."""
    return list_kind(name) is not None or suffix_of(name) in CONTAINER_SUFFIXES


def list_kind(name: str) -> str | None:
    """The suffix by which a list of this name is read; None: it is no list."""
    suffix = suffix_of(name)
    if suffix == _GZIP:
        suffix = suffix_of(name[: -len(".gz")])
    return suffix if suffix in LIST_SUFFIXES and (suffix != "parquet" or suffix_of(name) == suffix) else None


def read_path_list(location: Location) -> pa.ChunkedArray:
    """The paths of a list (large_string), escaped as in the tables, each once; blank ones are left out.

    A line that is malformed is given as it is written.

    Raises:
        SourceError: the file cannot be read as what its suffix says, or has no column of paths.
    """
    kind = list_kind(location.name) or ""
    try:
        with one_line_faults(location, "cannot be read", what="list", raises=SourceError), _open(location) as file:
            chunks = [_escaped(chunk) for chunk in _chunks(_READERS[kind](file))]
    except (pa.ArrowException, NoListError) as error:
        raise SourceError(f"list {location}: {one_line(error)}") from error
    return pa.chunked_array([pc.unique(pa.chunked_array(chunks, pa.large_string()))])


def _open(location: Location) -> IO[bytes]:
    # A list's name may be no UTF-8.
    file: IO[bytes] = io.BytesIO(read(location)) if location.is_s3 else open(location.path, "rb")  # noqa: PTH123, SIM115
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if suffix_of(location.name) == _GZIP else file


def _chunks(paths: Iterable[str | bytes]) -> Iterator[Sequence[str | bytes]]:
    """Pieces of a list without repetitions in them: a text that is there a million times takes no memory."""
    iterator = iter(paths)
    try:
        while chunk := list(islice(iterator, SLICE_ROWS)):
            yield list(dict.fromkeys(chunk))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise NoListError("it is no whole gzip file") from error


def _escaped(paths: Sequence[str | bytes]) -> pa.Array:
    return pa.array([escape_path(_raw(path)) for path in paths if path.strip()], pa.large_string())


def _raw(path: str | bytes) -> bytes:
    if isinstance(path, bytes):
        return path
    try:
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # JSON and UTF-16 can spell halves of characters, of which no name is made.
        return path.encode("utf-8", "backslashreplace")


def _read_lines(file: IO[bytes]) -> Iterator[str | bytes]:
    """One path a line, or, as `find -print0` writes them, one before each NUL, which then ends the file too."""
    head = file.read(MAX_LINE_LENGTH)
    file.seek(0)
    text = open_text(file, newline="\n")
    is_by_nuls = b"\0" in head and (b"\n" not in head or _last_byte(file) == b"\0")
    if is_by_nuls and text.encoding == "utf-8":
        yield from _before_nuls(file)
    else:
        yield from (line.rstrip("\r\n") for line in iter_lines(text))


def _last_byte(file: IO[bytes]) -> bytes:
    """The last byte of a file, which is left at its start; of one that is packed nobody looks."""
    if isinstance(file, gzip.GzipFile):
        return b""
    file.seek(max(0, file.seek(0, io.SEEK_END) - 1))
    last = file.read(1)
    file.seek(0)
    return last


def _before_nuls(file: IO[bytes]) -> Iterator[bytes]:
    held = b""
    while piece := file.read(MAX_LINE_LENGTH):
        *whole, held = (held + piece).split(b"\0")
        yield from whole
        if len(held) >= MAX_LINE_LENGTH:
            yield held
            held = b""
    yield held


def _read_table(file: IO[bytes]) -> Iterator[str]:
    table = open_table(file, PATH_NAMES)
    index = column_of_paths(table)
    for row in table.rows:
        if index < len(row.fields) and not any(row.fields[len(table.names) :]):
            yield row.fields[index].strip() if table.is_padded else row.fields[index]
        else:
            yield row.text


def column_of_paths(table: TextTable) -> int:
    """Which column has the paths.

    Raises:
        NoListError: none has, or two of one name.
    """
    for name in PATH_NAMES:
        index = table.index_of(name)
        if index is not None:
            return index
    raise _no_column(table.names)


def _read_scp(file: IO[bytes]) -> Iterator[str]:
    """Kaldi's `wav.scp`: an utterance's name, then its file, or a command that ends in a pipe."""
    for line in iter_lines(open_text(file, newline="\n")):
        yield line.strip().split(maxsplit=1)[-1] if line.strip() else ""


def _read_playlist(file: IO[bytes]) -> Iterator[str]:
    for line in iter_lines(open_text(file, newline="\n")):
        if line.startswith("#EXT-X-"):
            raise NoListError("it is a stream in pieces (HLS), no list of recordings; give one file of the whole")
        if not line.startswith("#"):
            path = line.strip()
            yield unquote(path.removeprefix(_FILE_URL)) if path.startswith(f"{_FILE_URL}/") else path


def _read_parquet(file: IO[bytes]) -> Iterator[bytes]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as opened:
        schema = opened.schema_arrow
    name = _parquet_column(schema)
    kind = schema.field(name).type
    # A text that is repeated, a million times in a file of a few kilobytes, stays one.
    texts = [name] if kind in {pa.string(), pa.large_string(), pa.binary()} else []
    # Hugging Face's data sets have the path beside the bytes.
    column = f"{name}.path" if pa.types.is_struct(kind) else name
    try:
        with pq.ParquetFile(file, read_dictionary=texts) as table:
            for batch in table.iter_batches(SLICE_ROWS, columns=[column]):
                values = pc.struct_field(batch.column(0), "path") if column != name else batch.column(0)
                yield from filter(None, _texts(values.unique(), column))
    except OSError as error:
        if error.errno is not None:
            raise
        # So Arrow says that a part of the file is damaged.
        raise NoListError(one_line(error)) from error


def _parquet_column(schema: pa.Schema) -> str:
    names = [name.strip().lower() for name in schema.names]
    for name in PATH_NAMES:
        position = position_of(name, names)
        if position is not None:
            field = schema.field(position)
            if not pa.types.is_struct(field.type) or field.type.get_field_index("path") >= 0:
                return str(field.name)
    raise _no_column(schema.names)


def _texts(column: pa.Array, name: str) -> list[bytes | None]:
    try:
        raw_paths: list[bytes | None] = column.cast(pa.large_binary()).to_pylist()
    except pa.ArrowException as error:
        raise NoListError(f"its column '{name}' holds no texts") from error
    return raw_paths


def _no_column(names: Sequence[str]) -> NoListError:
    has = ", ".join(repr(name[:40]) for name in names[:8]) + (" ..." if len(names) > 8 else "")
    return NoListError(f"it has no column 'path', only {has}; names that are known: {', '.join(PATH_NAMES)}")


_READERS: dict[str, Callable[[IO[bytes]], Iterable[str | bytes]]] = {
    **dict.fromkeys(("txt", "lst", "list"), _read_lines),
    **dict.fromkeys(("csv", "tsv", "psv"), _read_table),
    **dict.fromkeys(("json", "jsonl", "ndjson"), iter_json_paths),
    "scp": _read_scp,
    **dict.fromkeys(("m3u", "m3u8"), _read_playlist),
    "parquet": _read_parquet,
}
LIST_SUFFIXES = frozenset(_READERS)
