"""The rows of one table of an output that somebody reads: what it held after one commit, by the paths of its rows."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ser_core.errors import OutputError
from ser_core.storage import Location
from ser_core.tables.delta_log import DeltaLog
from ser_core.tables.encoding import ROWS_PER_GROUP
from ser_core.tables.output_logs import parts_at
from ser_core.tables.parts import Part, damaged, output_faults, read_part
from ser_core.tables.schema import filled

#: Bytes of parts that are kept for the next paths, which are mostly in the same ones.
_KEPT_BYTES = 2**28
#: Numbers of row groups of a part; None: all.
Groups = list[int] | None
#: What to do about a part that is damaged: whoever reads does not mend.
_ADVICE = "see 'ser verify'"


class StoredRows:
    """Nothing is written, and a run may be on."""

    def __init__(self, log: DeltaLog, commit: int) -> None:
        """
        Args:
            log: the table, which was looked at.
            commit: the number of the commit after which it is read.
        """
        self._folder = log.location
        self._schema = log.schema
        self._column = log.partition_column
        with output_faults(log.location):
            #: In the order of their paths.
            self.parts = sorted(parts_at(log, commit), key=lambda part: (part.first_path, part.path))
        self._kept: OrderedDict[Part, pq.ParquetFile] = OrderedDict()

    def schema_of(self, columns: list[str]) -> pa.Schema:
        """These columns, of which the partition column may be one."""
        types = {**{field.name: field.type for field in self._schema}, self._column: pa.string()}
        return pa.schema([(name, types[name]) for name in columns])

    @cached_property
    def pieces(self) -> list[tuple[Part, Groups]]:
        """What threads may read apart: each row group, but those of a part on S3, which comes whole, together."""
        if self._folder.is_s3:
            return [(part, None) for part in self.parts]
        pieces: list[tuple[Part, Groups]] = []
        for part in self.parts:
            with self._open_in_pieces(part) as opened:
                pieces += [(part, [group]) for group in range(opened.num_row_groups)]
        return pieces

    def of_part(
        self, part: Part, columns: list[str], rows_at_a_time: int = ROWS_PER_GROUP, groups: Groups = None
    ) -> Iterator[pa.Table]:
        """These columns of a part, so many rows at a time at most; from any thread.

        Of a local part one row group is in memory, compressed: its pages are held against their checksums as they come.

        Args:
            part: which.
            columns: of these names.
            rows_at_a_time: most rows of a table.
            groups: which of its row groups.
        """
        schema = self.schema_of(columns)
        with self._open_in_pieces(part) as opened:
            known = [name for name in columns if name in opened.schema_arrow.names]
            for group in range(opened.num_row_groups) if groups is None else groups:
                for rows in opened.iter_batches(rows_at_a_time, [group], known, use_threads=False):
                    yield filled(pa.Table.from_batches([rows]), schema)

    def of_paths(self, paths: pa.Array, columns: list[str]) -> Iterator[pa.Table]:
        """These columns of the rows of some paths, in no order, a row group's at a time.

        Args:
            paths: sorted, each once.
            columns: the partition column may be one of them.
        """
        if not len(paths):
            return
        first, last = paths[0].as_py(), paths[-1].as_py()
        for part in self.parts:
            if part.first_path > last or part.last_path < first:
                continue
            of_part = _between(paths, part.first_path, part.last_path)
            if len(of_part):
                for rows in self._of_part(part, of_part, [name for name in columns if name != self._column]):
                    yield self._with_partition(rows, part).select(columns)

    def sorted_of_paths(self, paths: pa.Array, columns: list[str], by: list[str]) -> pa.Table:
        """The same at once, sorted by columns."""
        found = [*self.of_paths(paths, columns)]
        rows = pa.concat_tables(found or [self.schema_of(columns).empty_table()])
        return rows.sort_by([(name, "ascending") for name in by]).combine_chunks()

    def _of_part(self, part: Part, paths: pa.Array, columns: list[str]) -> Iterator[pa.Table]:
        opened = self._keep(part)
        for group in range(opened.num_row_groups):
            if not _may_hold(opened, group, paths):
                continue
            is_wanted = pc.is_in(self._read(part, opened, group, ["path"])["path"], value_set=paths)
            if pc.any(is_wanted).as_py():
                rows = self._read(part, opened, group, columns)
                yield rows if pc.all(is_wanted).as_py() else rows.filter(is_wanted)

    def _with_partition(self, rows: pa.Table, part: Part) -> pa.Table:
        return rows.append_column(self._column, pa.repeat(pa.scalar(part.partition), rows.num_rows))

    def _read(self, part: Part, opened: pq.ParquetFile, group: int, columns: list[str]) -> pa.Table:
        """A row group; null where the part was written before there was such a column."""
        known = [name for name in columns if name in opened.schema_arrow.names]
        schema = pa.schema([self._schema.field(name) for name in columns])
        with output_faults(self._folder.join(part.path)):
            return filled(opened.read_row_group(group, known, use_threads=False), schema)

    def _keep(self, part: Part) -> pq.ParquetFile:
        """A part, opened, with others of late."""
        if part not in self._kept:
            self._kept[part] = self._open(part)
        self._kept.move_to_end(part)
        while len(self._kept) > 1 and sum(kept.num_bytes for kept in self._kept) > _KEPT_BYTES:
            self._kept.popitem(last=False)
        return self._kept[part]

    @contextmanager
    def _open_in_pieces(self, part: Part) -> Iterator[pq.ParquetFile]:
        file = self._folder.join(part.path)
        if file.is_s3:
            yield self._open(part)
            return
        with _faults(file), pa.OSFile(file.path) as data:
            if data.size() != part.num_bytes:
                raise damaged(file, _ADVICE)
            yield pq.ParquetFile(data, page_checksum_verification=True)

    def _open(self, part: Part) -> pq.ParquetFile:
        file = self._folder.join(part.path)
        with _faults(file):
            return read_part(file, part, advice=_ADVICE)


@contextmanager
def _faults(file: Location) -> Iterator[None]:
    with output_faults(file):
        try:
            yield
        except FileNotFoundError as error:
            raise OutputError(f"{file} is gone: a run took it away meanwhile; run the same command again") from error


def _between(paths: pa.Array, first: str, last: str) -> pa.Array:
    return paths.filter(pc.and_(pc.greater_equal(paths, first), pc.less_equal(paths, last)))


def _may_hold(opened: pq.ParquetFile, group: int, paths: pa.Array) -> bool:
    """Whether a row group may hold one of the paths, by the bounds that it says."""
    column = next(number for number, leaf in enumerate(opened.schema) if leaf.path == "path")
    said = opened.metadata.row_group(group).column(column).statistics
    if said is None or not said.has_min_max:
        return True
    return len(_between(paths, said.min, said.max)) > 0
