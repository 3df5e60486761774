"""The two tables as one: commits numbered across both, by one run at a time.

A commit goes to predictions and then to files, with the same number on both, empty where there is nothing to do.
Every number is preceded by a look: both tables must belong to this run and stand at the number before. The
compare-and-swap of `delta_log` makes the look hold until the commit, so a run that was fenced off (`fence`) can
commit nothing more, however late it wakes. Predictions may be one commit ahead when a run dies in between;
`recover` takes that commit back.
"""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from ser_core import storage
from ser_core.errors import DamagedOutputError, OutputError, SupersededError
from ser_core.storage import Location
from ser_core.tables.commits import Change, OutrunError, Stamp
from ser_core.tables.delta_log import DeltaLog
from ser_core.tables.parts import PART_PATTERN, output_faults
from ser_core.tables.schema import FILE_COLUMNS, PREDICTION_COLUMNS, file_schema, prediction_schema

#: Left by writers that died: `storage.put`'s and deltalake's unfinished files.
_TEMPORARY_PATTERN = re.compile(r"(.*/)?(\.[^/]+\.[0-9a-f]{32}\.tmp|_commit_[^/]+\.tmp|[^/]+\.(json|parquet)#\d+)")
_DELETES_IN_FLIGHT = 16


class TablePair:
    """Predictions and files below one output folder."""

    def __init__(self, output: Location) -> None:
        self.output = output
        self.predictions = DeltaLog(output.join("predictions"), "emotion")
        self.files = DeltaLog(output.join("files"), "status")
        self.logs = (self.predictions, self.files)
        self.stamp = Stamp(owner=0, commit=0)

    def exists(self) -> bool:
        """Look at both tables; predictions, made last, tells whether there is an output.

        Raises:
            DamagedOutputError: a table is damaged, gone alone, or another program's.
        """
        with self._faults():
            is_there = {log: log.look() for log in self.logs}
            is_begun = is_there[self.predictions] or (is_there[self.files] and self.files.stamp != Stamp(0, 0))
            for log in self.logs:
                if is_begun and not is_there[log]:
                    raise DamagedOutputError(f"{log.location} is gone; restore it, use --restart, or another output")
                if is_begun and not log.is_ours:
                    raise DamagedOutputError(f"{log.location} is another program's; restore it or use --restart")
            return is_begun

    def require_readable(self) -> None:
        """Read all that both logs say, before anything is done that rests on a part of it.

        Raises:
            DamagedOutputError: a table is damaged.
        """
        for log in self.logs:
            log.require_readable()

    def require_types(self) -> None:
        """Hold the columns of both tables against those of this program, as far as they have them.

        Raises:
            DamagedOutputError: another program changed one.
        """
        self.predictions.require_types(PREDICTION_COLUMNS)
        self.files.require_types(FILE_COLUMNS)

    def mend(self) -> list[str]:
        """Delete what a power cut left torn in a log that does not load for it; a line for each such log."""
        with self._faults():
            return [
                f"{log.location.name}: the log was left torn, as by a power cut, and is mended"
                for log in self.logs
                if log.mend()
            ]

    def drop(self) -> None:
        """Delete both logs, predictions last: it tells, whatever is left of it, that there was an output.

        A run of before that wakes finds another log than its own, and stops.
        """
        with self._faults():
            self.files.drop()
            self.predictions.drop()

    def create(self, labels: tuple[str, ...], description: str) -> None:
        """Make what is missing of the two tables, predictions last."""
        with self._faults():
            self.files.create(file_schema(labels), description)
            self.predictions.create(prediction_schema(labels), description)

    def fence(self) -> None:
        """Take both tables over: from here on nothing of an older run can be committed.

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
        """Take back a commit that one table alone has; a line that says so, or none.

        It reached predictions and not files, or, where an entry was lost, the other way round. To be called right after
        `fence`. The parts of the state before are still there: nothing is deleted while the tables differ.

        Raises:
            DamagedOutputError: the tables differ by more, or the state before is not in the log.
        """
        with self._faults():
            older, newer = sorted(self.logs, key=lambda log: log.stamp.commit)
            ahead = newer.stamp.commit - older.stamp.commit
            self.stamp = Stamp(self.stamp.owner, older.stamp.commit)
            if ahead == 0:
                return []
            if ahead != 1:
                raise DamagedOutputError(f"{self.output}: the two tables are {ahead} commits apart; use --restart")
            newer.transact(newer.change_back_to(self.stamp.commit), self.stamp)
            return [f"took back commit {self.stamp.commit + 1}, which the run before left half done"]

    def add_columns(self, labels: tuple[str, ...]) -> list[str]:
        """Give both tables the columns that they lack; a line for each table that got one. After `recover`."""
        with self._faults():
            lines = []
            for log, schema in ((self.predictions, prediction_schema(labels)), (self.files, file_schema(labels))):
                if names := log.add_columns(schema, self.stamp):
                    what = "column" if len(names) == 1 else "columns"
                    lines.append(f"{log.location.name}: new {what} {', '.join(names)}, null in the rows of before")
            return lines

    def describe(self, description: str) -> None:
        """Change what predictions says of itself."""
        with self._faults():
            self.predictions.describe(description, self.stamp)

    def remake(self, labels: tuple[str, ...], description: str) -> None:
        """Drop all rows of both tables and give them other columns, predictions last. After `fence`."""
        with self._faults():
            self.files.replace(file_schema(labels), description, self.stamp)
            self.predictions.replace(prediction_schema(labels), description, self.stamp)

    def look(self) -> None:
        """Look at both tables.

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

    def commit(self, predictions: Change, files: Change) -> None:
        """Look at both tables, then commit to both."""
        self.look()
        stamp = Stamp(self.stamp.owner, self.stamp.commit + 1)
        with self._faults():
            self.predictions.transact(predictions, stamp)
            self.files.transact(files, stamp)
        self.stamp = stamp

    def delete_orphans(self) -> None:
        """Delete what dead writers left and what was swapped out, in the folders of both tables.

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

    @contextmanager
    def _faults(self) -> Iterator[None]:
        with output_faults(self.output):
            try:
                yield
            except OutrunError as error:
                raise self._outrun() from error

    def _outrun(self) -> OutputError:
        if not self.exists():
            return DamagedOutputError(
                f"{self.output}: both tables are gone; restore them or run the same command again"
            )
        if max(log.stamp.owner for log in self.logs) > self.stamp.owner:
            return SupersededError(f"{self.output}: a newer run took the output over; this one stops")
        return OutputError(f"{self.output}: another program changed the tables meanwhile; run the same command again")


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
