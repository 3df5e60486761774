"""Rows -> the bytes of a Parquet file: how they are grouped, compressed and laid out, so that they are read soon."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROWS_PER_GROUP = 131_072
#: Values of embeddings in a row group: 16 MB when it is read.
VALUES_PER_GROUP = 2**22
_VALUES_COLUMN = "embedding"


def _without_nulls(rows: pa.Table) -> pa.Table:
    """Embeddings whose type says that no number is missing, unless one is: they are read in three quarters of the time.

    All readers see the table's type, which is that of Delta and allows for nulls.
    """
    column = rows.schema.get_field_index(_VALUES_COLUMN)
    if pc.list_flatten(rows[column]).null_count:
        return rows
    element = rows.schema.field(column).type.value_field.with_nullable(False)
    return rows.set_column(column, _VALUES_COLUMN, rows[column].cast(pa.list_(element)))


def encode(rows: pa.Table) -> bytes:
    """A whole Parquet file."""
    sink = pa.BufferOutputStream()
    # Dictionaries pay for the repeated texts; probabilities never repeat.
    texts = [field.name for field in rows.schema if pa.types.is_string(field.type)]
    options: dict[str, Any] = {"compression": "zstd", "row_group_size": ROWS_PER_GROUP, "use_dictionary": texts}
    if _VALUES_COLUMN in rows.column_names:
        rows = _without_nulls(rows)
        # Split into bytes, of which half are nearly all zeros, they are smaller and read sooner.
        values = f"{_VALUES_COLUMN}.list.element"
        options |= {"row_group_size": rows_of_values(rows, VALUES_PER_GROUP), "use_byte_stream_split": [values]}
    pq.write_table(rows, sink, write_page_checksum=True, **options)
    encoded: bytes = sink.getvalue().to_pybytes()
    return encoded


def rows_of_values(rows: pa.Table, num_values: int) -> int:
    """How many of these rows have so many values of embeddings; all, where they have none."""
    num_rows: int = max(1, rows.num_rows)
    if _VALUES_COLUMN not in rows.column_names or not rows.num_rows:
        return num_rows
    of_row: int = pc.list_value_length(rows[_VALUES_COLUMN][:1])[0].as_py()
    return max(1, num_values // max(1, of_row))
