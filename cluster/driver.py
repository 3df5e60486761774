"""The driver's part of a scoring run: feed what is pending, assemble whole files, commit them on time."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from cluster.feed import END, FeedError, feed
from cluster.resources import Resources
from cluster.stages import failure_records
from ser_core.errors import FailureRateError, InterruptedRunError, OutputError, SerError, ServiceError
from ser_core.faults import Fault
from ser_core.records import PENDING_SCHEMA
from ser_core.tables import Assembler, RowSettings, Totals

#: Files whose places and blocks the driver holds at a time.
_ROUND_FILES = 200_000
_MAX_COMMIT_WINDOWS = 1_000_000
#: Of embeddings, which take several times as much for a moment when they are committed.
_MAX_COMMIT_BYTES = 2**27
#: Before this many files a share of failures says nothing.
_FAILURE_RATE_AFTER_FILES = 200
#: How often unfinished files are tried; at last file by file.
_PASSES = 3
_POLL_SECONDS = 0.2


class Tables(Protocol):
    """What the driver asks of the output."""

    def pending(self, plan_file: Path) -> Iterator[pa.Table]: ...

    def commit(self, predictions: pa.Table, files: pa.Table, embeddings: pa.Table | None) -> None: ...


class Pipeline(Protocol):
    """What the driver asks of an engine."""

    @property
    def resources(self) -> Resources: ...

    def run(self, pending: pa.Table, files_per_block: int) -> Iterator[pa.Table]: ...


@dataclass
class Driver:
    """Scores everything that is pending.

    Attributes:
        commit_seconds: longest that scored rows wait to be committed.
        max_failure_rate: share of files that may fail.
        totals: what this run has done so far; read it at any time.
        stop: set it (from a signal handler, say) to end the run cleanly.
        on_progress: called several times a second with `totals`.
        on_warning: called with a sentence when something was tried again.
    """

    tables: Tables
    pipeline: Pipeline
    rows: RowSettings
    commit_seconds: float
    max_failure_rate: float
    on_warning: Callable[[str], None]
    on_progress: Callable[[Totals], None] = lambda _: None
    stop: threading.Event = field(default_factory=threading.Event)
    totals: Totals = field(default_factory=Totals)
    _last_commit: float = field(default_factory=time.monotonic)

    def score(self, plan_file: Path, num_pending: int) -> None:
        """Score and commit every pending file.

        Raises:
            InterruptedRunError: `stop` was set; what was done is committed.
            FailureRateError: after 200 files, more failed than `max_failure_rate` allows; what was done is committed.
            ServiceError: storage failed as a whole; what was done is committed if the output still takes it.
            SupersededError: a newer run owns the output.
            SerError: the pipeline kept failing; what was done is committed.
        """
        for files in _rounds(self.tables.pending(plan_file)):
            self._score_round(files, num_pending)
        self._check_stop()

    def _score_round(self, files: pa.Table, num_pending: int) -> None:
        assembler = Assembler(self.rows, files.num_rows, self.totals)
        try:
            self._passes(files, assembler, num_pending)
        except OutputError:
            raise
        except SerError:
            self._commit(assembler)
            # A signal to many processes ends parts of Ray too; what they leave behind is no news then.
            self._check_stop()
            raise
        self._commit(assembler)

    def _passes(self, files: pa.Table, assembler: Assembler, num_pending: int) -> None:
        for number in range(1, _PASSES + 1):
            is_last = number == _PASSES
            files_per_block = 1 if is_last else self.pipeline.resources.files_per_block(num_pending)
            missing_F = assembler.missing_F()
            if not len(missing_F):
                return
            try:
                self._pass(files.take(pa.array(missing_F)), files_per_block, assembler)
            except FeedError as error:
                if is_last:
                    raise SerError(f"the pipeline failed {_PASSES} times; run again to go on: {error}") from error
                self.on_warning(f"trying the unfinished files again: {error}")
        lost = files.take(pa.array(assembler.missing_F()))
        assembler.add(failure_records(lost, Fault("crashed", f"its worker was lost {_PASSES} times")))

    def _pass(self, files: pa.Table, files_per_block: int, assembler: Assembler) -> None:
        with feed(self.pipeline.run(files, files_per_block)) as next_block:
            while True:
                self._check_stop()
                records = next_block(_POLL_SECONDS)
                if records is END:
                    return
                if records is not None:
                    is_record = records["service_fault"].is_null()
                    assembler.add(records.filter(is_record))
                    _raise_service_fault(records)
                self._after_block(assembler)

    def _check_stop(self) -> None:
        if self.stop.is_set():
            raise InterruptedRunError("stopped; what was scored is committed; run the same command to go on")

    def _after_block(self, assembler: Assembler) -> None:
        self.on_progress(self.totals)
        waited_seconds = time.monotonic() - self._last_commit
        is_much = assembler.num_ready_windows >= _MAX_COMMIT_WINDOWS or assembler.num_ready_bytes >= _MAX_COMMIT_BYTES
        if waited_seconds >= self.commit_seconds or is_much:
            self._commit(assembler)
        if self.totals.num_files >= _FAILURE_RATE_AFTER_FILES:
            check_failure_rate(self.totals.num_failed, self.totals.num_files, self.max_failure_rate)

    def _commit(self, assembler: Assembler) -> None:
        rows = assembler.take()
        if rows is not None:
            self.tables.commit(rows.predictions, rows.files, rows.embeddings)
        self._last_commit = time.monotonic()


def check_failure_rate(num_failed: int, num_files: int, max_failure_rate: float) -> None:
    """Stop a run that is mostly failing.

    Raises:
        FailureRateError: more than `max_failure_rate` of `num_files` failed.
    """
    rate = num_failed / num_files
    if rate > max_failure_rate:
        raise FailureRateError(
            f"{num_failed} of {num_files} files failed ({rate:.1%}), more than --max-failure-rate "
            f"{max_failure_rate:g}; files/status=failed says why; run again to go on"
        )


def _raise_service_fault(records: pa.Table) -> None:
    faults = records["service_fault"].drop_null()
    if len(faults):
        raise ServiceError(faults[0].as_py())


def _rounds(slices: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Pending files (PENDING_SCHEMA) in rounds, each numbered from 0."""
    held: list[pa.Table] = []
    for table in slices:
        held.append(table)
        if sum(part.num_rows for part in held) >= _ROUND_FILES:
            yield _numbered(held)
            held = []
    if any(part.num_rows for part in held):
        yield _numbered(held)


def _numbered(tables: list[pa.Table]) -> pa.Table:
    files = pa.concat_tables(tables).combine_chunks()
    return files.append_column(PENDING_SCHEMA.field("file_id"), pa.array(np.arange(files.num_rows)))
