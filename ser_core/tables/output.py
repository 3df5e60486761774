"""The output folder: the Delta tables, `run.json` and `_ser/`. Only this module and what it calls know its layout.

`Output` is the place, `OpenOutput` what was found there, `Run` (run.py) the right to write to it.
Layout and guarantees: docs/architecture.md.
"""

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ser_core import storage
from ser_core.encoding import json_bytes
from ser_core.errors import DamagedOutputError, OutputError
from ser_core.storage import Location, Lock
from ser_core.tables.comparison import Comparison, sweep
from ser_core.tables.parts import WHERE_FORBIDDEN, output_faults
from ser_core.tables.places import require_in_place
from ser_core.tables.run import Run
from ser_core.tables.schema import FORMAT, Fingerprint, describe, read_description, read_format
from ser_core.tables.table_pair import TablePair

#: What deltalake refuses in a table's place, or reads as another place than everybody else does.
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]|%[0-9A-Fa-f]{2}")
_UNUSABLE_ON_S3 = re.compile(r"[#?]|/\.{0,2}(?:/|$)")


class Output:
    """The place of an output; making one touches nothing.

    Every method raises ServiceError when storage failed as a whole.
    """

    def __init__(self, location: Location, *, make_lock: Callable[[Location], Lock] = Lock) -> None:
        """`make_lock` makes the lock of a file.

        Raises:
            OutputError: no table can be where the location is.
        """
        _require_usable(location)
        self.location = location
        self._lock = make_lock(location.join("_ser", "lock.json"))
        self._marker = _marker(location)

    @contextmanager
    def lock(self, on_event: Callable[[str], None], *, restart: bool = False) -> Iterator[None]:
        """Prove that files can be made here, keep other runs away politely, and mend what a power cut left torn.

        The tables stay exact without the lock.

        Args:
            on_event: gets a line for whatever was not as it should be.
            restart: whether a damaged marker is made anew.

        Raises:
            OutputError: not ours, no permission, or the storage ignores the condition of a conditional write.
            OutputBusyError: another run is alive, naming its host, pid and start.
        """
        self.check_writable(restart=restart)
        with self._lock.held(on_event):
            for line in TablePair(self.location).mend():
                on_event(line)
            yield

    def check_writable(self, *, restart: bool = False) -> None:
        """Prove that files can be made here, and that one that exists is not made again.

        Raises:
            OutputError: not ours, no permission, or the storage ignores the condition of a conditional write.
        """
        is_marked = self._require_ours(restart=restart, is_to_write=True)
        probe = self.location.join("_ser", f"probe-{uuid.uuid4().hex}")
        with storage.one_line_faults(self.location, "cannot be written to", "use another output"):
            if not is_marked:
                storage.put(self._marker, _mark())
            created = [storage.put_new(probe, b"probe") for _ in range(2)]
            storage.delete(probe)
        if created != [True, False]:
            raise OutputError(
                f"{self.location}: the storage ignores If-None-Match, so two runs could overwrite each other; "
                "use one that honours it"
            )

    def open(self, *, restart: bool = False) -> "OpenOutput":
        """Look at the folder and at both tables, which may not be there yet; writes nothing.

        Args:
            restart: whether `OpenOutput.restart` will be called: damaged tables are no hindrance then.

        Raises:
            OutputError: the folder holds something else, is damaged, or was made by a newer program.
        """
        self._require_ours(restart=restart, is_to_write=False)
        return OpenOutput(self.location, restart=restart)

    def _require_ours(self, *, restart: bool, is_to_write: bool) -> bool:
        """Whether the folder has a whole marker. Without one it is ours by its tables, or where it holds nothing."""
        require_in_place(self.location, is_to_write=is_to_write)
        with storage.one_line_faults(self._marker, "cannot be looked at", WHERE_FORBIDDEN):
            is_marked = storage.exists(self._marker)
        with storage.one_line_faults(self.location, "cannot be read as a folder", WHERE_FORBIDDEN):
            files = [] if is_marked else storage.list_files(self.location, limit=100)
        try:
            if is_marked:
                with output_faults(self._marker):
                    read_format(storage.read(self._marker), self._marker)
        except DamagedOutputError:
            if not (restart or self._has_our_tables()):
                raise
            return False
        if not is_marked and any(not path.startswith("_ser/") for path, _ in files) and not self._has_our_tables():
            raise OutputError(f"{self.location} is not empty and was not made by ser; use another output")
        return is_marked

    def _has_our_tables(self) -> bool:
        try:
            return OpenOutput(self.location).is_made
        except DamagedOutputError:
            return False


class OpenOutput:
    """An output as it was found: its tables, looked at once, and what they were made with."""

    def __init__(self, location: Location, *, restart: bool = False) -> None:
        self.location = location
        self._pair = TablePair(location)
        self.fingerprint: Fingerprint | None = None
        try:
            self.is_made = self._pair.exists()
            if self.is_made:
                self._pair.require_readable()
                self._pair.require_types()
                self.fingerprint = self._read_fingerprint()
        except DamagedOutputError:
            if not restart:
                raise
            self.is_made = True

    def check(self, fingerprint: Fingerprint) -> None:
        """Refuse settings that `begin` would refuse; reads and writes nothing.

        Raises:
            OutputError: the tables were made with other settings; it names both values.
        """
        changes = [] if self.fingerprint is None else self.fingerprint.changes_to(fingerprint)
        if changes:
            raise OutputError(
                f"{self.location} was made with other settings: {'; '.join(changes)}; use --restart or another output"
            )

    def compare(self, plan_file: Path) -> Comparison:
        """Count the plan's files by what the tables know of them now; writes nothing."""
        has_rows = self._pair.exists() and self._read_fingerprint() is not None
        parts = self._pair.files.parts() if has_rows else []
        counts = Comparison()
        for part in sweep(plan_file, self._pair.files.store, parts):
            counts = counts.plus(part)
        return counts

    def restart(self) -> None:
        """Let go of all rows, so that `begin` may take other settings; the files go when it does.

        The log stays: a run of before that wakes must find it longer than it left it. Where it is damaged, both tables
        are made anew, and a run of before finds that they are others.
        """
        if not self.is_made:
            return
        try:
            self._pair.fence()
            self._pair.require_readable()
            self._pair.describe(describe(None))
        except DamagedOutputError:
            self._pair.drop()
        record = self.location.join("run.json")
        with output_faults(record):
            storage.delete(record)
        self.fingerprint = None

    def begin(self, fingerprint: Fingerprint, labels: tuple[str, ...], *, on_event: Callable[[str], None]) -> Run:
        """Make the tables or take them over, fence older runs off and mend what they left.

        What was found when the output was opened does not count here: it may be long ago.

        Raises:
            OutputError: the tables were made with other settings; it names both values.
            SupersededError: another run began at the same moment.
        """
        with output_faults(self.location):
            storage.put_new(_marker(self.location), _mark())
        embeddings = fingerprint.embeddings is not None
        self._pair.create(labels, describe(fingerprint), embeddings=embeddings)
        self._check_now(fingerprint)
        self._pair.fence()
        self._check_now(fingerprint)
        if self.fingerprint is None:
            self._pair.remake(labels, describe(fingerprint), embeddings=embeddings)
        for line in (*self._pair.recover(), *self._pair.add_columns(labels)):
            on_event(line)
        self._pair.delete_orphans()
        run = Run(self.location, self._pair, fingerprint, labels)
        run.start()
        return run

    def _check_now(self, fingerprint: Fingerprint) -> None:
        self.fingerprint = self._read_fingerprint()
        self.check(fingerprint)

    def _read_fingerprint(self) -> Fingerprint | None:
        predictions = self._pair.predictions
        return read_description(predictions.description, predictions.location)


def _marker(location: Location) -> Location:
    return location.join("_ser", "output.json")


def _mark() -> bytes:
    """What says in the folder whose it is."""
    return json_bytes({"program": "ser", "format": FORMAT})


def _require_usable(location: Location) -> None:
    unusable = _UNUSABLE.search(location.url) or (location.is_s3 and _UNUSABLE_ON_S3.search(location.path))
    if unusable:
        raise OutputError(f"OUTPUT {location}: no Delta table can have {unusable[0]!a} in its path; use another")
