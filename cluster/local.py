"""The scoring pipeline in this process, without Ray: the stages in threads, each loader with its decoding child."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow as pa

from cluster.resources import Resources
from cluster.stages import Attempts, Loader, LoadSettings, PredictSettings, PredictStage, blocks_of

if TYPE_CHECKING:
    from ser_core.models import Artifact

#: Batches of loaded windows, and predicted tables, that wait for each predictor.
_AHEAD = 2
#: Longest wait for threads to end; a read of storage that is away may take longer.
_LONGEST_CLOSE_SECONDS = 5.0
#: What a record weighs of which the predictor gets no window.
_NONE_JUDGED = 1 / 32
#: How long windows wait for others to fill their batch.
_FILL_SECONDS = 0.5


class LocalPipeline:
    """Loads and predicts in threads of this process; the predictors share one model.

    `close` it from any thread: a pass that is being read ends, and with it its threads and children.
    """

    def __init__(
        self, *, load: LoadSettings, predict: PredictSettings, resources: Resources, artifact: "Artifact"
    ) -> None:
        self.resources = resources
        self._load = load
        self._artifact = artifact
        self._predict = PredictStage(predict, artifact, resources.num_predictors)
        self._attempts = Attempts()
        self._lock = threading.Lock()
        self._is_closed = False
        self._current: _Pass | None = None

    def run(self, pending: pa.Table, files_per_block: int) -> Iterator[pa.Table]:
        """Score `pending` (PENDING_SCHEMA).

        Yields:
            Records (PREDICTED_SCHEMA), a block as soon as it is done, in no order.
        """
        blocks = blocks_of(pending, files_per_block)
        loaders = [
            Loader(self._load, self._artifact, self._attempts)
            for _ in range(min(self.resources.num_loaders, len(blocks)))
        ]
        num_predictors = min(self.resources.num_predictors, len(blocks))
        with self._lock:
            if self._is_closed:
                return
            self._current = current = _Pass(blocks, loaders, self._predict, num_predictors, self.resources.batch_size)
        with closing(current):
            yield from current.predicted()

    def close(self) -> None:
        """End all threads and children."""
        import torch

        with self._lock:
            self._is_closed = True
        if self._current is not None:
            self._current.close()
        # The predictors' own number of threads would else be that of every thread begun from here on.
        torch.set_num_threads(torch.get_num_threads())


class _Pass:
    """The threads of one pass over pending files."""

    def __init__(
        self,
        blocks: list[pa.Table],
        loaders: list[Loader],
        predict: Callable[[pa.Table], pa.Table],
        num_predictors: int,
        batch_size: int,
    ) -> None:
        self._blocks = iter(blocks)
        self._blocks_lock = threading.Lock()
        self._loaders = loaders
        self._predict = predict
        self._batch_size = batch_size
        # In windows: a batch is filled from the records of several files, so that little of it is padding.
        self._loaded = _Channel(num_writers=len(loaders), capacity=_AHEAD * batch_size * num_predictors)
        self._predicted = _Channel(num_writers=num_predictors, capacity=_AHEAD * num_predictors)
        self._error: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._run, args=(work,), name="ser-stage", daemon=True)
            for work in [*(lambda loader=loader: self._load(loader) for loader in loaders)]
            + [self._predict_loaded] * num_predictors
        ]
        for thread in self._threads:
            thread.start()

    def predicted(self) -> Iterator[pa.Table]:
        """What the predictors give, to the end; raises what a stage raised."""
        while tables := self._predicted.take(1):
            yield from tables
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the threads, wherever they are; from any thread."""
        self._loaded.close()
        self._predicted.close()
        for loader in self._loaders:
            loader.stop()
        until = time.monotonic() + _LONGEST_CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = self._error or error
            self._loaded.close()
            self._predicted.close()

    def _next_block(self) -> pa.Table | None:
        with self._blocks_lock:
            return next(self._blocks, None)

    def _load(self, loader: Loader) -> None:
        try:
            while (block := self._next_block()) is not None:
                for record, num_judged in _records(loader(block)):
                    if not self._loaded.put(record, num_judged or _NONE_JUDGED):
                        return
        finally:
            loader.close()
            self._loaded.finish()

    def _predict_loaded(self) -> None:
        try:
            while tables := self._loaded.take(self._batch_size):
                if not self._predicted.put(self._predict(pa.concat_tables(tables)), 1):
                    return
        finally:
            self._predicted.finish()


class _Channel:
    """Tables on their way from some threads to others, of a bounded weight at a time."""

    def __init__(self, *, num_writers: int, capacity: int) -> None:
        self._tables: deque[tuple[pa.Table, float]] = deque()
        self._weight = 0.0
        self._num_writers = num_writers
        self._capacity = capacity
        self._is_closed = False
        self._changed = threading.Condition()

    def put(self, table: pa.Table, weight: float) -> bool:
        """Wait for room and add a table; False if the channel is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._weight < self._capacity)
            if not self._is_closed:
                self._tables.append((table, weight))
                self._weight += weight
                self._changed.notify_all()
            return not self._is_closed

    def finish(self) -> None:
        """One of the writers has put its last table."""
        with self._changed:
            self._num_writers -= 1
            self._changed.notify_all()

    def take(self, weight: float) -> list[pa.Table]:
        """Wait for a table, and for a moment for more of them, up to this weight in all. Nothing at the end."""
        with self._changed:
            while not self._changed.wait_for(lambda: self._weight >= weight or self._is_over, _FILL_SECONDS):
                if self._tables:
                    break
            taken: list[pa.Table] = []
            # What there is of records without a window leaves room for the last whole one.
            while self._tables and not self._is_closed and (not taken or self._tables[0][1] <= math.ceil(weight)):
                table, of_table = self._tables.popleft()
                taken.append(table)
                weight -= of_table
                self._weight -= of_table
            self._changed.notify_all()
            return taken

    @property
    def _is_over(self) -> bool:
        return self._is_closed or not self._num_writers

    def close(self) -> None:
        """Nothing more goes in or out; who waits is woken."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()


def _records(tables: Iterable[pa.Table]) -> Iterator[tuple[pa.Table, int]]:
    """Each record (LOADED_SCHEMA) as a table of its own, and how many of its windows are judged."""
    for table in tables:
        for row, is_judged in enumerate(table["is_judged"].to_pylist()):
            yield table.slice(row, 1), sum(is_judged)
