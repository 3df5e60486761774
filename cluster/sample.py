"""A sample of an archive, from which its adaptation is estimated: the same windows whoever looks, and however.

Files come in the order of a hash of their path, which has nothing to do with what is in them, and of each its first
windows with speech. The windows follow from the archive and the settings alone: not from the order of a listing, nor
from the number of threads. Memory does not grow with the archive.

Shape letters: N windows of the sample, B windows of a batch, S samples of a window, C labels, R components.
"""

import hashlib
import heapq
import math
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cluster.stages import Attempts, Loader, LoadSettings
from ser_core.errors import ServiceError
from ser_core.records import PENDING_SCHEMA

if TYPE_CHECKING:
    from ser_core.models import Artifact, ModelOutput

#: Samples (B, S) of windows -> what the model says of them, components too.
Predict = Callable[[np.ndarray], "ModelOutput"]

#: Least number of windows that a file may give: less than that is hardly what it sounds like.
_LEAST_PER_FILE = 8
#: How much of a file is looked at until it has given its windows, in multiples of them, and at least so many seconds.
_LOOKS = (2, 16, 128)
_LEAST_LOOK_SECONDS = 60.0
#: Windows that are listened to for each one that is wanted; in an archive with less speech the sample is smaller.
LISTENED_PER_WINDOW = 64
#: Files of the plan that are held at a time.
_ROUND_FILES = 4_096
_BATCH_WINDOWS, _BATCH_SECONDS = 16, 600.0
_POLL_SECONDS = 0.2
#: Longest wait for the thread that reads to end; a read of storage that is away may take longer.
_LONGEST_CLOSE_SECONDS = 5.0

#: (rank of the file, channel, window_index)
_Key = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What the model says of the windows of a sample, in the order of their files' hash, channel and index."""

    logits_NC: np.ndarray
    components_NR: np.ndarray
    #: Number of files that gave a window.
    num_files: int
    #: Number of files that gave none because they could not be read.
    num_failed: int

    @property
    def num_windows(self) -> int:
        return len(self.logits_NC)


def batch_windows(window_seconds: float) -> int:
    """Number of windows in every batch of a sample, whatever the run's own batches are."""
    return max(1, min(_BATCH_WINDOWS, int(_BATCH_SECONDS / window_seconds)))


def windows_per_file(num_windows: int, num_files: int) -> int:
    """Most windows that each of so many files gives to a sample."""
    return max(_LEAST_PER_FILE, math.ceil(num_windows / num_files))


def looks_seconds(per_file: int, window_seconds: float, max_file_seconds: float) -> list[float]:
    """How much of a file is looked at until it has given its windows, ascending."""
    looks = (look * per_file * window_seconds for look in _LOOKS)
    return sorted({min(max_file_seconds, max(_LEAST_LOOK_SECONDS, seconds)) for seconds in looks})


def read_sample(
    load: LoadSettings,
    artifact: "Artifact",
    plan_file: Path,
    predict: Predict,
    *,
    num_windows: int,
    num_threads: int,
) -> Sample:
    """Look at a sample of what is planned, in threads of this process; the caller's waits, and hears of signals.

    Args:
        load: how files are read; windows never overlap here, and features are left to `predict`.
        artifact: the model.
        plan_file: the plan (PLAN_SCHEMA).
        predict: asks the model about up to `batch_windows` windows; called from several threads.
        num_windows: most windows of the sample.
        num_threads: number of threads that call `predict`.

    Raises:
        ServiceError: storage failed as a whole.
    """
    import torch

    num_torch_threads = torch.get_num_threads()
    per_file = windows_per_file(num_windows, pq.read_metadata(plan_file).num_rows)
    reader = _Reader(load, artifact, per_file)
    batches = _Batches(predict, batch_windows(load.windows.window_seconds), num_threads)
    errors: list[BaseException] = []

    def fill() -> None:
        try:
            with closing(reader):
                _fill(batches, reader, plan_file, num_windows)
        except BaseException as error:
            errors.append(error)
        finally:
            is_done.set()

    # A thread that was joined when a signal came would be taken for ended from then on.
    is_done = threading.Event()
    thread = threading.Thread(target=fill, name="ser-sample", daemon=True)
    try:
        # Within: a signal may come while the thread begins.
        thread.start()
        while not is_done.wait(_POLL_SECONDS):
            pass
        if errors:
            raise errors[0]
        return batches.sample(reader.num_failed)
    finally:
        reader.stop()
        batches.close()
        if thread.ident is not None:
            is_done.wait(_LONGEST_CLOSE_SECONDS)
        # The model computes on one thread in each of those; what is begun after them need not.
        torch.set_num_threads(num_torch_threads)


def _fill(batches: "_Batches", reader: "_Reader", plan_file: Path, num_windows: int) -> None:
    for rank, file in enumerate(in_hash_order(plan_file)):
        with closing(reader.windows(file)) as windows:
            for (channel, window_index), pcm_S in windows:
                batches.add((rank, channel, window_index), pcm_S)
                if batches.num_windows == num_windows:
                    return
        if reader.num_listened >= num_windows * LISTENED_PER_WINDOW:
            return


def in_hash_order(plan_file: Path) -> Iterator[pa.Table]:
    """Each planned file (PENDING_SCHEMA) by itself, by the sha256 of its path."""
    after = b""
    while True:
        first = heapq.nsmallest(_ROUND_FILES, _hashed(plan_file, after), key=itemgetter(0))
        for _, path, size, version in first:
            row = {"path": path, "size": size, "version": version, "file_id": 0}
            yield pa.Table.from_pylist([row], PENDING_SCHEMA)
        if len(first) < _ROUND_FILES:
            return
        after = first[-1][0]


def _hashed(plan_file: Path, after: bytes) -> Iterator[tuple[bytes, str, int, str]]:
    with pq.ParquetFile(plan_file) as plan:
        for batch in plan.iter_batches(columns=["path", "size", "version"]):
            for path, size, version in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                digest = hashlib.sha256(path.encode()).digest()
                if digest > after:
                    yield digest, path, size, version


class _Reader:
    """Gives the first windows with speech of a file, without reading it whole where it is long."""

    def __init__(self, load: LoadSettings, artifact: "Artifact", per_file: int) -> None:
        self.num_failed = 0
        #: Number of windows that were listened to so far; those of a second look count again.
        self.num_listened = 0
        self._artifact = artifact
        # The usual two channels together give what a mixed file gives.
        self._per_channel = per_file if load.channels == "mix" else math.ceil(per_file / 2)
        windows = replace(load.windows, hop_seconds=load.windows.window_seconds)
        self._load = replace(load, windows=windows, features_on="device")
        self._looks_seconds = looks_seconds(per_file, windows.window_seconds, windows.max_file_seconds)
        self._loaders: dict[float, Loader] = {}
        self._is_stopped = False

    def stop(self) -> None:
        """End the decoding children for good, from any thread; a file that is being read ends in a ServiceError."""
        self._is_stopped = True
        for loader in list(self._loaders.values()):
            loader.stop()

    def close(self) -> None:
        """End the decoding children; from the thread that reads."""
        for loader in self._loaders.values():
            loader.close()

    def windows(self, file: pa.Table) -> Generator[tuple[tuple[int, int], np.ndarray], None, None]:
        """Channel and index of each window that the file gives, and its samples (S,)."""
        given: set[tuple[int, int]] = set()
        listened_before = self.num_listened
        for look_seconds in self._looks_seconds:
            num_given: Counter[int] = Counter()
            seconds: Counter[int] = Counter()
            for record in self._records(file, look_seconds):
                channel = record["channel"]
                seconds[channel] += record["audio_seconds"]
                self.num_listened += len(record["window_index"])
                for window_index, pcm_S in _judged(record, self._load.windows.window_samples):
                    if num_given[channel] < self._per_channel:
                        num_given[channel] += 1
                        if (channel, window_index) not in given:
                            given.add((channel, window_index))
                            yield (channel, window_index), pcm_S
            if not any(seconds[one] >= look_seconds and num_given[one] < self._per_channel for one in seconds):
                break
        self.num_failed += self.num_listened == listened_before

    def _records(self, file: pa.Table, look_seconds: float) -> Iterator[dict[str, Any]]:
        if look_seconds not in self._loaders:
            windows = replace(self._load.windows, max_file_seconds=look_seconds)
            # Nobody restarts this process where a file takes it along: there is nothing to be noted of attempts.
            self._loaders[look_seconds] = Loader(replace(self._load, windows=windows), self._artifact, Attempts())
        # After the loader is where `stop` finds it: one of the two ends it.
        if self._is_stopped:
            raise ServiceError("reading was stopped")
        for table in self._loaders[look_seconds](file):
            for record in table.to_pylist():
                if record["service_fault"] is not None:
                    raise ServiceError(record["service_fault"])
                yield record


def _judged(record: dict[str, Any], window_samples: int) -> Iterator[tuple[int, np.ndarray]]:
    """Index and samples of each window of a record that goes to the model."""
    pcm_JS = np.frombuffer(record["payload"], np.float32).reshape(-1, window_samples)
    judged = [index for index, is_judged in zip(record["window_index"], record["is_judged"], strict=True) if is_judged]
    return zip(judged, pcm_JS, strict=True)


class _Batches:
    """Asks the model about windows as their batches fill."""

    def __init__(self, predict: Predict, batch_size: int, num_threads: int) -> None:
        self.num_windows = 0
        self._predict, self._batch_size, self._num_threads = predict, batch_size, num_threads
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="ser-sample")
        self._held: list[tuple[_Key, np.ndarray]] = []
        self._asked: list[tuple[list[_Key], Future[ModelOutput]]] = []

    def close(self) -> None:
        """End the threads, each when its batch is done."""
        self._threads.shutdown(cancel_futures=True)

    def add(self, key: _Key, pcm_S: np.ndarray) -> None:
        """Take a window; it waits where all threads are busy and more would only take memory."""
        self._held.append((key, pcm_S))
        self.num_windows += 1
        if len(self._held) == self._batch_size:
            self._ask()
            if len(self._asked) > self._num_threads:
                self._asked[-1 - self._num_threads][1].result()

    def sample(self, num_failed: int) -> Sample:
        """All windows, in the order of their keys."""
        if self._held:
            self._ask()
        nothing = np.zeros((0, 0), np.float32)
        if not self._asked:
            return Sample(logits_NC=nothing, components_NR=nothing, num_files=0, num_failed=num_failed)
        keys = [key for of_batch, _ in self._asked for key in of_batch]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        outputs = [answer.result() for _, answer in self._asked]
        logits_NC = np.concatenate([output.logits_NC for output in outputs])[order]
        components_NR = np.concatenate([output.components_NR for output in outputs])[order]
        num_files = len({rank for rank, *_ in keys})
        return Sample(logits_NC=logits_NC, components_NR=components_NR, num_files=num_files, num_failed=num_failed)

    def _ask(self) -> None:
        batch_BS = np.stack([pcm_S for _, pcm_S in self._held])
        self._asked.append(([key for key, _ in self._held], self._threads.submit(self._predict, batch_BS)))
        self._held = []
