"""The tables as one: commits numbered across all, by one run at a time.

A commit goes to predictions, to embeddings where an output has them, and last to files, with the same number on each,
empty where there is nothing to do. Every number is preceded by a look: all tables must belong to this run and stand at
the number before. The compare-and-swap of `delta_log` makes the look hold until the commit, so a run that was fenced
off (`fence`) can commit nothing more, however late it wakes. The first ones may be one commit ahead when a run dies in
between; `recover` takes that commit back.
"""

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from ser_core import storage
from ser_core.errors import DamagedOutputError, OutputError
from ser_core.storage import Location
from ser_core.tables.commits import Change, OutrunError, Stamp
from ser_core.tables.delta_log import DeltaLog
from ser_core.tables.output_logs import OutputLogs
from ser_core.tables.parts import PART_PATTERN
from ser_core.tables.schema import (
    embedding_schema,
    file_schema,
    prediction_schema,
)

#: Left by writers that died: `storage.put`'s and deltalake's unfinished files.
_TEMPORARY_PATTERN = re.compile(r"(.*/)?(\.[^/]+\.[0-9a-f]{32}\.tmp|_commit_[^/]+\.tmp|[^/]+\.(json|parquet)#\d+)")
_DELETES_IN_FLIGHT = 16


class TablePair(OutputLogs):
    """The tables below one output folder, to be changed together."""

    def fence(self) -> None:
        """Take all tables over: from here on nothing of an older run can be committed.

        Raises:
            DamagedOutputError: a table is damaged or gone.
            SupersededError: another run took them over at the same moment.
        """
        with self._faults():
            if not self.exists():
                raise self._outrun()
            owner = 1 + max(log.stamp.owner for log in self.logs)
            for log in self.logs:
                self._take(log, owner)
            self.stamp = Stamp(owner, self.files.stamp.commit)

    def _take(self, log: DeltaLog, owner: int) -> None:
        """Again where an older run came in between: both would stop otherwise."""
        while True:
            if not log.look() or log.stamp.owner >= owner:
                raise OutrunError
            with suppress(OutrunError):
                log.take_back_stray()
                log.transact(Change(), Stamp(owner, log.stamp.commit))
                return

    def recover(self) -> list[str]:
        """Take back a commit that not all tables have; a line that says so, or none.

        It reached predictions and not files, or, where an entry was lost, the other way round. To be called right after
        `fence`. The parts of the state before are still there: nothing is deleted while the tables differ. Where it is
        killed, the next one goes on: what was taken back is at the number of the others by then.

        Raises:
            DamagedOutputError: the tables differ by more, or the state before is not in the log.
        """
        with self._faults():
            is_left = self.embeddings in self.logs and not self.has_embeddings
            with_rows = [log for log in self.logs if log is not self.embeddings or not is_left]
            commits = [log.stamp.commit for log in with_rows]
            ahead = max(commits) - min(commits)
            self.stamp = Stamp(self.stamp.owner, min(commits))
            if ahead > 1:
                raise DamagedOutputError(f"{self.output}: the tables are {ahead} commits apart; use --restart")
            for log in with_rows:
                if log.stamp != self.stamp:
                    log.transact(log.change_back_to(self.stamp.commit), self.stamp)
            if is_left and (self.embeddings.stamp != self.stamp or self.embeddings.parts()):
                self.embeddings.transact(Change(removes=tuple(self.embeddings.parts())), self.stamp)
            half_done = [f"took back commit {self.stamp.commit + 1}, which the run before left half done"]
            return half_done if ahead else []

    def add_columns(self, labels: tuple[str, ...]) -> list[str]:
        """Give all tables the columns that they lack; a line for each table that got one. After `recover`."""
        schemas = {self.predictions: prediction_schema(labels), self.files: file_schema(labels)}
        if self.has_embeddings:
            schemas[self.embeddings] = embedding_schema()
        with self._faults():
            lines = []
            for log, schema in schemas.items():
                if names := log.add_columns(schema, self.stamp):
                    what = "column" if len(names) == 1 else "columns"
                    lines.append(f"{log.location.name}: new {what} {', '.join(names)}, null in the rows of before")
            return lines

    def describe(self, description: str) -> None:
        """Change what predictions says of itself."""
        with self._faults():
            self.predictions.describe(description, self.stamp)

    def remake(self, labels: tuple[str, ...], description: str, *, embeddings: bool) -> None:
        """Drop all rows and give the tables other columns, predictions last. After `fence`.

        What is left of embeddings that are no longer wanted `recover` lets go of.
        """
        with self._faults():
            self.files.replace(file_schema(labels), description, self.stamp)
            if embeddings:
                self.embeddings.replace(embedding_schema(), description, self.stamp)
            self.predictions.replace(prediction_schema(labels), description, self.stamp)

    def look(self) -> None:
        """Look at all tables that take part.

        Raises:
            SupersededError: they belong to another run.
            OutputError: they are not as this run left them.
        """
        with self._faults():
            for log in self.logs:
                log.require_unmoved()
                if log.stamp != self.stamp:
                    raise OutputError(f"{self.output}: a commit was left half done; run the same command again")

    @contextmanager
    def staging(self) -> Iterator[None]:
        """Look, then write parts and `commit` them in here; what was written for nothing is deleted again.

        Raises:
            SupersededError: a newer run took the tables over.
            OutputError: they are not as this run left them.
        """
        self.look()
        try:
            yield
        except OutputError:
            # A newer run's tidying may be over, so nobody else would.
            for log in self.logs:
                log.store.discard()
            raise

    def commit(self, changes: Mapping[DeltaLog, Change]) -> None:
        """Look at all tables, then commit to each, nothing where nothing changes."""
        self.look()
        stamp = Stamp(self.stamp.owner, self.stamp.commit + 1)
        with self._faults():
            for log in self.logs:
                log.transact(changes.get(log, Change()), stamp)
        self.stamp = stamp

    def delete_orphans(self) -> None:
        """Delete what dead writers left and what was swapped out, in the folders of all tables.

        The listing comes before the look: a part of a newer run cannot be in it unless the look fails.

        Raises:
            SupersededError: a newer run took the tables over; nothing was deleted.
            OutputError: a part that a table names is gone or of another size; nothing was deleted.
        """
        with self._faults():
            listed = {log: dict(storage.list_files(log.location)) for log in self.logs}
            self.look()
            orphans: list[Location] = []
            for log, sizes in listed.items():
                live = {part.path: part.num_bytes for part in log.parts()}
                _require_whole(log.location, live, sizes)
                # A part of another program was the table's until it was joined or rewritten.
                dropped = log.dropped()
                orphans += [
                    log.location.join(path) for path in sizes.keys() - live if _is_ours(path) or path in dropped
                ]
            # One deletion takes tens of milliseconds on S3, and a compaction leaves thousands.
            with ThreadPoolExecutor(_DELETES_IN_FLIGHT if self.output.is_s3 else 1) as pool:
                list(pool.map(storage.delete, orphans))


def _is_ours(path: str) -> bool:
    return bool(PART_PATTERN.fullmatch(path) or _TEMPORARY_PATTERN.fullmatch(path))


def _require_whole(table: Location, live: dict[str, int], sizes: dict[str, int]) -> None:
    """Hold the parts that a table names against the files that are there, by their sizes in bytes."""
    for path, num_bytes in sorted(live.items()):
        if path not in sizes:
            raise DamagedOutputError(f"{table.join(path)} is gone; restore it or use --restart")
        if sizes[path] != num_bytes:
            raise DamagedOutputError(
                f"{table.join(path)} is damaged: it has {sizes[path]} bytes and not {num_bytes}; restore it or use "
                "--restart ('ser verify' looks at all parts)"
            )
