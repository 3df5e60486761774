"""The logs of an output's tables: which there are, whether they are whole and this program's, and how they are made.

What predictions says of itself tells whether there are embeddings. Where there were some once (--restart let go of
them), their table stays, without rows, and takes part in all: an older run that wakes finds its log longer.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ser_core import storage
from ser_core.errors import DamagedOutputError, OutputError, SupersededError
from ser_core.storage import Location
from ser_core.tables.commits import OutrunError, Stamp
from ser_core.tables.delta_log import DeltaLog
from ser_core.tables.parts import Part, output_faults
from ser_core.tables.schema import (
    EMBEDDING_COLUMNS,
    FILE_COLUMNS,
    PREDICTION_COLUMNS,
    Fingerprint,
    embedding_schema,
    file_schema,
    prediction_schema,
    read_description,
)


def parts_at(log: DeltaLog, commit: int) -> list[Part]:
    """The parts of a table, as looked at, as they were after a commit."""
    change = log.change_back_to(commit)
    removed = {part.path for part in change.removes}
    return [*(part for part in log.parts() if part.path not in removed), *change.adds]


class OutputLogs:
    """Predictions and files below one output folder, and perhaps embeddings."""

    def __init__(self, output: Location) -> None:
        self.output = output
        self.predictions = DeltaLog(output.join("predictions"), "emotion")
        self.embeddings = DeltaLog(output.join("embeddings"), "encoder")
        self.files = DeltaLog(output.join("files"), "status")
        #: Those that take part, in the order of a commit; which, `exists` finds out.
        self.logs: tuple[DeltaLog, ...] = (self.predictions, self.files)
        #: What every table is to carry; (0, 0) until a run has taken them over.
        self.stamp = Stamp(owner=0, commit=0)

    def exists(self) -> bool:
        """Look at all tables; predictions, made last, tells whether there is an output.

        Raises:
            DamagedOutputError: a table is damaged, gone alone, or another program's.
        """
        with self._faults():
            is_there = {log: log.look() for log in (self.predictions, self.files)}
            is_begun = is_there[self.predictions] or (is_there[self.files] and self.files.stamp != Stamp(0, 0))
            must_be = [self.predictions, self.files] if is_begun else []
            if is_there[self.predictions] and self.has_embeddings:
                must_be.append(self.embeddings)
                is_there[self.embeddings] = self.embeddings.look()
            for log in must_be:
                if not is_there[log]:
                    raise DamagedOutputError(f"{log.location} is gone; restore it, use --restart, or another output")
                if not log.is_ours:
                    raise DamagedOutputError(f"{log.location} is another program's; restore it or use --restart")
            takes_part = self.embeddings in must_be or self._has_left_embeddings()
            self.logs = (self.predictions, *([self.embeddings] if takes_part else []), self.files)
            return is_begun

    @property
    def has_embeddings(self) -> bool:
        """Whether predictions, as last looked at, says that there are."""
        made_with = self._made_with()
        return made_with is not None and made_with.embeddings is not None

    def _made_with(self) -> Fingerprint | None:
        try:
            return read_description(self.predictions.description, self.predictions.location)
        except OutputError:
            # Whoever needs to know what it says is told so.
            return None

    def _has_left_embeddings(self) -> bool:
        """Whether there is a table of embeddings that is this program's, whatever predictions says."""
        log = self.embeddings.location.join("_delta_log")
        try:
            # Nearly no output has any, and a listing is quicker than a load.
            return bool(storage.list_files(log, limit=1)) and self.embeddings.look() and self.embeddings.is_ours
        except DamagedOutputError:
            return False

    def require_readable(self) -> None:
        """Read all that the logs say, before anything is done that rests on a part of it.

        Raises:
            DamagedOutputError: a table is damaged.
        """
        for log in self.logs:
            log.require_readable()

    def require_types(self) -> None:
        """Hold the columns of all tables against those of this program, as far as they have them.

        Raises:
            DamagedOutputError: another program changed one.
        """
        self.predictions.require_types(PREDICTION_COLUMNS)
        self.files.require_types(FILE_COLUMNS)
        if self.has_embeddings:
            self.embeddings.require_types(EMBEDDING_COLUMNS)

    def mend(self) -> list[str]:
        """Delete what a power cut left torn in a log that does not load for it; a line for each such log."""
        with self._faults():
            mended = [log for log in (self.predictions, self.files) if log.mend()]
            with suppress(DamagedOutputError):
                if self.predictions.look() and self.has_embeddings and self.embeddings.mend():
                    mended.append(self.embeddings)
            return [f"{log.location.name}: the log was left torn, as by a power cut, and is mended" for log in mended]

    def drop(self) -> None:
        """Delete all logs, predictions last: it tells, whatever is left of it, that there was an output.

        A run of before that wakes finds another log than its own, and stops.
        """
        with self._faults():
            self.files.drop()
            self._drop_embeddings()
            self.predictions.drop()

    def _drop_embeddings(self) -> None:
        """Delete the log of embeddings, unless it is whole and another program's."""
        with suppress(DamagedOutputError):
            if self.embeddings.look() and not self.embeddings.is_ours:
                return
        self.embeddings.drop()

    def create(self, labels: tuple[str, ...], description: str, *, embeddings: bool) -> None:
        """Make what is missing of the tables, predictions last; no embeddings in an output that has rows without.

        Raises:
            OutputError: another program has a table where embeddings are to be.
        """
        with self._faults():
            self.files.create(file_schema(labels), description)
            is_without = self.predictions.look() and self._made_with() is not None and not self.has_embeddings
            if embeddings and not is_without:
                self._create_embeddings(description)
            self.predictions.create(prediction_schema(labels), description)

    def _create_embeddings(self, description: str) -> None:
        try:
            self.embeddings.look()
        except DamagedOutputError:
            # Rows that are of use to nobody: predictions does not speak of them, or all are let go of.
            if self.predictions.look() and self.has_embeddings:
                raise
            self.embeddings.drop()
        self.embeddings.create(embedding_schema(), description)
        if not self.embeddings.is_ours:
            raise OutputError(
                f"{self.embeddings.location} is another program's; move it elsewhere, or use another output"
            )

    @contextmanager
    def _faults(self) -> Iterator[None]:
        with output_faults(self.output):
            try:
                yield
            except OutrunError as error:
                raise self._outrun() from error

    def _outrun(self) -> OutputError:
        if not self.exists():
            return DamagedOutputError(f"{self.output}: its tables are gone; restore them or run the same command again")
        if max(log.stamp.owner for log in self.logs) > self.stamp.owner:
            return SupersededError(f"{self.output}: a newer run took the output over; this one stops")
        return OutputError(f"{self.output}: another program changed the tables meanwhile; run the same command again")
