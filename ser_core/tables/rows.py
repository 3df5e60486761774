"""Predicted records -> rows of the tables, whole files only.

Shape letters: R records, W windows, J windows that are judged, G groups (one channel of one file), C labels,
E values of an embedding.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ser_core.aggregation import aggregate, log_probability_sums
from ser_core.tables.row_adaptation import RowAdaptation, numbered
from ser_core.tables.schema import file_schema, prediction_schema
from ser_core.vocabulary import NO_SPEECH, RETRYABLE_REASONS

IntArray = npt.NDArray[np.int64]
#: What a file's row has the sum of, over its records.
_SUMMED = frozenset({"audio_seconds"})


@dataclass(frozen=True, kw_only=True)
class RowSettings:
    """What every row of a run shares."""

    labels: tuple[str, ...]
    #: Name and content hash of the model.
    model: str
    hop_seconds: float
    run_number: int
    #: None: a window's answer is the model's.
    adaptation: RowAdaptation | None = None
    #: Whether the windows that are judged have rows with their embeddings.
    has_embeddings: bool = False


@dataclass(frozen=True)
class Rows:
    """Rows of whole files, ready to be committed together."""

    predictions: pa.Table
    files: pa.Table
    #: But for the column `encoder`, which is the same in all rows of an output; None: it keeps none.
    embeddings: pa.Table | None = None


def make_rows(records: pa.Table, settings: RowSettings) -> Rows:
    """Rows of the tables from the records of whole files.

    Args:
        records: PREDICTED_SCHEMA, all records of each file, a file's records in order of `segment_index`.
        settings: what every row shares.
    """
    records = records.combine_chunks().sort_by([("file_id", "ascending"), ("channel", "ascending")])
    # The number of each record's (file, channel).
    group_R = numbered(records["file_id"].to_numpy(), records["channel"].to_numpy())
    first_G = np.flatnonzero(np.diff(group_R, prepend=-1))
    windows = _Windows.of(records, settings)
    if settings.adaptation is not None:
        windows = windows.adapted(settings.adaptation, records, group_R)
    channels = _Channels.of(windows, group_R, first_G)
    return Rows(
        windows.rows(records, settings),
        _file_rows(records, group_R, first_G, channels, settings),
        windows.embedding_rows(records) if settings.has_embeddings else None,
    )


@dataclass(frozen=True)
class _Windows:
    """The windows of all records, one after the other."""

    record_W: IntArray
    index_W: IntArray
    start_W: npt.NDArray[np.floating]
    end_W: npt.NDArray[np.floating]
    #: NaN where nobody listened.
    speech_share_W: npt.NDArray[np.float64]
    is_judged_W: npt.NDArray[np.bool_]
    probabilities_JC: npt.NDArray[np.float32]

    @classmethod
    def of(cls, records: pa.Table, settings: RowSettings) -> "_Windows":
        counts_R = pc.list_value_length(records["window_index"]).to_numpy()
        index_W = _flat(records, "window_index").astype(np.int64)
        probabilities = _flat(records, "probabilities").astype(np.float32)
        is_judged_W = _flat(records, "is_judged").astype(bool)
        return cls(
            record_W=np.repeat(np.arange(records.num_rows), counts_R),
            index_W=index_W,
            start_W=index_W * np.float64(settings.hop_seconds),
            end_W=_flat(records, "end_seconds").astype(np.float64),
            speech_share_W=_flat(records, "speech_share").astype(np.float64),
            is_judged_W=is_judged_W,
            probabilities_JC=probabilities.reshape(is_judged_W.sum(), len(settings.labels)),
        )

    def adapted(self, adaptation: RowAdaptation, records: pa.Table, group_R: IntArray) -> "_Windows":
        """The same with adapted probabilities."""
        record_J, index_J = self.record_W[self.is_judged_W], self.index_W[self.is_judged_W]
        adapted_JC = adaptation.adapt(records, group_R, record_J, index_J, self.probabilities_JC)
        return replace(self, probabilities_JC=adapted_JC)

    @property
    def weight_W(self) -> npt.NDArray[np.floating]:
        """Seconds that each window counts for its file: of speech, or all of them where nobody listened."""
        return (self.end_W - self.start_W) * np.where(np.isnan(self.speech_share_W), 1.0, self.speech_share_W)

    def rows(self, records: pa.Table, settings: RowSettings) -> pa.Table:
        def of_records(name: str) -> object:
            """A list has a value for each window; what is no list is the same for all windows of a record."""
            values = records[name]
            return _flat(records, name) if pa.types.is_list(values.type) else values.take(pa.array(self.record_W))

        probabilities_WC = np.zeros((len(self.index_W), len(settings.labels)), np.float32)
        probabilities_WC[self.is_judged_W] = self.probabilities_JC
        columns: dict[str, object] = {
            "start_seconds": self.start_W,
            "speech_share": pa.array(self.speech_share_W.astype(np.float32), from_pandas=True),
            **_label_columns(probabilities_WC, settings.labels, self.is_judged_W),
            "model": pa.repeat(settings.model, len(self.index_W)),
        }
        return _table(columns, prediction_schema(settings.labels), of_records)

    def embedding_rows(self, records: pa.Table) -> pa.Table:
        """A row for each window that is judged."""
        record_J = pa.array(self.record_W[self.is_judged_W])
        values = np.frombuffer(b"".join(records["embeddings"].drop_null().to_pylist()), np.float16)
        num_values = len(values) // max(1, len(record_J))
        offsets = pa.array(np.arange(len(record_J) + 1) * num_values, pa.int32())
        of_records = {name: records[name].take(record_J) for name in ("path", "channel", "file_version")}
        lists = pa.ListArray.from_arrays(offsets, pa.array(values))
        return pa.table(of_records | {"window_index": self.index_W[self.is_judged_W], "embedding": lists})


@dataclass(frozen=True)
class _Channels:
    """What the windows of each file (and channel) come to."""

    num_windows_G: IntArray
    #: Whether any of them is judged; the rest says nothing where none is.
    is_judged_G: npt.NDArray[np.bool_]
    probabilities_GC: npt.NDArray[np.float64]
    #: Of the seconds that count, the part of the windows of each emotion.
    share_GC: npt.NDArray[np.float64]

    @classmethod
    def of(cls, windows: _Windows, group_R: IntArray, first_G: IntArray) -> "_Channels":
        group_W = group_R[windows.record_W]
        group_J, weight_J = group_W[windows.is_judged_W], windows.weight_W[windows.is_judged_W]
        sums_GX = log_probability_sums(windows.probabilities_JC, weight_J, group_J, len(first_G))
        seconds_GC = np.zeros((len(first_G), windows.probabilities_JC.shape[1]))
        np.add.at(seconds_GC, (group_J, windows.probabilities_JC.argmax(axis=1)), weight_J)
        is_judged_G = np.bincount(group_J, minlength=len(first_G)) > 0
        return cls(
            num_windows_G=np.bincount(group_W, minlength=len(first_G)),
            is_judged_G=is_judged_G,
            probabilities_GC=aggregate(sums_GX),
            share_GC=seconds_GC / np.where(is_judged_G, sums_GX[:, -1], 1.0)[:, np.newaxis],
        )


def _file_rows(
    records: pa.Table, group_R: IntArray, first_G: IntArray, channels: _Channels, settings: RowSettings
) -> pa.Table:
    def of_records(name: str) -> object:
        """What adds up is summed; the rest is the same in all records of a group."""
        values = records[name]
        return np.add.reduceat(values.to_numpy(), first_G) if name in _SUMMED else values.take(pa.array(first_G))

    gaps = _gaps(records, first_G)
    why_G, said_G = _first_valid(records["reason"], group_R, first_G), _first_valid(records["detail"], group_R, first_G)
    said_G = np.where(why_G < 0, said_G, why_G)
    reason = records["reason"].take(pa.array(why_G, mask=why_G < 0))
    is_failed_G = channels.num_windows_G == 0
    # What is null is NaN in numpy: nobody listened.
    speech_G = np.add.reduceat(records["speech_seconds"].to_numpy(), first_G)
    has_gap_G = pc.list_value_length(gaps).to_numpy() > 0
    columns: dict[str, object] = {
        "status": np.where(is_failed_G, "failed", np.where(has_gap_G, "partial", "scored")),
        **_label_columns(channels.probabilities_GC, settings.labels, channels.is_judged_G, is_failed_G),
        **_columns("share_", channels.share_GC, settings.labels, ~channels.is_judged_G),
        "num_windows": channels.num_windows_G,
        "speech_seconds": pa.array(speech_G, mask=is_failed_G | np.isnan(speech_G)),
        "gaps": gaps,
        "reason": reason,
        "detail": records["detail"].take(pa.array(said_G, mask=said_G < 0)),
        "retryable": pc.is_in(reason, value_set=pa.array(sorted(RETRYABLE_REASONS))),
        "run": pa.repeat(settings.run_number, len(first_G)),
    }
    return _table(columns, file_schema(settings.labels), of_records)


def _first_valid(values: pa.ChunkedArray, group_R: IntArray, first_G: IntArray) -> IntArray:
    """The first record of each group whose value is not null; -1 where there is none."""
    valid_R = np.flatnonzero(values.is_valid().to_numpy())
    whose_G, first = np.unique(group_R[valid_R], return_index=True)
    found_G = np.full(len(first_G), -1)
    found_G[whose_G] = valid_R[first]
    return found_G


def _label_columns(
    probabilities_XC: npt.NDArray[np.floating],
    labels: tuple[str, ...],
    is_judged_X: npt.NDArray[np.bool_],
    is_failed_X: npt.NDArray[np.bool_] | None = None,
) -> dict[str, object]:
    """emotion, confidence and p_<label>; without speech the first says so and the others are null, of failed all."""
    best_X = probabilities_XC.argmax(axis=1)
    confidence_X = probabilities_XC[np.arange(len(best_X)), best_X].astype(np.float32)
    emotion_X = np.where(is_judged_X, np.array(labels, dtype=object)[best_X], NO_SPEECH)
    return {
        "emotion": pa.array(emotion_X, pa.string(), mask=is_failed_X),
        "confidence": pa.array(confidence_X, mask=~is_judged_X),
        **_columns("p_", probabilities_XC, labels, ~is_judged_X),
    }


def _columns(
    prefix: str, values_XC: npt.NDArray[np.floating], labels: tuple[str, ...], is_null_X: npt.NDArray[np.bool_]
) -> dict[str, object]:
    """A float32 column for each label."""
    return {
        f"{prefix}{label}": pa.array(values_XC[:, index].astype(np.float32), mask=is_null_X)
        for index, label in enumerate(labels)
    }


def _gaps(records: pa.Table, first_G: IntArray) -> pa.ListArray:
    """The gaps of each group's records, joined."""
    counts_R = pc.list_value_length(records["gaps"]).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(np.add.reduceat(counts_R, first_G))])
    values = pc.list_flatten(records["gaps"]).combine_chunks()
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _flat(records: pa.Table, name: str) -> npt.NDArray[np.generic]:
    values: npt.NDArray[np.generic] = pc.list_flatten(records[name]).to_numpy()
    return values


def _table(columns: dict[str, object], schema: pa.Schema, of_records: Callable[[str], object]) -> pa.Table:
    """A column that is not computed is the one that the records have under its name."""
    values = {name: columns[name] if name in columns else of_records(name) for name in schema.names}
    return pa.table(values).cast(schema)
