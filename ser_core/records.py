"""What passes between stages: the plan, what is pending, and records that are loaded and predicted.

A *record* is one segment of one file: up to 512 consecutive windows of one channel. Records of one file are numbered
0, 1, 2 ... over all its channels, and the highest one has `is_last`; a file is whole when records 0..n with `is_last`
at n have arrived. Records add up: a channel's gaps are joined, its `audio_seconds` summed, and the first `reason` that
is not null is the channel's, with its `detail`; without one the first `detail` is, a note.
Shape letters: N windows, J of them that are judged, C labels, E values of an embedding.
"""

from typing import Any

import pyarrow as pa

#: One row per planned file, sorted by path. `version` is the etag, or "<size>-<mtime ns>"; "" when not found.
#: `modified` is the time of the file or object, of a member that of its container; null where it is not known.
PLAN_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("modified", pa.timestamp("us", "UTC")),
    ]
)

GAP_TYPE = pa.struct([pa.field("start_seconds", pa.float64()), pa.field("end_seconds", pa.float64())])

_FILE_FIELDS = [
    #: Index of the file in what is pending; the driver takes each once, so a repeated record is harmless.
    pa.field("file_id", pa.int64(), nullable=False),
    pa.field("path", pa.string(), nullable=False),
    pa.field("file_version", pa.string(), nullable=False),
    pa.field("modified", pa.timestamp("us", "UTC")),
]
#: Named as the attributes of `audio.Segment` that they are taken from.
_SEGMENT_FIELDS = [
    pa.field("channel", pa.int32(), nullable=False),
    pa.field("segment_index", pa.int32(), nullable=False),
    pa.field("is_last", pa.bool_(), nullable=False),
    pa.field("window_index", pa.list_(pa.int64()), nullable=False),
    pa.field("end_seconds", pa.list_(pa.float64()), nullable=False),
    pa.field("level_dbfs", pa.list_(pa.float32()), nullable=False),
    pa.field("audio_seconds", pa.float64(), nullable=False),
    pa.field("gaps", pa.list_(GAP_TYPE), nullable=False),
]
_FAULT_FIELDS = [
    pa.field("reason", pa.string()),
    pa.field("detail", pa.string()),
    #: A fault of the service, not of this file: the run must stop. Such a record carries nothing else.
    pa.field("service_fault", pa.string()),
]
_SPEECH_FIELDS = [
    #: Of each window the share of its audio that is speech; null where nobody listened.
    pa.field("speech_share", pa.list_(pa.float64()), nullable=False),
    #: Whether each window goes to the model.
    pa.field("is_judged", pa.list_(pa.bool_()), nullable=False),
    #: Seconds of speech in the audio of all windows; null where nobody listened.
    pa.field("speech_seconds", pa.float64()),
]
_RECORD_FIELDS = [*_FILE_FIELDS, *_SEGMENT_FIELDS, *_SPEECH_FIELDS, *_FAULT_FIELDS]
#: Of a record without windows.
_NOTHING_HEARD: dict[str, Any] = {"speech_share": [], "is_judged": [], "speech_seconds": None}

#: The pending part of the plan, with each file's index in it: the input of a loader.
PENDING_SCHEMA = PLAN_SCHEMA.append(pa.field("file_id", pa.int64(), nullable=False))

#: Loader -> predictor. `payload` is float32, C order: of the J windows that are judged the log-mel (J, num_rows,
#: num_frames), or, with features on the device, pcm (J, window_samples).
LOADED_SCHEMA = pa.schema([*_RECORD_FIELDS, pa.field("payload", pa.large_binary(), nullable=False)])

#: Predictor -> driver. `probabilities` is float32 (J, C), C order, flattened; `embeddings` is float16 (J, E), C order,
#: or null where none are kept.
PREDICTED_SCHEMA = pa.schema(
    [
        *_RECORD_FIELDS,
        pa.field("probabilities", pa.list_(pa.float32()), nullable=False),
        pa.field("embeddings", pa.large_binary()),
    ]
)


def record(row: dict[str, Any], segment: Any, **values: Any) -> dict[str, Any]:
    """A record, as a row for a table.

    Args:
        row: the file, of PENDING_SCHEMA.
        segment: the `audio.Segment`.
        values: `payload` or `probabilities`, what was heard where there are windows, perhaps `service_fault`.
    """
    known = row | {"file_version": row["version"]}
    of_file = {field.name: known[field.name] for field in _FILE_FIELDS}
    of_segment = {field.name: getattr(segment, field.name) for field in _SEGMENT_FIELDS}
    details = [*([segment.fault.detail] if segment.fault else []), *([segment.note] if segment.note else [])]
    of_fault = {"reason": segment.fault and segment.fault.reason, "detail": "; ".join(details) or None}
    return of_file | of_segment | of_fault | _NOTHING_HEARD | values
