"""The windows of an output that are nearest to others, by the cosine of their standardised embeddings.

Parts are read one by one, in as many threads as there are cores, so memory does not grow with the output. Embeddings
are standardised by the mean and deviation of a sample of the output's: what all windows share tells none of them.

Shape letters: N windows of the output, Q windows that are looked for, E values of an embedding.
"""

import heapq
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from ser_core.tables.embedded import EmbeddedOutput, Embeddings
from ser_core.tables.parts import Part

FloatArray = npt.NDArray[np.float32]
#: Row groups that are looked at for mean and deviation, of parts all over the output.
_SAMPLED_GROUPS = 8
#: Values that are computed at a time: they stay in a core's cache.
_VALUES_AT_A_TIME = 2**18
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
    mean_E, scale_E = _standard(output, parts)
    standard_QE: FloatArray = (queries_QE.astype(np.float32) - mean_E) * scale_E
    standard_QE /= np.maximum(np.linalg.norm(standard_QE, axis=1, keepdims=True), _LEAST_DEVIATION)

    def of_part(part: Part) -> list[Match]:
        groups = (_matches(group, mean_E, scale_E, standard_QE, num_matches) for group in output.of_part(part))
        return heapq.nsmallest(num_matches, (match for matches in groups for match in matches))

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found = heapq.nsmallest(num_matches, (match for matches in pool.map(of_part, parts) for match in matches))
    # The threads' number of threads would else be that of all that are begun from here on.
    torch.set_num_threads(torch.get_num_threads())
    return found


def _standard(output: EmbeddedOutput, parts: list[Part]) -> tuple[FloatArray, FloatArray]:
    """Mean and one over the deviation of each value (E,), of a sample of the output."""
    step = max(1, len(parts) // _SAMPLED_GROUPS)
    sums_E, squares_E, num_windows = np.float64(0.0), np.float64(0.0), 0
    for part in parts[::step][:_SAMPLED_GROUPS]:
        values_NE = next(output.of_part(part)).values_NE
        sums_E = sums_E + values_NE.sum(axis=0, dtype=np.float64)
        squares_E = squares_E + np.einsum("ne,ne->e", values_NE, values_NE, dtype=np.float64)
        num_windows += len(values_NE)
    mean_E = sums_E / num_windows
    deviation_E = np.sqrt(np.maximum(squares_E / num_windows - np.square(mean_E), 0.0))
    # What never changes says nothing.
    scale_E = np.where(deviation_E > _LEAST_DEVIATION, 1 / np.maximum(deviation_E, _LEAST_DEVIATION), 0.0)
    return np.asarray(mean_E, np.float32), np.asarray(scale_E, np.float32)


def _matches(
    group: Embeddings, mean_E: FloatArray, scale_E: FloatArray, queries_QE: FloatArray, num_matches: int
) -> Iterator[Match]:
    distance_N, query_N = _distances(group.values_NE, mean_E, scale_E, queries_QE)
    best = np.argpartition(distance_N, min(num_matches, len(distance_N) - 1))[:num_matches]
    columns = [group.keys[name].take(pa.array(best)).to_pylist() for name in ("path", "channel", "window_index")]
    for row, (path, channel, window_index) in zip(best, zip(*columns, strict=True), strict=True):
        yield Match(float(distance_N[row]), path, channel, window_index, int(query_N[row]))


def _distances(
    values_NE: FloatArray, mean_E: FloatArray, scale_E: FloatArray, queries_QE: FloatArray
) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """Distance (N,) of each window from the nearest query, and which that is."""
    # A thread for each part is enough; the setting belongs to the calling thread.
    torch.set_num_threads(1)
    scale, queries = torch.from_numpy(scale_E), torch.from_numpy(queries_QE)
    distance_N = np.empty(len(values_NE), np.float32)
    query_N = np.empty(len(values_NE), np.intp)
    step = max(1, _VALUES_AT_A_TIME // values_NE.shape[1])
    with torch.inference_mode():
        for first in range(0, len(values_NE), step):
            some = slice(first, first + step)
            standard = torch.from_numpy(values_NE[some] - mean_E).mul_(scale)
            norm = torch.linalg.vector_norm(standard, dim=1).clamp(min=_LEAST_DEVIATION)
            cosine, nearest_query = (standard @ queries.T).max(dim=1)
            distance_N[some] = (1 - cosine / norm).clamp(min=0.0).numpy()
            query_N[some] = nearest_query.numpy()
    return distance_N, query_N
