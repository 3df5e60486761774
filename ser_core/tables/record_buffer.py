"""Records that wait, in few and compact tables however small those are that come."""

import pyarrow as pa

#: Number of tables that are joined into one: each record is copied a few times, however many there are.
_JOINED = 32
#: What all records of a file say alike.
_OF_FILE = ("path", "file_version")


class RecordBuffer:
    """Takes tables of one schema, and gives all their rows back in the order in which they came.

    A table of one record takes 13 KB, of which its values are 0.2 KB; and a long file may have as many as windows.
    """

    def __init__(self) -> None:
        #: Joined tables of tables; those of a later level are older.
        self._levels: list[list[pa.Table]] = []

    def add(self, records: pa.Table) -> None:
        """Take a table, which must not be a slice of another: that would stay as long as it does."""
        table = records
        for level in self._levels:
            level.append(table)
            if len(level) < _JOINED:
                return
            table = pa.concat_tables(level).combine_chunks()
            level.clear()
        self._levels.append([table])

    def take(self) -> pa.Table:
        """All rows, and none is kept; an error where none has come."""
        tables = [table for level in reversed(self._levels) for table in level]
        self._levels.clear()
        return pa.concat_tables(tables)

    def __bool__(self) -> bool:
        return any(self._levels)


def packed(records: pa.Table) -> pa.Table:
    """Records (PREDICTED_SCHEMA) as they wait: with each text of a file once."""
    return _as(records, pa.dictionary(pa.int32(), pa.string()))


def unpacked(records: pa.Table) -> pa.Table:
    """Packed records as they came."""
    return _as(records, pa.string())


def _as(records: pa.Table, kind: pa.DataType) -> pa.Table:
    for name in _OF_FILE:
        field = pa.field(name, kind, nullable=False)
        records = records.set_column(records.schema.get_field_index(name), field, records[name].cast(kind))
    return records
