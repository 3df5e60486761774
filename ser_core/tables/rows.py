"""Predicted records -> rows of the two tables, whole files only.

Shape letters: R records, W windows, G groups (one channel of one file), C labels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ser_core.aggregation import aggregate, log_probability_sums
from ser_core.tables.schema import file_schema, prediction_schema
from ser_core.vocabulary import RETRYABLE_REASONS

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


@dataclass(frozen=True)
class Rows:
    """Rows of whole files, ready to be committed together."""

    predictions: pa.Table
    files: pa.Table


@dataclass(kw_only=True)
class Totals:
    """What has been scored so far."""

    num_files: int = 0
    num_failed: int = 0
    num_windows: int = 0
    audio_seconds: float = 0.0


class Assembler:
    """Holds records back until their file is whole, and takes each file once.

    Execution is at-least-once: after a node is lost a record may come again. Files are numbered 0 to `num_files` - 1,
    and a record of a file that is done, or that is held already, is dropped. `totals` counts on.
    """

    def __init__(self, settings: RowSettings, num_files: int, totals: Totals) -> None:
        self._settings = settings
        self._done = np.zeros(num_files, dtype=bool)
        self._whole: list[pa.Table] = []
        self._held: dict[int, dict[int, pa.Table]] = {}
        self.num_ready_windows = 0
        self._totals = totals

    def missing_F(self) -> IntArray:
        """The numbers (`file_id`) of the files that have not become whole, ascending."""
        return np.flatnonzero(~self._done)

    def add(self, records: pa.Table) -> None:
        """Take records (PREDICTED_SCHEMA) in any order."""
        file_ids_R = records["file_id"].to_numpy()
        alone_R = records["is_last"].to_numpy() & (records["segment_index"].to_numpy() == 0) & ~self._done[file_ids_R]
        index_of_alone = np.flatnonzero(alone_R)
        first = np.unique(file_ids_R[index_of_alone], return_index=True)[1]
        self._accept(records.take(pa.array(index_of_alone[np.sort(first)])))
        for row in np.flatnonzero(~self._done[file_ids_R]):
            if not self._done[file_ids_R[row]]:
                self._hold(records.slice(int(row), 1))
        self._held = {file_id: held for file_id, held in self._held.items() if not self._done[file_id]}

    def take(self) -> Rows | None:
        """The rows of every whole file not taken before; None if there is none."""
        if not self._whole:
            return None
        records = pa.concat_tables(self._whole)
        self._whole, self.num_ready_windows = [], 0
        return make_rows(records, self._settings)

    def _hold(self, record: pa.Table) -> None:
        file_id = record["file_id"][0].as_py()
        segments = self._held.setdefault(file_id, {})
        segments.setdefault(record["segment_index"][0].as_py(), record)
        last = max(segments)
        if segments[last]["is_last"][0].as_py() and len(segments) == last + 1:
            self._accept(pa.concat_tables([segments[index] for index in range(last + 1)]))

    def _accept(self, records: pa.Table) -> None:
        if not records.num_rows:
            return
        channels_GX = np.stack([records["file_id"].to_numpy(), records["channel"].to_numpy()], axis=1)
        channels_GX, group_R = np.unique(channels_GX, axis=0, return_inverse=True)
        file_ids_F = np.unique(channels_GX[:, 0])
        self._done[file_ids_F] = True
        self._whole.append(records)
        num_windows_G = np.bincount(group_R, weights=pc.list_value_length(records["window_index"]).to_numpy())
        self.num_ready_windows += int(num_windows_G.sum())
        self._totals.num_files += len(file_ids_F)
        # A file counts by its worst channel.
        self._totals.num_failed += len(np.unique(channels_GX[num_windows_G == 0, 0]))
        self._totals.num_windows += int(num_windows_G.sum())
        self._totals.audio_seconds += pc.sum(records["audio_seconds"]).as_py()


def make_rows(records: pa.Table, settings: RowSettings) -> Rows:
    """Rows of the two tables from the records of whole files.

    Args:
        records: PREDICTED_SCHEMA, all records of each file, a file's records in order of `segment_index`.
        settings: what every row shares.
    """
    records = records.combine_chunks().sort_by([("file_id", "ascending"), ("channel", "ascending")])
    group_R = _group(records)
    first_G = np.flatnonzero(np.diff(group_R, prepend=-1))
    num_groups = len(first_G)
    windows = _Windows.of(records, settings)
    sums_GC = log_probability_sums(windows.probabilities_WC, windows.durations_W, group_R[windows.record_W], num_groups)
    num_windows_G = np.bincount(group_R[windows.record_W], minlength=num_groups)
    files = _file_rows(records, group_R, first_G, num_windows_G, aggregate(sums_GC), settings)
    return Rows(windows.rows(records, settings), files)


def _group(records: pa.Table) -> IntArray:
    """The number of each record's (file, channel), 0, 1, 2 ... in the order of the records."""
    file_id_R = records["file_id"].to_numpy()
    channel_R = records["channel"].to_numpy()
    new_R = np.ones(len(file_id_R), dtype=bool)
    new_R[1:] = (np.diff(file_id_R) != 0) | (np.diff(channel_R) != 0)
    return np.cumsum(new_R) - 1


@dataclass(frozen=True)
class _Windows:
    """The windows of all records, one after the other."""

    record_W: IntArray
    index_W: IntArray
    start_W: npt.NDArray[np.floating]
    end_W: npt.NDArray[np.floating]
    probabilities_WC: npt.NDArray[np.float32]

    @classmethod
    def of(cls, records: pa.Table, settings: RowSettings) -> "_Windows":
        counts_R = pc.list_value_length(records["window_index"]).to_numpy()
        index_W = _flat(records, "window_index").astype(np.int64)
        probabilities = _flat(records, "probabilities").astype(np.float32)
        return cls(
            record_W=np.repeat(np.arange(records.num_rows), counts_R),
            index_W=index_W,
            start_W=index_W * np.float64(settings.hop_seconds),
            end_W=_flat(records, "end_seconds").astype(np.float64),
            probabilities_WC=probabilities.reshape(len(index_W), len(settings.labels)),
        )

    @property
    def durations_W(self) -> npt.NDArray[np.floating]:
        return self.end_W - self.start_W

    def rows(self, records: pa.Table, settings: RowSettings) -> pa.Table:
        def of_records(name: str) -> object:
            """A list has a value for each window; what is no list is the same for all windows of a record."""
            values = records[name]
            return _flat(records, name) if pa.types.is_list(values.type) else values.take(pa.array(self.record_W))

        columns: dict[str, object] = {
            "start_seconds": self.start_W,
            **_label_columns(self.probabilities_WC, settings.labels, None),
            "model": pa.repeat(settings.model, len(self.index_W)),
        }
        return _table(columns, prediction_schema(settings.labels), of_records)


def _file_rows(
    records: pa.Table,
    group_R: IntArray,
    first_G: IntArray,
    num_windows_G: IntArray,
    probabilities_GC: npt.NDArray[np.float64],
    settings: RowSettings,
) -> pa.Table:
    def of_records(name: str) -> object:
        """What adds up is summed; the rest is the same in all records of a group."""
        values = records[name]
        return np.add.reduceat(values.to_numpy(), first_G) if name in _SUMMED else values.take(pa.array(first_G))

    gaps = _gaps(records, first_G)
    why_G, said_G = _first_valid(records["reason"], group_R, first_G), _first_valid(records["detail"], group_R, first_G)
    said_G = np.where(why_G < 0, said_G, why_G)
    reason = records["reason"].take(pa.array(why_G, mask=why_G < 0))
    has_gap_G = pc.list_value_length(gaps).to_numpy() > 0
    columns: dict[str, object] = {
        "status": np.where(num_windows_G == 0, "failed", np.where(has_gap_G, "partial", "scored")),
        **_label_columns(probabilities_GC, settings.labels, num_windows_G == 0),
        "num_windows": num_windows_G,
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
    probabilities_XC: npt.NDArray[np.floating], labels: tuple[str, ...], empty_X: npt.NDArray[np.bool_] | None
) -> dict[str, object]:
    """emotion, confidence and p_<label>, null where `empty_X`."""
    best_X = probabilities_XC.argmax(axis=1)
    confidence_X = probabilities_XC[np.arange(len(best_X)), best_X].astype(np.float32)
    columns: dict[str, object] = {
        "emotion": pa.array(np.array(labels, dtype=object)[best_X], pa.string(), mask=empty_X),
        "confidence": pa.array(confidence_X, mask=empty_X),
    }
    for index, label in enumerate(labels):
        columns[f"p_{label}"] = pa.array(probabilities_XC[:, index].astype(np.float32), mask=empty_X)
    return columns


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
