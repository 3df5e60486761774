"""The windows of an output that are nearest to others, by the cosine of their standardised embeddings.

Parts are read in small pieces, in as many threads as there are cores, so memory does not grow with the output.
Embeddings are standardised by the mean and deviation of a sample of the output's: what all windows share tells none of
them.

Shape letters: N windows of the output, Q windows that are looked for, E values of an embedding.
"""

import heapq
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ser_core.tables.parts import Part
from ser_core.tables.reading.embedded import EmbeddedOutput, Embeddings
from ser_core.tables.reading.stored_rows import Groups

FloatArray = npt.NDArray[np.float32]
#: Values that are read and computed at a time: they stay in the processor's cache.
_VALUES_AT_A_TIME = 2**19
#: Pieces, all over the output, that are looked at for mean and deviation: so many times so many rows of each.
_SAMPLED_PIECES, _SAMPLED_TIMES, _SAMPLED_ROWS = 8, 8, 128
_LEAST_DEVIATION = 1e-6


@dataclass(frozen=True, order=True)
class Match:
    """A window of the output. The least distance is 0, the largest 2."""

    distance: float
    path: str
    channel: int
    window_index: int
    #: The nearest of those that are looked for.
    query: int


@dataclass(frozen=True)
class Standard:
    """Mean and one over the deviation of each value of an embedding."""

    mean_E: FloatArray
    scale_E: FloatArray

    def apply(self, values_NE: FloatArray, out_NE: FloatArray) -> FloatArray:
        """Standardise embeddings into memory that is there already; that memory."""
        np.subtract(values_NE, self.mean_E, out=out_NE)
        return np.multiply(out_NE, self.scale_E, out=out_NE)


def standard_of(output: EmbeddedOutput) -> Standard:
    """That of a sample of an output: of the first windows of some pieces all over it. It needs no torch."""
    pieces = output.embeddings.pieces
    sums_E, squares_E, num_windows = np.zeros(1), np.zeros(1), 0
    for number in np.unique(np.linspace(0, len(pieces) - 1, _SAMPLED_PIECES).astype(int)) if pieces else ():
        part, groups = pieces[number]
        for rows in islice(output.of_part(part, _SAMPLED_ROWS, groups), _SAMPLED_TIMES):
            sums_E = sums_E + rows.values_NE.sum(axis=0, dtype=np.float64)
            squares_E = squares_E + np.square(rows.values_NE, dtype=np.float64).sum(axis=0)
            num_windows += len(rows.values_NE)
    mean_E = sums_E / max(1, num_windows)
    deviation_E = np.sqrt(np.maximum(squares_E / max(1, num_windows) - np.square(mean_E), 0.0))
    # What never changes says nothing.
    scale_E = np.where(deviation_E > _LEAST_DEVIATION, 1 / np.maximum(deviation_E, _LEAST_DEVIATION), 0.0)
    return Standard(mean_E.astype(np.float32), scale_E.astype(np.float32))


def nearest(
    output: EmbeddedOutput, queries_QE: npt.NDArray[np.float16], num_matches: int, standard: Standard | None = None
) -> list[Match]:
    """The nearest windows, the nearest first.

    Args:
        output: where they are looked for.
        queries_QE: embeddings by the same encoder, at least one.
        num_matches: most windows of the result.
        standard: what `standard_of` says of the output.
    """
    standard = standard or standard_of(output)
    standard_QE = standard.apply(queries_QE.astype(np.float32), np.empty(queries_QE.shape, np.float32))
    standard_QE /= np.maximum(np.linalg.norm(standard_QE, axis=1, keepdims=True), _LEAST_DEVIATION)
    rows_at_a_time = max(1, _VALUES_AT_A_TIME // queries_QE.shape[1])

    def of_groups(part: Part, groups: Groups) -> list[Match]:
        best: list[Match] = []
        memory_NE = np.empty((rows_at_a_time, queries_QE.shape[1]), np.float32)
        for rows in output.of_part(part, rows_at_a_time, groups):
            standard_NE = standard.apply(rows.values_NE, memory_NE[: len(rows.values_NE)])
            limit = best[-1].distance if len(best) == num_matches else np.inf
            found = _matches(rows, *_distances(standard_NE, standard_QE), num_matches, limit)
            best = heapq.nsmallest(num_matches, [*best, *found])
        return best

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found = [pool.submit(of_groups, *piece) for piece in output.embeddings.pieces]
        matches = heapq.nsmallest(num_matches, (match for of_piece in found for match in of_piece.result()))
    _threads_as_before()
    return matches


def _threads_as_before() -> None:
    """The threads' number of torch's threads would else be that of all that are begun from here on."""
    import torch

    torch.set_num_threads(torch.get_num_threads())


def _matches(
    rows: Embeddings, distance_N: FloatArray, query_N: npt.NDArray[np.intp], num_matches: int, limit: float
) -> Iterator[Match]:
    """The nearest of these windows that are no further than a limit."""
    near = np.flatnonzero(distance_N <= limit)
    if len(near) > num_matches:
        near = near[np.argpartition(distance_N[near], num_matches - 1)[:num_matches]]
    if len(near):
        columns = [rows.keys[name].take(pa.array(near)).to_pylist() for name in ("path", "channel", "window_index")]
        for row, (path, channel, window_index) in zip(near, zip(*columns, strict=True), strict=True):
            yield Match(float(distance_N[row]), path, channel, window_index, int(query_N[row]))


def _distances(standard_NE: FloatArray, standard_QE: FloatArray) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """Distance (N,) of each window from the nearest query (of length 1), and which that is."""
    import torch

    # A thread for each piece is enough; the setting belongs to the calling thread.
    torch.set_num_threads(1)
    with torch.inference_mode():
        standard = torch.from_numpy(standard_NE)
        norm = torch.linalg.vector_norm(standard, dim=1).clamp(min=_LEAST_DEVIATION)
        cosine, nearest_query = (standard @ torch.from_numpy(standard_QE).T).max(dim=1)
        return (1 - cosine / norm).clamp(min=0.0).numpy(), nearest_query.numpy()
