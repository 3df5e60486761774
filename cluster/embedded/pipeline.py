"""The scoring pipeline where an output's embeddings take the place of audio: nothing is decoded, nothing listened to,
and only a model's last layers are computed. All else of a record is what the output's other tables say.

Shape letters: G rows of files (one channel of one file), J windows that are judged, N of them at a time, E values of
an embedding.
"""

import dataclasses
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cluster.resources import Resources
from cluster.stages import with_output
from ser_core.errors import DamagedOutputError
from ser_core.records import PREDICTED_SCHEMA
from ser_core.vocabulary import NO_SPEECH

if TYPE_CHECKING:
    from ser_core.models import ModelOutput, Predictor
    from ser_core.tables import EmbeddedOutput, Embeddings

IntArray = npt.NDArray[np.int64]

#: Rows of files that are read together, and windows that are predicted together unless one file has more.
_FILES_AT_A_TIME, _WINDOWS_AT_A_TIME = 65_536, 65_536
#: Values of embeddings that are held where they are handed on.
_VALUES_AT_A_TIME = 2**26
#: More channels, or windows of one, than any file can have.
_MAX_CHANNELS, _MAX_WINDOWS = 2**24, 2**40
#: Longest wait for the thread that reads to notice that nobody waits for it.
_LONGEST_CLOSE_SECONDS = 5.0

_KEY = ["path", "channel"]
_OF_FILES = [*_KEY, "num_windows", "audio_seconds", "speech_seconds", "gaps", "reason", "detail"]
_OF_WINDOWS = [*_KEY, "window_index", "emotion"]
#: Lists of a record, with a value for each window.
_LISTS = ("window_index", "end_seconds", "level_dbfs", "speech_share")


class EmbeddedPipeline:
    """Takes the place of `LocalPipeline`. `close` it from any thread."""

    def __init__(
        self, output: "EmbeddedOutput", predictor: "Predictor", resources: Resources, *, hands_embeddings_on: bool
    ) -> None:
        """
        Args:
            output: what is read, made with the settings of this run.
            predictor: of a model with the output's encoder.
            resources: as the run has them.
            hands_embeddings_on: whether the predictor gives embeddings too.
        """
        self.resources = resources
        self._output, self._predictor = output, predictor
        num_values = predictor.artifact.encoder.num_values if hands_embeddings_on else 1
        self._most_windows = max(1, min(_WINDOWS_AT_A_TIME, _VALUES_AT_A_TIME // num_values))
        self._is_closed = threading.Event()
        self._is_idle = threading.Event()
        self._is_idle.set()

    def run(self, pending: pa.Table, files_per_block: int) -> Iterator[pa.Table]:
        """Score `pending` (PENDING_SCHEMA), which is sorted by path.

        Yields:
            Records (PREDICTED_SCHEMA), one of each row of files; a file's come together.

        Raises:
            OutputError: the output's tables do not go together, or a run changed them meanwhile.
        """
        self._is_idle.clear()
        try:
            for first in range(0, pending.num_rows, _FILES_AT_A_TIME):
                some = pending.slice(first, _FILES_AT_A_TIME).combine_chunks()
                paths = some["path"].combine_chunks()
                files = self._output.files.sorted_of_paths(paths, _OF_FILES, _KEY)
                for of_round in _rounds(files, self._most_windows):
                    if self._is_closed.is_set():
                        return
                    yield self._records(some, of_round)
        finally:
            self._is_idle.set()

    def close(self) -> None:
        """End what is being read, as soon as it is noticed."""
        self._is_closed.set()
        self._is_idle.wait(_LONGEST_CLOSE_SECONDS)

    def _records(self, pending: pa.Table, files: pa.Table) -> pa.Table:
        """The records of some rows of files, whole files."""
        columns = [*_OF_WINDOWS, *(name for name in _LISTS if name not in _OF_WINDOWS)]
        by = [*_KEY, "window_index"]
        windows = self._output.predictions.sorted_of_paths(pc.unique(files["path"].combine_chunks()), columns, by)
        counts_G = files["num_windows"].to_numpy()
        group_W = np.repeat(np.arange(files.num_rows), counts_G)
        if not windows.select(_KEY).equals(files.select(_KEY).take(pa.array(group_W)).combine_chunks()):
            raise self._apart()
        is_judged_W = pc.not_equal(windows["emotion"], NO_SPEECH).combine_chunks()
        judged = windows.filter(is_judged_W)
        group_J = group_W[is_judged_W.to_numpy(zero_copy_only=False)]
        said = self._said(files, group_J, judged["window_index"].to_numpy())
        offsets = pa.array(np.append(0, np.cumsum(counts_G)), pa.int32())
        of_file = pending.take(pc.index_in(files["path"], value_set=pending["path"].combine_chunks()))
        segment_index, is_last = _numbered(files["path"])
        columns_of = {
            **{name: files[name] for name in _OF_FILES if name != "num_windows"},
            **{name: of_file[name] for name in ("file_id", "modified")},
            "file_version": of_file["version"],
            "segment_index": segment_index,
            "is_last": is_last,
            "is_judged": pa.ListArray.from_arrays(offsets, is_judged_W),
            "service_fault": pa.nulls(files.num_rows, pa.string()),
            **{name: pa.ListArray.from_arrays(offsets, windows[name].combine_chunks()) for name in _LISTS},
        }
        schema = pa.schema([field for field in PREDICTED_SCHEMA if field.name in columns_of])
        records = pa.table({name: columns_of[name] for name in schema.names}).cast(schema)
        return with_output(records, np.bincount(group_J, minlength=files.num_rows).tolist(), said)

    def _said(self, files: pa.Table, group_J: IntArray, window_index_J: IntArray) -> "ModelOutput | None":
        """What the model's last layers say of the windows that are judged, ascending by row of files and index."""
        if not len(group_J):
            return None
        key_J = group_J * _MAX_WINDOWS + window_index_J
        number_J = np.full(len(key_J), -1)
        parts: list[ModelOutput] = []
        num_done = 0
        for found in self._output.of_paths(pc.unique(files["path"].combine_chunks())):
            if self._is_closed.is_set():
                break
            place_N = self._places(files, key_J, found)
            number_J[place_N] = np.arange(num_done, num_done + len(place_N))
            num_done += len(place_N)
            parts.append(self._predictor.predict_embedded(found.values_NE))
        # Each has one, and there is no other; what was closed is thrown away.
        if (number_J < 0).any() or num_done != len(key_J):
            raise self._apart()
        return _joined(parts, number_J)

    def _places(self, files: pa.Table, key_J: IntArray, found: "Embeddings") -> IntArray:
        """Which of the windows that are judged each embedding is of."""
        paths = pc.unique(files["path"].combine_chunks())
        key_G, of_found = (
            pc.index_in(rows["path"], value_set=paths).to_numpy() * np.int64(_MAX_CHANNELS) + rows["channel"].to_numpy()
            for rows in (files, found.keys)
        )
        group_N = np.minimum(np.searchsorted(key_G, of_found), len(key_G) - 1)
        key_N = group_N * _MAX_WINDOWS + found.keys["window_index"].to_numpy()
        place_N: IntArray = np.minimum(np.searchsorted(key_J, key_N), len(key_J) - 1)
        if (key_G[group_N] != of_found).any() or (key_J[place_N] != key_N).any():
            raise self._apart()
        return place_N

    def _apart(self) -> DamagedOutputError:
        return DamagedOutputError(f"{self._output.location}: its tables do not go together; see 'ser verify'")


def _rounds(files: pa.Table, most_windows: int) -> Iterator[pa.Table]:
    """Rows of whole files, with so many windows together or of one file that has more."""
    if not files.num_rows:
        return
    ends_G = np.cumsum(files["num_windows"].to_numpy())
    first_F = _firsts(files["path"])
    begin = windows_before = 0
    for first, end in zip(first_F, [*first_F[1:], files.num_rows], strict=True):
        if first > begin and ends_G[end - 1] - windows_before > most_windows:
            yield files.slice(begin, first - begin)
            begin, windows_before = first, ends_G[first - 1]
    yield files.slice(begin)


def _numbered(paths: pa.ChunkedArray) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """For each row its number among those of its file, and whether it is the last."""
    starts = _firsts(paths)
    ends = np.append(starts[1:], len(paths))
    is_last = np.zeros(len(paths), dtype=bool)
    is_last[ends - 1] = True
    return (np.arange(len(paths)) - np.repeat(starts, ends - starts)).astype(np.int32), is_last


def _firsts(paths: pa.ChunkedArray) -> IntArray:
    """The first row of each file, of rows that are sorted by path."""
    differs = pc.not_equal(paths[1:], paths[:-1]).to_numpy().astype(bool)
    return np.append(0, 1 + np.flatnonzero(differs))


def _joined(parts: "list[ModelOutput]", order: IntArray) -> "ModelOutput":
    """All parts as one, in this order."""
    from ser_core.models import ModelOutput

    fields = [field.name for field in dataclasses.fields(ModelOutput) if getattr(parts[0], field.name) is not None]
    return ModelOutput(**{name: np.concatenate([getattr(part, name) for part in parts])[order] for name in fields})
