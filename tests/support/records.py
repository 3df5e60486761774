"""Makes predicted records for tests of what comes after the predictor."""

from typing import Any

import numpy as np
import pyarrow as pa

from ser_core.records import PREDICTED_SCHEMA

LABELS = ("calm", "angry", "sad")


def record(path: str, file_id: int, windows: int = 1, **values: Any) -> dict[str, Any]:
    """One record of `windows` windows of 3 s; the probabilities follow from file and window alone."""
    first = values.pop("first_window", 0)
    index = list(range(first, first + windows))
    odds = np.array([[1.0 + (file_id + window) % 3, 1.0, 1.0 + window % 2] for window in index])
    probabilities = odds / odds.sum(axis=1, keepdims=True) if windows else odds
    return {
        "file_id": file_id,
        "path": path,
        "file_version": "v1",
        "channel": -1,
        "segment_index": 0,
        "is_last": True,
        "window_index": index,
        "end_seconds": [3.0 * (window + 1) for window in index],
        "level_dbfs": [-20.0] * windows,
        "speech_share": [1.0] * windows,
        "is_judged": [True] * windows,
        "speech_seconds": 3.0 * windows,
        "modified": None,
        "audio_seconds": 3.0 * windows,
        "gaps": [],
        "probabilities": probabilities.reshape(-1).tolist(),
    } | values


def failed(path: str, file_id: int, reason: str = "unreadable") -> dict[str, Any]:
    return record(path, file_id, windows=0, reason=reason, detail="no audio in it")


def table(*records: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(records), PREDICTED_SCHEMA)
