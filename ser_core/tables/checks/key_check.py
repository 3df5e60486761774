"""The rows of the tables against each other, by their keys, in ranges of paths: memory is bounded.

Shape letters: F rows of files, G groups of predictions (neighbours of one file and channel), W windows.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from ser_core.tables.checks import findings
from ser_core.tables.checks.findings import Findings, Problem

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
_KEY = [pa.field("path", pa.string()), pa.field("channel", pa.int32()), pa.field("file_version", pa.string())]
_KEY_NAMES = [field.name for field in _KEY]
FILE_KEYS = pa.schema([*_KEY, pa.field("num_windows", pa.int64()), pa.field("status", pa.string())])
GROUPS = pa.schema([*_KEY, pa.field("window_index", pa.list_(pa.int64()))])
_ROWS_PER_SAMPLE = 1000
#: A range of paths has about a million rows.
_SAMPLES_PER_RANGE = 1000


class KeyFile:
    """Keys of one table, kept in a local Parquet file until all are there."""

    def __init__(self, file: Path, schema: pa.Schema) -> None:
        self._file = file
        #: Columns that are kept, of which none may be null.
        self.names = schema.names
        self._writer = pq.ParquetWriter(file, schema, compression="zstd")
        #: Every thousandth path of the rows.
        self.samples: list[pa.Array] = []

    def add(self, rows: pa.Table) -> None:
        """Keep the keys of rows that are neighbours in the table."""
        paths = rows["path"].combine_chunks()
        self.samples.append(paths.take(pa.array(np.arange(0, len(paths), _ROWS_PER_SAMPLE))))
        self._writer.write_table(grouped(rows) if "window_index" in self.names else rows.select(self.names))

    def close(self) -> None:
        """Nothing more comes."""
        self._writer.close()

    def read(self, after: str | None, last: str | None) -> pa.Table:
        """The keys with after < path <= last."""
        wanted = pc.scalar(True)
        if after is not None:
            wanted &= pc.field("path") > after
        if last is not None:
            wanted &= pc.field("path") <= last
        return ds.dataset(self._file).to_table(filter=wanted)


def grouped(predictions: pa.Table) -> pa.Table:
    """Neighbouring rows of one file and channel as one, with the list of their windows."""
    rows = predictions.select(GROUPS.names).combine_chunks()
    is_first = np.ones(rows.num_rows, dtype=bool)
    if rows.num_rows:
        differs = [pc.not_equal(rows[name][1:], rows[name][:-1]).to_numpy() for name in _KEY_NAMES]
        is_first[1:] = np.logical_or.reduce(differs)
    first_G = np.flatnonzero(is_first)
    offsets = pa.array(np.append(first_G, rows.num_rows), pa.int32())
    windows = pa.ListArray.from_arrays(offsets, rows["window_index"].combine_chunks())
    keys = rows.select(_KEY_NAMES).take(pa.array(first_G))
    return keys.append_column(GROUPS.field("window_index"), windows)


def compare_keys(files: KeyFile, groups: KeyFile, found: Findings) -> int:
    """Note all in which the two tables do not go together; returns the number of files, whatever their channels."""
    num_files = 0
    for after, last in _ranges([*files.samples, *groups.samples]):
        of_files = files.read(after, last)
        num_files += len(pc.unique(of_files["path"]))
        _compare(of_files, groups.read(after, last), found)
    return num_files


def compare_embedded(judged: KeyFile, embeddings: KeyFile, found: Findings) -> None:
    """Note the files whose embeddings are not those of their windows that are judged, each once."""
    for after, last in _ranges([*judged.samples, *embeddings.samples]):
        paths, keys = zip(*(_windows(keys.read(after, last)) for keys in (judged, embeddings)), strict=True)
        wrong = [
            paths[0].filter(pc.invert(pc.is_in(keys[0], keys[1]))),
            paths[1].filter(pc.invert(pc.is_in(keys[1], keys[0]))),
            paths[1].filter(pa.array(_repeats(keys[1]))),
        ]
        found.add("embeddings", findings.WRONG_EMBEDDINGS, pc.unique(pa.concat_arrays(wrong)).to_pylist())


def _windows(groups: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Path and key, as a text, of each window of these groups."""
    lists = groups["window_index"].combine_chunks()
    group_W = pa.array(np.repeat(np.arange(groups.num_rows), pc.list_value_length(lists).to_numpy()))
    texts = (_joined(groups, *_KEY_NAMES).take(group_W), pc.list_flatten(lists).cast(pa.string()))
    return groups["path"].combine_chunks().take(group_W), pc.binary_join_element_wise(*texts, "\0")


def _ranges(samples: list[pa.Array]) -> Iterator[tuple[str | None, str | None]]:
    paths = pa.concat_arrays(samples) if samples else pa.array([], pa.string())
    bounds = pc.unique(paths.take(pc.sort_indices(paths))[_SAMPLES_PER_RANGE::_SAMPLES_PER_RANGE]).to_pylist()
    yield from zip([None, *bounds], [*bounds, None], strict=True)


def _compare(files: pa.Table, groups: pa.Table, found: Findings) -> None:
    path_F = files["path"].combine_chunks()

    def note(problem: Problem, is_met_F: BoolArray) -> None:
        found.add("files", problem, pc.unique(path_F.filter(pa.array(is_met_F))).to_pylist())

    is_doubled_F = _repeats(_joined(files, "path", "channel"))
    note(findings.DOUBLED_FILES, is_doubled_F)
    versions = files.group_by(["path", "file_version"]).aggregate([])["path"].combine_chunks()
    found.add("files", findings.TWO_VERSIONS, pc.unique(versions.filter(pa.array(_repeats(versions)))).to_pylist())

    file_G = pc.index_in(_joined(groups, *_KEY_NAMES), _joined(files, *_KEY_NAMES))
    without_file = groups["path"].filter(pc.is_null(file_G))
    found.add("predictions", findings.NO_FILE, pc.unique(without_file).to_pylist())
    groups, file_G = groups.filter(pc.is_valid(file_G)), file_G.drop_null().to_numpy()
    windows_G = groups["window_index"].combine_chunks()
    file_W = np.repeat(file_G, pc.list_value_length(windows_G).to_numpy())
    index_W = pc.list_flatten(windows_G).to_numpy()
    is_wrong_F = ~is_doubled_F & (np.bincount(file_W, minlength=len(path_F)) != files["num_windows"].to_numpy())
    is_spoilt_F = _has_wrong_windows(file_W, index_W, pc.equal(files["status"], "scored").to_numpy())
    note(findings.WRONG_WINDOWS, is_spoilt_F & ~is_doubled_F)
    note(findings.WRONG_NUMBER, is_wrong_F & ~is_spoilt_F)


def _has_wrong_windows(file_W: IntArray, index_W: IntArray, is_scored_F: BoolArray) -> BoolArray:
    """Whether a file has a window twice, or, `scored`, other windows than 0, 1, 2 ...: only then it may have gaps."""
    order_W = np.lexsort((index_W, file_W))
    file_W, index_W = file_W[order_W], index_W[order_W]
    is_first_W = np.diff(file_W, prepend=-1) != 0
    step_W = np.where(is_first_W, index_W + 1, np.diff(index_W, prepend=0))
    is_spoilt_W = (step_W < 1) | (is_scored_F[file_W] & (step_W != 1))
    is_spoilt_F = np.zeros(len(is_scored_F), dtype=bool)
    is_spoilt_F[file_W[is_spoilt_W]] = True
    return is_spoilt_F


def _joined(rows: pa.Table, *names: str) -> pa.Array:
    """A text for each row that is the same where all these columns are."""
    texts = [rows[name].cast(pa.string()).combine_chunks() for name in names]
    return pc.binary_join_element_wise(*texts, "\0")


def _repeats(values: pa.Array) -> BoolArray:
    """Which values are there more than once."""
    codes: IntArray = values.dictionary_encode().indices.to_numpy()
    is_repeated: BoolArray = np.bincount(codes, minlength=1)[codes] > 1
    return is_repeated
