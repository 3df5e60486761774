"""A part by itself: its bytes, what the log says of it, and whether each of its rows can be.

Shape letters: W rows, C labels, E values of an embedding.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ser_core.tables.checks import findings
from ser_core.tables.checks.findings import Findings
from ser_core.tables.checks.key_check import KeyFile
from ser_core.tables.delta_log import DeltaLog
from ser_core.tables.encoding import ROWS_PER_GROUP
from ser_core.tables.parts import Part, is_intact, open_part
from ser_core.tables.schema import filled
from ser_core.vocabulary import NO_SPEECH

BoolArray = npt.NDArray[np.bool_]
#: What probabilities may be off by: predictors compute them in float32.
_SUM_TOLERANCE = 1e-3
_TOLERANCE = 1e-5
_ROWS_OF_EMBEDDINGS = 2_048


class PartCheck:
    """Looks at the parts of one table, one after the other, and keeps the keys of their rows."""

    def __init__(self, log: DeltaLog, keys: KeyFile, judged: KeyFile | None, found: Findings) -> None:
        """`judged` takes the keys of predictions that are not `no_speech`, where there are embeddings of them."""
        self._table = log.location.name
        self._partition_column = log.partition_column
        self._schema = log.schema
        self._labels = [name.removeprefix("p_") for name in log.schema.names if name.startswith("p_")]
        self._keys, self._judged = keys, judged
        #: Values of every embedding; None: none has been met.
        self._num_values: int | None = None
        self._found = found

    def look(self, part: Part, data: bytes) -> None:
        """Note what is wrong with a part."""
        if not is_intact(part, data):
            self._found.add(self._table, findings.DAMAGED, [part.path])
            return
        try:
            self._read(part, data)
        except (OSError, pa.ArrowException):
            self._found.add(self._table, findings.DAMAGED, [part.path])

    def _read(self, part: Part, data: bytes) -> None:
        num_rows, is_covered = 0, True
        for batch in open_part(data).iter_batches(_ROWS_OF_EMBEDDINGS if part.is_of_embeddings else ROWS_PER_GROUP):
            rows = filled(pa.Table.from_batches([batch]), self._schema)
            rows = rows.append_column(self._partition_column, pa.repeat(part.partition, rows.num_rows))
            num_rows += rows.num_rows
            if any(rows[name].null_count for name in self._keys.names):
                self._found.add(self._table, findings.NO_KEY, [part.path])
                continue
            first, last = pc.min_max(rows["path"]).values()
            is_covered &= part.first_path <= first.as_py() and last.as_py() <= part.last_path
            if self._table == "embeddings":
                self._note(findings.BAD_EMBEDDINGS, rows, ~self._has_values(rows))
            else:
                self._note(findings.BAD_PROBABILITIES, rows, ~self._has_probabilities(rows))
            if self._table == "files":
                self._note(findings.BAD_STATUS, rows, ~_has_its_status(rows))
            self._keys.add(rows)
            if self._judged is not None and part.partition != NO_SPEECH:
                self._judged.add(rows)
        if num_rows != part.num_rows or not is_covered:
            self._found.add(self._table, findings.MISDESCRIBED, [part.path])

    def _note(self, problem: findings.Problem, rows: pa.Table, is_met_W: BoolArray) -> None:
        self._found.add(self._table, problem, pc.unique(rows["path"].filter(pa.array(is_met_W))).to_pylist())

    def _has_values(self, rows: pa.Table) -> BoolArray:
        """Whether an embedding has as many values as all others, and all are numbers."""
        lists = rows["embedding"].combine_chunks()
        length_W = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
        if self._num_values is None and len(length_W):
            self._num_values = int(np.median(length_W))
        sums_W = np.zeros(len(length_W))
        np.add.at(sums_W, np.repeat(np.arange(len(length_W)), length_W), pc.list_flatten(lists).to_numpy())
        result: BoolArray = (length_W == self._num_values) & (length_W > 0) & np.isfinite(sums_W)
        return result

    def _has_probabilities(self, rows: pa.Table) -> BoolArray:
        """Whether a row has probabilities that can be, the emotion's the largest; or none, and no emotion either."""
        names = [f"p_{label}" for label in self._labels]
        num_values_W = sum(rows[name].is_valid().to_numpy().astype(np.int64) for name in [*names, "confidence"])
        probabilities_WC = np.stack([rows[name].to_numpy() for name in names], axis=1)
        best_W = probabilities_WC.max(axis=1)
        label_W = pc.fill_null(pc.index_in(rows["emotion"], pa.array(self._labels)), -1).to_numpy()
        emotion_W = np.where(label_W < 0, np.nan, probabilities_WC[np.arange(len(label_W)), label_W])
        can_be_W = (
            (probabilities_WC >= 0).all(axis=1)
            & (np.abs(probabilities_WC.sum(axis=1) - 1) < _SUM_TOLERANCE)
            & (np.abs(rows["confidence"].to_numpy() - best_W) < _TOLERANCE)
            & (np.abs(emotion_W - best_W) < _TOLERANCE)
        )
        says_nothing_W = pc.fill_null(pc.equal(rows["emotion"], NO_SPEECH), True).to_numpy()
        result: BoolArray = np.where(says_nothing_W, num_values_W == 0, (num_values_W == len(names) + 1) & can_be_W)
        return result & _has_its_speech(rows)


def _has_its_speech(rows: pa.Table) -> BoolArray:
    """Whether the share of speech is one; where nobody listened it is null, and no window is without speech."""
    if "speech_share" not in rows.column_names:
        return np.ones(rows.num_rows, dtype=bool)
    share_W = rows["speech_share"].to_numpy()
    is_silent_W = pc.equal(rows["emotion"], NO_SPEECH).to_numpy()
    result: BoolArray = np.where(np.isnan(share_W), ~is_silent_W, (share_W >= 0) & (share_W <= 1))
    return result


def _has_its_status(files: pa.Table) -> BoolArray:
    """Whether `failed` files, and they alone, have no window and no emotion, and `scored` ones have no gap."""
    num_windows_W = files["num_windows"].to_numpy()
    is_failed_W = pc.equal(files["status"], "failed").to_numpy()
    is_scored_W = pc.equal(files["status"], "scored").to_numpy()
    has_gaps_W = pc.fill_null(pc.greater(pc.list_value_length(files["gaps"]), 0), False).to_numpy()
    has_emotion_W = files["emotion"].is_valid().to_numpy()
    result: BoolArray = (
        (num_windows_W >= 0)
        & (is_failed_W == (num_windows_W == 0))
        & (is_failed_W != has_emotion_W)
        & ~(is_scored_W & has_gaps_W)
    )
    return result
