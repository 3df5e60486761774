"""Parts: the Parquet files of a table. A part is written once, whole, under a name that is never used again."""

import errno
import json
import os
import re
import uuid
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError

from ser_core import storage
from ser_core.errors import DamagedOutputError, OutputError
from ser_core.storage import Location
from ser_core.tables.encoding import encode, rows_of_values
from ser_core.tables.schema import filled

#: Rows of a part that is left alone by compaction; a part read to be rewritten fits in some hundred MB.
ROWS_PER_PART = 2_000_000
#: Values of embeddings in a part: 64 MB.
VALUES_PER_PART = 2**25
#: On S3 a read is mostly waiting.
_READS_IN_FLIGHT = 8
#: The key of both tables as far as they have it: what the rows of a part are sorted by.
KEY_COLUMNS = ("path", "channel", "window_index")
#: What this program's parts are called, relative to their table; nothing else is ever deleted as an orphan part.
PART_PATTERN = re.compile(r"[a-z]+=[^/]+/part-(\d+)-\d+-([0-9a-f]{32})\.parquet")
#: Where the UUID in a part's name tells its version; parts of earlier versions of this program have another.
_VERSION_DIGIT, _WITH_CHECKSUM = 12, "8"


@dataclass(frozen=True)
class Part:
    """A Parquet file of a table: `path` is relative to the table, first and last are of its `path` column."""

    path: str
    num_bytes: int
    num_rows: int
    partition: str
    first_path: str
    last_path: str

    @property
    def run_number(self) -> int:
        """The run that wrote it."""
        name = PART_PATTERN.fullmatch(self.path)
        return int(name[1]) if name else 0

    @property
    def checksum(self) -> int | None:
        """The CRC-32 of its bytes; None of a part of an earlier version or of another program."""
        name = PART_PATTERN.fullmatch(self.path)
        return int(name[2][-8:], 16) if name and name[2][_VERSION_DIGIT] == _WITH_CHECKSUM else None

    @property
    def is_of_embeddings(self) -> bool:
        """Whether its rows are much larger than those of other tables."""
        return self.path.startswith("encoder=")

    @property
    def stats(self) -> str:
        """Delta's statistics as JSON; readers believe them, so they tell exact bounds or none."""
        bounds = {"minValues": {"path": self.first_path}, "maxValues": {"path": self.last_path}}
        return json.dumps({"numRecords": self.num_rows, **bounds})


#: What to do where this user may not read or write.
WHERE_FORBIDDEN = "change its permissions, or use another output"


@contextmanager
def output_faults(place: Location) -> Iterator[None]:
    """Turns what a broken or unreachable file of an output raises into one line that names the place.

    Raises:
        DamagedOutputError: the file is malformed.
        OutputError: the file is unreadable, or no file.
        ServiceError: storage failed as a whole.
    """
    try:
        with storage.faults_of(place):
            yield
    except (OSError, DeltaError, pa.ArrowException) as error:
        # The error's own text may hold a signed URL.
        reason = _reason_of_os(error)
        if reason:
            advice = WHERE_FORBIDDEN if reason == os.strerror(errno.EACCES) else "restore it or use another output"
            raise OutputError(f"{place} cannot be used ({reason}); {advice}") from error
        raise DamagedOutputError(
            f"{place} cannot be used (it is damaged: {type(error).__name__}); restore it, use --restart, or another "
            "output"
        ) from error


def _reason_of_os(error: Exception) -> str | None:
    """What the operating system says; deltalake has its number in its text alone."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    return getattr(error, "strerror", None) or (os.strerror(int(number[1])) if number else None)


class PartStore:
    """Writes and reads the parts of one table, partitioned by one text column that the parts leave out."""

    def __init__(self, table: Location, partition_column: str) -> None:
        self.table = table
        self.partition_column = partition_column
        self._uncommitted: list[str] = []

    def write(self, rows: pa.Table, label: str) -> list[Part]:
        """Store rows as one part per partition value; `label` ("<run>-<commit>") becomes part of their names."""
        return [
            self._write(piece, value, label)
            for value, of_value in self._split(rows)
            for piece in _pieces(_sorted(of_value))
        ]

    def write_one(self, rows: pa.Table, partition: str, label: str) -> Part:
        """Store rows of one partition value (without the partition column) as one part."""
        return self._write(_sorted(rows), partition, label)

    def _write(self, rows: pa.Table, partition: str, label: str) -> Part:
        data = encode(rows)
        path = f"{self.partition_column}={partition}/part-{label}-{_unique_name(data)}.parquet"
        file = self.table.join(path)
        self._uncommitted.append(path)
        with output_faults(file):
            storage.put(file, data)
        first_path, last_path = rows["path"][0].as_py(), rows["path"][-1].as_py()
        return Part(path, len(data), rows.num_rows, partition, first_path, last_path)

    def keep(self) -> None:
        """The parts written so far are in the table's log now."""
        self._uncommitted.clear()

    def discard(self) -> None:
        """Delete the parts written since the last `keep`; what cannot be deleted is left to the next run."""
        while self._uncommitted:
            with suppress(OSError):
                storage.delete(self.table.join(self._uncommitted.pop()))

    def read(self, part: Part, schema: pa.Schema) -> pa.Table:
        """These columns of a part, null where it was written before there was such a column.

        Raises:
            OutputError: the part is gone or damaged.
        """
        file = self.table.join(part.path)
        with output_faults(file):
            try:
                opened = read_part(file, part, advice="restore it or use --restart")
            except FileNotFoundError as error:
                raise OutputError(
                    f"{file} is gone: a newer run replaced it, and this one stops; if no other run is alive, the "
                    "output is damaged: use --restart"
                ) from error
            return filled(opened.read(columns=schema.names), schema)

    def read_all(self, parts: list[Part], schema: pa.Schema) -> Iterator[pa.Table]:
        """These columns of several parts, in their order.

        Raises:
            OutputError: a part is gone or damaged.
        """
        with ThreadPoolExecutor(_READS_IN_FLIGHT if self.table.is_s3 else 1) as pool:
            yield from pool.map(lambda part: self.read(part, schema), parts)

    def _split(self, rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
        values = rows[self.partition_column]
        for value in sorted(pc.unique(values).to_pylist()):
            yield value, rows.filter(pc.equal(values, value)).drop_columns([self.partition_column])


def live_parts(table: DeltaTable, location: Location, partition_column: str) -> list[Part]:
    """The parts that a loaded table names.

    Raises:
        DamagedOutputError: one lies in the folder of another value, or another program added it without the statistics
            that this one goes by.
    """
    actions = pa.table(table.get_add_actions(flatten=True))
    names = ["path", "size_bytes", "num_records", f"partition.{partition_column}", "min.path", "max.path"]
    if not actions.num_rows:
        return []
    if not {*names} <= {*actions.column_names} or any(actions[name].null_count for name in names):
        raise DamagedOutputError(
            f"{location}: another program added a part without statistics; restore it or use --restart"
        )
    parts = [Part(*values) for values in zip(*(actions[name].to_pylist() for name in names), strict=True)]
    for part in parts:
        if PART_PATTERN.fullmatch(part.path) and not part.path.startswith(f"{partition_column}={part.partition}/"):
            raise DamagedOutputError(
                f"{location}: its log has {part.path} as of {partition_column} {part.partition}; restore it or use "
                "--restart"
            )
    return parts


def changed_columns(table: DeltaTable, columns: list[pa.Field]) -> list[str]:
    """The names of those of these columns that a loaded table has with another type."""
    types = {field.name: field.type for field in table.schema().fields}
    ours = Schema.from_arrow(pa.schema(columns)).fields
    return [field.name for field in ours if types.get(field.name, field.type) != field.type]


def is_intact(part: Part, data: bytes) -> bool:
    """Whether these are the bytes that the part was written with, as far as its log entry and its name tell."""
    return len(data) == part.num_bytes and part.checksum in {None, zlib.crc32(data)}


def damaged(file: Location, advice: str) -> DamagedOutputError:
    """What is said of a part with other bytes than it was written with."""
    return DamagedOutputError(f"{file} is damaged: its bytes have changed; {advice}")


def read_part(file: Location, part: Part, *, advice: str) -> pq.ParquetFile:
    """A part, read whole and held against its checksum, or, of an earlier version, to be held against its pages'.

    Raises:
        DamagedOutputError: its bytes have changed.
        FileNotFoundError: it is gone.
    """
    data = storage.read(file)
    if not is_intact(part, data):
        raise damaged(file, advice)
    return pq.ParquetFile(pa.BufferReader(data)) if part.checksum is not None else open_part(data)


def open_part(data: bytes) -> pq.ParquetFile:
    """Reads a part, whose pages are held against their checksums where they have any."""
    return pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)


def _pieces(rows: pa.Table) -> Iterator[pa.Table]:
    """Sorted rows in the pieces that become parts: all together, unless they are embeddings."""
    most = rows_of_values(rows, VALUES_PER_PART)
    for first in range(0, rows.num_rows, most):
        yield rows.slice(first, most)


def _sorted(rows: pa.Table) -> pa.Table:
    return rows.sort_by([(name, "ascending") for name in KEY_COLUMNS if name in rows.column_names])


def _unique_name(data: bytes) -> str:
    """A UUID of version 8 that ends in the data's CRC-32: pages' checksums leave the Parquet footer out."""
    name = uuid.uuid4().hex
    return f"{name[:_VERSION_DIGIT]}{_WITH_CHECKSUM}{name[_VERSION_DIGIT + 1 : -8]}{zlib.crc32(data):08x}"
