"""The columns of the two tables of results, declared here alone.

A column that is added here is null in the rows that an output has already, and every run that goes on there adds it
to the tables by itself. A column keeps its name and its type for ever. How to add one: docs/contributing.md.
"""

import pyarrow as pa

from ser_core.records import GAP_TYPE

#: One row per window; key (path, channel, window_index); partitioned by emotion. The p_<label> follow `confidence`.
PREDICTION_COLUMNS = [
    pa.field("path", pa.string()),
    pa.field("channel", pa.int32()),
    pa.field("window_index", pa.int64()),
    pa.field("start_seconds", pa.float64()),
    pa.field("end_seconds", pa.float64()),
    pa.field("emotion", pa.string()),
    pa.field("confidence", pa.float32()),
    pa.field("level_dbfs", pa.float32()),
    pa.field("file_version", pa.string()),
    pa.field("model", pa.string()),
]

#: One row per file (and channel); key (path, channel); partitioned by status. The p_<label> follow `confidence`.
FILE_COLUMNS = [
    pa.field("path", pa.string()),
    pa.field("channel", pa.int32()),
    pa.field("file_version", pa.string()),
    pa.field("status", pa.string()),
    pa.field("emotion", pa.string()),
    pa.field("confidence", pa.float32()),
    pa.field("num_windows", pa.int64()),
    pa.field("audio_seconds", pa.float64()),
    pa.field("gaps", pa.list_(GAP_TYPE)),
    pa.field("reason", pa.string()),
    pa.field("detail", pa.string()),
    pa.field("retryable", pa.bool_()),
    pa.field("run", pa.int64()),
]


def prediction_schema(labels: tuple[str, ...]) -> pa.Schema:
    """The columns of predictions for a model of these labels."""
    return _with_probabilities(PREDICTION_COLUMNS, labels)


def file_schema(labels: tuple[str, ...]) -> pa.Schema:
    """The columns of files for a model of these labels."""
    return _with_probabilities(FILE_COLUMNS, labels)


def filled(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows with exactly the columns of a schema, in its order; null where they have none."""
    columns = [
        rows[field.name] if field.name in rows.column_names else pa.nulls(rows.num_rows, field.type) for field in schema
    ]
    return pa.table(columns, names=schema.names).cast(schema)


def _with_probabilities(columns: list[pa.Field], labels: tuple[str, ...]) -> pa.Schema:
    probabilities = [pa.field(f"p_{label}", pa.float32()) for label in labels]
    place = 1 + [column.name for column in columns].index("confidence")
    return pa.schema([*columns[:place], *probabilities, *columns[place:]])
