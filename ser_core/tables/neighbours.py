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
import torch

from ser_core.tables.embedded import EmbeddedOutput, Embeddings
from ser_core.tables.parts import Part

FloatArray = npt.NDArray[np.float32]
#: Values that are read and computed at a time: they stay in a core's cache.
_VALUES_AT_A_TIME = 2**19
#: Parts, all over the output, whose first pieces are looked at for mean and deviation, and how many of each.
_SAMPLED_PARTS, _SAMPLED_PIECES = 8, 8
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


def nearest(output: EmbeddedOutput, queries_QE: npt.NDArray[np.float16], num_matches: int) -> list[Match]:
    """The nearest windows, the nearest first.

    Args:
        output: where they are looked for.
        queries_QE: embeddings by the same encoder, at least one.
        num_matches: most windows of the result.
    """
    parts = output.embeddings.parts
    if not parts:
        return []
    rows_at_a_time = max(1, _VALUES_AT_A_TIME // queries_QE.shape[1])
    mean_E, scale_E = _standard(output, parts, rows_at_a_time)
    standard_QE: FloatArray = (queries_QE.astype(np.float32) - mean_E) * scale_E
    standard_QE /= np.maximum(np.linalg.norm(standard_QE, axis=1, keepdims=True), _LEAST_DEVIATION)

    def of_part(part: Part) -> list[Match]:
        best: list[Match] = []
        for piece in output.of_part(part, rows_at_a_time):
            distances = _distances(piece.values_NE, mean_E, scale_E, standard_QE)
            limit = best[-1].distance if len(best) == num_matches else np.inf
            best = heapq.nsmallest(num_matches, [*best, *_matches(piece, *distances, num_matches, limit)])
        return best

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found = heapq.nsmallest(num_matches, (match for matches in pool.map(of_part, parts) for match in matches))
    # The threads' number of threads would else be that of all that are begun from here on.
    torch.set_num_threads(torch.get_num_threads())
    return found


def _standard(output: EmbeddedOutput, parts: list[Part], rows_at_a_time: int) -> tuple[FloatArray, FloatArray]:
    """Mean and one over the deviation of each value (E,), of a sample of the output."""
    step = max(1, len(parts) // _SAMPLED_PARTS)
    sums_E, squares_E, num_windows = np.float64(0.0), np.float64(0.0), 0
    for part in parts[::step][:_SAMPLED_PARTS]:
        for piece in islice(output.of_part(part, rows_at_a_time), _SAMPLED_PIECES):
            sums_E = sums_E + piece.values_NE.sum(axis=0, dtype=np.float64)
            squares_E = squares_E + np.square(piece.values_NE, dtype=np.float64).sum(axis=0)
            num_windows += len(piece.values_NE)
    mean_E = sums_E / num_windows
    deviation_E = np.sqrt(np.maximum(squares_E / num_windows - np.square(mean_E), 0.0))
    # What never changes says nothing.
    scale_E = np.where(deviation_E > _LEAST_DEVIATION, 1 / np.maximum(deviation_E, _LEAST_DEVIATION), 0.0)
    return np.asarray(mean_E, np.float32), np.asarray(scale_E, np.float32)


def _matches(
    piece: Embeddings, distance_N: FloatArray, query_N: npt.NDArray[np.intp], num_matches: int, limit: float
) -> Iterator[Match]:
    """The nearest of these windows that are no further than a limit."""
    near = np.flatnonzero(distance_N <= limit)
    if len(near) > num_matches:
        near = near[np.argpartition(distance_N[near], num_matches - 1)[:num_matches]]
    if len(near):
        columns = [piece.keys[name].take(pa.array(near)).to_pylist() for name in ("path", "channel", "window_index")]
        for row, (path, channel, window_index) in zip(near, zip(*columns, strict=True), strict=True):
            yield Match(float(distance_N[row]), path, channel, window_index, int(query_N[row]))


def _distances(
    values_NE: FloatArray, mean_E: FloatArray, scale_E: FloatArray, queries_QE: FloatArray
) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """Distance (N,) of each window from the nearest query, and which that is."""
    # A thread for each part is enough; the setting belongs to the calling thread.
    torch.set_num_threads(1)
    with torch.inference_mode():
        standard = torch.from_numpy(values_NE - mean_E).mul_(torch.from_numpy(scale_E))
        norm = torch.linalg.vector_norm(standard, dim=1).clamp(min=_LEAST_DEVIATION)
        cosine, nearest_query = (standard @ torch.from_numpy(queries_QE).T).max(dim=1)
        return (1 - cosine / norm).clamp(min=0.0).numpy(), nearest_query.numpy()
