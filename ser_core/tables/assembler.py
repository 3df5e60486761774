"""Predicted records, in any order -> those of whole files, each once; and what a run has done so far.

Shape letters: R records, G groups (one channel of one file), F files.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ser_core.tables.rows import Rows, RowSettings, make_rows

IntArray = npt.NDArray[np.int64]


@dataclass(kw_only=True)
class Totals:
    """What has been scored so far."""

    num_files: int = 0
    num_failed: int = 0
    num_windows: int = 0
    #: Of them, those without speech.
    num_no_speech: int = 0
    audio_seconds: float = 0.0
    #: None where nobody listened.
    speech_seconds: float | None = None


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
        self._totals.num_no_speech += pc.sum(pc.invert(pc.list_flatten(records["is_judged"]))).as_py() or 0
        self._totals.audio_seconds += pc.sum(records["audio_seconds"]).as_py()
        heard_seconds = pc.sum(records["speech_seconds"]).as_py()
        if heard_seconds is not None:
            self._totals.speech_seconds = (self._totals.speech_seconds or 0.0) + heard_seconds
