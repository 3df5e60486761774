"""What a model hears of windows, computed once per machine into one memory-mapped file.

Shape letters: W windows of the store, B windows of a call.

    FOLDER/<key>-<shape>-<dtype>/features.bin   (W, ...): a row for each window; holes where nothing was computed yet
    FOLDER/<key>-<shape>-<dtype>/done.bin       one byte for each block of 64 rows: 1 when it is there

A block is computed whole and in one way, so what is in it depends neither on who computed it nor on what was there
before. Two processes that compute the same block write the same bytes: nothing needs a lock, and what a killed
process has done is kept.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ser_core.distributed import ProcessGroup
from ser_core.errors import OutputError
from ser_core.storage import Location, faults_of

_ROWS, _DONE = "features.bin", "done.bin"
_BLOCK = 64
#: What a kill may cost.
_BLOCKS_PER_SYNC = 16
Windows = npt.NDArray[np.int64]
#: Of window numbers: what is to be kept of each.
Compute = Callable[[Windows], npt.NDArray[Any]]


class FeatureCache:
    """Rows by window number, after `fill` has seen to them."""

    def __init__(self, entry: Path, num_windows: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        """Open a store of `num_windows` rows of a shape, or make an empty one.

        Raises:
            OutputError: the folder cannot be written.
            ServiceError: the disk is full.
        """
        self._num_windows = num_windows
        # Rows of another shape are another store's: neither may write into the other's.
        self._entry = entry.with_name(f"{entry.name}-{'x'.join(map(str, shape))}-{np.dtype(dtype).name}")
        with self._faults():
            self._entry.mkdir(parents=True, exist_ok=True)
            self._rows = _map(self._entry / _ROWS, (num_windows, *shape), dtype)
            self._done = _map(self._entry / _DONE, (-(-num_windows // _BLOCK),), np.uint8)

    def fill(
        self, window_B: Windows, compute: Compute, group: ProcessGroup, progress: Callable[[int, int], None]
    ) -> None:
        """See to these windows' rows, and their blocks'; the workers of a machine divide the work, all must call it.

        Args:
            window_B: window numbers.
            compute: called with the numbers of a whole block.
            group: whose workers call it.
            progress: is told blocks done, of those to do, by this worker.
        """
        blocks = np.unique(window_B // _BLOCK)
        missing = self._missing(blocks)
        # What is missing is looked up before anyone adds to it, so that all divide the same list.
        group.barrier()
        mine = missing[group.local_rank :: group.local_size]
        group.together(lambda: self._compute(mine, compute, progress))
        # Unless another training, on the same clips at the same time, had added to it.
        group.together(lambda: self._compute(self._missing(blocks), compute, progress))

    def _missing(self, blocks: Windows) -> Windows:
        missing: Windows = blocks[self._done[blocks] == 0]
        return missing

    def _compute(self, blocks: Windows, compute: Compute, progress: Callable[[int, int], None]) -> None:
        with self._faults(), (self._entry / _ROWS).open("r+b") as rows, (self._entry / _DONE).open("r+b") as done:
            for start in range(0, len(blocks), _BLOCKS_PER_SYNC):
                group = blocks[start : start + _BLOCKS_PER_SYNC].tolist()
                for block in group:
                    self._write(rows.fileno(), block, compute)
                os.fsync(rows.fileno())
                for block in group:
                    os.pwrite(done.fileno(), b"\1", block)
                progress(start + len(group), len(blocks))

    def _write(self, descriptor: int, block: int, compute: Compute) -> None:
        """Not through the memory map: on a full disk that would end the process."""
        window_B = np.arange(block * _BLOCK, min((block + 1) * _BLOCK, self._num_windows))
        row_bytes = self._rows.itemsize * int(np.prod(self._rows.shape[1:]))
        data = np.ascontiguousarray(compute(window_B), self._rows.dtype).tobytes()
        written = 0
        while written < len(data):
            written += os.pwrite(descriptor, memoryview(data)[written:], int(window_B[0]) * row_bytes + written)

    def __getitem__(self, window_B: Windows) -> npt.NDArray[Any]:
        """A copy of these rows (B, ...)."""
        rows: npt.NDArray[Any] = self._rows[window_B]
        return rows

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            with faults_of(Location(str(self._entry))):
                yield
        except OSError as error:
            folder = self._entry.parent
            raise OutputError(f"{folder}: cannot keep features ({error.strerror}); name another cache_dir") from error


def _map(file: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> "np.memmap[Any, Any]":
    with file.open("ab") as opened:
        # As large as it is already where another process was first.
        opened.truncate(int(np.prod(shape)) * np.dtype(dtype).itemsize)
    return np.memmap(file, dtype, mode="r", shape=shape)
