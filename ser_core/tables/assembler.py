"""Predicted records, in any order -> those of whole files, each once; and what a run has done so far.

Shape letters: R records, S segments of a file, G groups (one channel of one file), F files.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ser_core.tables.record_buffer import RecordBuffer, packed, unpacked
from ser_core.tables.row_adaptation import numbered
from ser_core.tables.rows import Rows, RowSettings, make_rows

IntArray = npt.NDArray[np.int64]


@dataclass(kw_only=True)
class Totals:
    """What has been scored so far, or what all rows of an output come to."""

    num_files: int = 0
    num_failed: int = 0
    num_windows: int = 0
    #: Of them, those without speech.
    num_no_speech: int = 0
    audio_seconds: float = 0.0
    #: None where nobody listened.
    speech_seconds: float | None = None

    def plus(self, other: Self) -> Self:
        """Both together."""
        heard = [totals.speech_seconds for totals in (self, other) if totals.speech_seconds is not None]
        return type(self)(
            num_files=self.num_files + other.num_files,
            num_failed=self.num_failed + other.num_failed,
            num_windows=self.num_windows + other.num_windows,
            num_no_speech=self.num_no_speech + other.num_no_speech,
            audio_seconds=self.audio_seconds + other.audio_seconds,
            speech_seconds=sum(heard) if heard else None,
        )


class _HeldFile:
    """What has come of a file that is not whole."""

    def __init__(self) -> None:
        self._records = RecordBuffer()
        #: Whether each segment has come.
        self._has_S = np.zeros(0, dtype=bool)
        self._num_held = 0
        #: The highest segment that has come, and whether it says that it is the last.
        self._highest = (-1, False)

    def add(self, records: pa.Table) -> None:
        """Take records of this file, in order of `segment_index`, each once; what is held already is dropped."""
        segment_R = records["segment_index"].to_numpy()
        highest = int(segment_R[-1])
        if highest >= len(self._has_S):
            has_S = np.zeros(2 * (highest + 1), dtype=bool)
            has_S[: len(self._has_S)] = self._has_S
            self._has_S = has_S
        is_new_R = ~self._has_S[segment_R]
        if not is_new_R.any():
            return
        self._has_S[segment_R] = True
        self._num_held += int(is_new_R.sum())
        if highest > self._highest[0]:
            self._highest = highest, records["is_last"][-1].as_py()
        self._records.add(records if is_new_R.all() else records.filter(pa.array(is_new_R)))

    @property
    def is_whole(self) -> bool:
        """Whether all segments up to the last one are held."""
        highest, is_last = self._highest
        return is_last and self._num_held == highest + 1

    def take(self) -> pa.Table:
        """All records, in order of `segment_index`."""
        return self._records.take().sort_by("segment_index")


class Assembler:
    """Holds records back until their file is whole, and takes each file once.

    Execution is at-least-once: after a node is lost a record may come again. Files are numbered 0 to `num_files` - 1,
    and a record of a file that is done, or that is held already, is dropped. `totals` counts on.
    """

    def __init__(self, settings: RowSettings, num_files: int, totals: Totals) -> None:
        self._settings = settings
        self._done = np.zeros(num_files, dtype=bool)
        self._whole = RecordBuffer()
        self._held: defaultdict[int, _HeldFile] = defaultdict(_HeldFile)
        self.num_ready_windows = 0
        #: Of the embeddings of these windows.
        self.num_ready_bytes = 0
        self._totals = totals

    def missing_F(self) -> IntArray:
        """The numbers (`file_id`) of the files that have not become whole, ascending."""
        return np.flatnonzero(~self._done)

    def add(self, records: pa.Table) -> None:
        """Take records (PREDICTED_SCHEMA) in any order."""
        file_ids_R, segment_R = records["file_id"].to_numpy(), records["segment_index"].to_numpy()
        is_last_R = records["is_last"].to_numpy()
        index_of_alone = np.flatnonzero(is_last_R & (segment_R == 0) & ~self._done[file_ids_R])
        first = np.unique(file_ids_R[index_of_alone], return_index=True)[1]
        self._accept(packed(records.take(pa.array(index_of_alone[np.sort(first)]))))
        rows = np.flatnonzero(~self._done[file_ids_R])
        rows = rows[np.lexsort((segment_R[rows], file_ids_R[rows]))]
        # The first of those that are the same segment.
        rows = rows[np.unique(numbered(file_ids_R[rows], segment_R[rows]), return_index=True)[1]]
        file_ids_F, first_F, count_F = np.unique(file_ids_R[rows], return_index=True, return_counts=True)
        last_F = rows[first_F + count_F - 1]
        is_whole_F = is_last_R[last_F] & (segment_R[last_F] == count_F - 1)
        self._accept(packed(records.take(pa.array(rows[np.repeat(is_whole_F, count_F)]))))
        for index in np.flatnonzero(~is_whole_F):
            of_file = rows[first_F[index] : first_F[index] + count_F[index]]
            self._hold(int(file_ids_F[index]), packed(records.take(pa.array(of_file))))

    def take(self) -> Rows | None:
        """The rows of every whole file not taken before; None if there is none."""
        if not self._whole:
            return None
        self.num_ready_windows = self.num_ready_bytes = 0
        return make_rows(unpacked(self._whole.take()), self._settings)

    def _hold(self, file_id: int, records: pa.Table) -> None:
        held = self._held[file_id]
        held.add(records)
        if held.is_whole:
            self._accept(held.take())

    def _accept(self, records: pa.Table) -> None:
        """Take the records of whole files, a file's in order of `segment_index`."""
        if not records.num_rows:
            return
        self._whole.add(records)
        num_windows_R = pc.list_value_length(records["window_index"])
        windows = pa.table([records["file_id"], records["channel"], num_windows_R], ["file_id", "channel", "num"])
        windows = windows.group_by(["file_id", "channel"], use_threads=False).aggregate([("num", "sum")])
        file_id_G, num_windows_G = windows["file_id"].to_numpy(), windows["num_sum"].to_numpy()
        file_ids_F = np.unique(file_id_G)
        self._done[file_ids_F] = True
        for file_id in self._held.keys() & {*file_ids_F.tolist()}:
            del self._held[file_id]
        self.num_ready_windows += int(num_windows_G.sum())
        self.num_ready_bytes += pc.sum(pc.binary_length(records["embeddings"])).as_py() or 0
        self._totals.num_files += len(file_ids_F)
        # A file counts by its worst channel.
        self._totals.num_failed += len(np.unique(file_id_G[num_windows_G == 0]))
        self._totals.num_windows += int(num_windows_G.sum())
        self._totals.num_no_speech += pc.sum(pc.invert(pc.list_flatten(records["is_judged"]))).as_py() or 0
        self._totals.audio_seconds += pc.sum(records["audio_seconds"]).as_py()
        heard_seconds = pc.sum(records["speech_seconds"]).as_py()
        if heard_seconds is not None:
            self._totals.speech_seconds = (self._totals.speech_seconds or 0.0) + heard_seconds
