"""The Arrow schemas of the two tables of results."""

import pyarrow as pa

from ser_core.records import GAP_TYPE


def prediction_schema(labels: tuple[str, ...]) -> pa.Schema:
    """One row per window; key (path, channel, window_index); partitioned by emotion."""
    return pa.schema(
        [
            pa.field("path", pa.string()),
            pa.field("channel", pa.int32()),
            pa.field("window_index", pa.int64()),
            pa.field("start_seconds", pa.float64()),
            pa.field("end_seconds", pa.float64()),
            pa.field("emotion", pa.string()),
            pa.field("confidence", pa.float32()),
            *(pa.field(f"p_{label}", pa.float32()) for label in labels),
            pa.field("level_dbfs", pa.float32()),
            pa.field("file_version", pa.string()),
            pa.field("model", pa.string()),
        ]
    )


def file_schema(labels: tuple[str, ...]) -> pa.Schema:
    """One row per file (and channel); key (path, channel); partitioned by status."""
    return pa.schema(
        [
            pa.field("path", pa.string()),
            pa.field("channel", pa.int32()),
            pa.field("file_version", pa.string()),
            pa.field("status", pa.string()),
            pa.field("emotion", pa.string()),
            pa.field("confidence", pa.float32()),
            *(pa.field(f"p_{label}", pa.float32()) for label in labels),
            pa.field("num_windows", pa.int64()),
            pa.field("audio_seconds", pa.float64()),
            pa.field("gaps", pa.list_(GAP_TYPE)),
            pa.field("reason", pa.string()),
            pa.field("detail", pa.string()),
            pa.field("retryable", pa.bool_()),
            pa.field("run", pa.int64()),
        ]
    )
