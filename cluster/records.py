"""Makes records, each from one row of what is pending (PENDING_SCHEMA): those of loaders, and those of failures."""

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ser_core.faults import Fault
from ser_core.records import PREDICTED_SCHEMA
from ser_core.vocabulary import MIXED_CHANNEL

if TYPE_CHECKING:
    from ser_core.audio import Segment


def segment_record(row: dict[str, Any], segment: "Segment", payload: bytes) -> dict[str, Any]:
    """The record of a segment, its windows as `payload` (see LOADED_SCHEMA)."""
    return empty_record(row) | {
        "channel": segment.channel,
        "segment_index": segment.segment_index,
        "is_last": segment.is_last,
        "window_index": segment.window_index,
        "end_seconds": segment.end_seconds,
        "level_dbfs": segment.level_dbfs,
        "audio_seconds": segment.audio_seconds,
        "gaps": [{"start_seconds": start, "end_seconds": end} for start, end in segment.gaps],
        "payload": payload,
        **_fault_columns(segment.fault),
    }


def failure_record(row: dict[str, Any], failure: Fault) -> dict[str, Any]:
    """The only record of a file that could not be loaded."""
    return empty_record(row) | _fault_columns(failure) | {"payload": b""}


def failure_records(files: pa.Table, fault: Fault) -> pa.Table:
    """Predicted records (PREDICTED_SCHEMA) that give every one of `files` (PENDING_SCHEMA) the same failure."""
    failure = _fault_columns(fault) | {"probabilities": []}
    return pa.Table.from_pylist([empty_record(row) | failure for row in files.to_pylist()], PREDICTED_SCHEMA)


def fault_record(files: pa.Table, message: str) -> dict[str, Any]:
    """A fault of the whole service, met among `files` (PENDING_SCHEMA, at least one)."""
    return empty_record(files.slice(0, 1).to_pylist()[0]) | {"service_fault": message, "payload": b""}


def empty_record(row: dict[str, Any]) -> dict[str, Any]:
    """What every record has, but for `payload` or `probabilities`; no window, no reason."""
    return {
        "file_id": row["file_id"],
        "path": row["path"],
        "file_version": row["version"],
        "channel": MIXED_CHANNEL,
        "segment_index": 0,
        "is_last": True,
        "window_index": [],
        "end_seconds": [],
        "level_dbfs": [],
        "audio_seconds": 0.0,
        "gaps": [],
        "reason": None,
        "detail": None,
        "service_fault": None,
    }


def _fault_columns(fault: Fault | None) -> dict[str, Any]:
    return {"reason": fault.reason, "detail": fault.detail} if fault else {}
