"""One Delta table, changed by compare-and-swap alone.

Delta numbers the versions of a table, and a version's log entry is created only if there is none yet. With
`max_commit_retries=0` deltalake makes a commit either the version right after the one its handle was loaded at,
or nothing: whatever anyone else committed in between refuses it. So a state that was looked at (`look`) is
still the state at the moment of the commit (`transact`), without clocks or leases. Numbers alone do not tell a log
from one that was made in its place: so each entry names the digest of the one before it, and the newest entry is
compared at every look.
"""

import uuid
from collections.abc import Callable

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from ser_core import storage
from ser_core.errors import DamagedOutputError, InterruptedRunError
from ser_core.storage import Location
from ser_core.tables.commits import Change, OutrunError, Stamp, commit_properties
from ser_core.tables.log_files import LogFiles
from ser_core.tables.parts import Part, PartStore, changed_columns, live_parts, output_faults

#: By itself Delta keeps 30 days of log; recovery looks back to the last commit, however old.
CONFIGURATION = {"delta.enableExpiredLogCleanup": "false"}
#: The application transaction that tells which run added the last column.
_COLUMNS = "ser/columns"


class DeltaLog:
    """The log of one table; holds the state last looked at."""

    def __init__(self, location: Location, partition_column: str) -> None:
        self.location = location
        self.partition_column = partition_column
        self.store = PartStore(location, partition_column)
        self._files = LogFiles(location)
        self._options: dict[str, str] = {}
        self._handle: DeltaTable | None = None
        #: Version and digest of the newest entry of the state looked at.
        self._newest = (-1, "")

    def look(self) -> bool:
        """Load the newest state, with credentials that are still good; False if there is no table.

        Raises:
            OutputError: the log is damaged.
        """
        options = self.location.delta_options()
        with output_faults(self.location), self._files.naming_what_is_damaged():
            try:
                storage.again_while_cut_off(self.location, lambda: self._load(options))
            except TableNotFoundError:
                self._handle, self._newest = None, (-1, "")
                return False
            version = self._loaded.version()
            if version != self._newest[0]:
                self._newest = version, self._files.digest(version)
        return True

    def _load(self, options: dict[str, str]) -> None:
        is_same_log = self._handle is not None and self._files.digest(self._newest[0]) == self._newest[1]
        if self._handle is None or options != self._options or not is_same_log:
            self._handle, self._newest = DeltaTable(self.location.url, storage_options=options), (-1, "")
            self._options = options
        else:
            self._handle.update_incremental()

    def mend(self) -> bool:
        """Delete what a power cut left torn in a log that does not load for it; whether there was any."""
        try:
            if self.look():
                self.require_readable()
        except DamagedOutputError:
            return self._files.mend()
        return False

    def require_readable(self) -> None:
        """Read all that the log says: deltalake takes a field of an old entry in when it is asked for it.

        Raises:
            OutputError: the log is damaged.
        """
        with output_faults(self.location), self._files.naming_what_is_damaged():
            self.parts()
            self.dropped()
            self._loaded.transaction_version(_COLUMNS)

    def drop(self) -> None:
        """Delete the log, as damaged as it may be: there is no table then, and its parts are nobody's."""
        self._handle = None
        self._files.drop()

    @property
    def stamp(self) -> Stamp:
        """Owner and commit of the state looked at; 0 where nobody has written yet."""
        return Stamp.of(self._loaded)

    @property
    def schema(self) -> pa.Schema:
        """The columns of a part: those of the table but for the partition column, which is in the folder's name.

        What another program added may be null in the rows of this one, whatever that program says of it.
        """
        schema = pa.schema([field.with_nullable(True) for field in pa.schema(self._loaded.schema())])
        return schema.remove(schema.get_field_index(self.partition_column))

    @property
    def columns_since(self) -> int:
        """The run that gave the table its last column: parts of earlier runs lack it, those of later ones do not."""
        return self._loaded.transaction_version(_COLUMNS) or 0

    @property
    def description(self) -> str:
        return self._loaded.metadata().description or ""

    def require_unmoved(self) -> None:
        """Look again, with credentials that are still good, at a state that must not have changed.

        Raises:
            OutrunError: someone committed since.
        """
        before = self._newest
        if not self.look() or self._newest != before:
            raise OutrunError

    def parts(self) -> list[Part]:
        """The live parts of the state looked at."""
        return live_parts(self._loaded, self.location, self.partition_column)

    def dropped(self) -> set[str]:
        """The parts that the log took away, whoever wrote them, as far back as it tells."""
        return set(self._loaded.vacuum(0, dry_run=True, enforce_retention_duration=False))

    def create(self, schema: pa.Schema, description: str) -> None:
        """Make the table if there is none, and look at it."""
        if self.look():
            return
        try:
            storage.again_while_cut_off(self.location, lambda: self._create(schema, description))
        except DeltaError:
            # Another run may have been first.
            if not self.look():
                raise
        self.look()
        self._files.sync(self._loaded.version())

    def _create(self, schema: pa.Schema, description: str) -> None:
        DeltaTable.create(
            self.location.url,
            Schema.from_arrow(schema),
            mode="error",
            partition_by=[self.partition_column],
            description=description,
            configuration=CONFIGURATION,
            storage_options=self.location.delta_options(),
        )

    def transact(self, change: Change, stamp: Stamp) -> None:
        """Commit a change on top of the state last looked at, or nothing, and look again.

        Raises:
            OutrunError: someone else committed in between.
        """
        self._write(change.to_actions(self.partition_column), "append", self._loaded.schema(), stamp)

    def replace(self, schema: pa.Schema, description: str, stamp: Stamp) -> None:
        """Drop all rows and take other columns, then another description, on top of the state last looked at.

        Raises:
            OutrunError: someone else committed in between.
        """
        self._write([], "overwrite", Schema.from_arrow(schema), stamp)
        self.describe(description, stamp)

    def describe(self, description: str, stamp: Stamp) -> None:
        """Change the description, on top of the state last looked at; raises as `transact` does."""
        self._commit(
            lambda table, properties: table.alter.set_table_description(description, commit_properties=properties),
            stamp,
        )

    def add_columns(self, schema: pa.Schema, stamp: Stamp) -> list[str]:
        """Give the table what it lacks of these columns, on top of the state last looked at; their names.

        Raises:
            OutrunError: someone else committed in between.
        """
        known = pa.schema(self._loaded.schema()).names
        fields = [field for field in Schema.from_arrow(schema).fields if field.name not in known]
        if fields:
            self._commit(
                lambda table, properties: table.alter.add_columns(fields, commit_properties=properties),
                stamp,
                Transaction(_COLUMNS, stamp.owner),
            )
        return [field.name for field in fields]

    def change_back_to(self, commit: int) -> Change:
        """What turns the state looked at into the last one that carried this commit number.

        Raises:
            DamagedOutputError: no version carried it.
        """
        past = self._loaded
        while Stamp.of(past).commit != commit:
            if past.version() == 0:
                raise DamagedOutputError(f"{self.location}: its log does not tell of commit {commit}; use --restart")
            past = self._at(past.version() - 1)
        return self._change_to(past)

    def take_back_stray(self) -> None:
        """Undo the newest commit where it was made on top of another log, which lay here when its run last looked.

        Raises:
            OutrunError: someone else committed in between.
        """
        if self.is_stray:
            past = self._at(self._loaded.version() - 1)
            self.transact(self._change_to(past), Stamp.of(past))

    @property
    def is_stray(self) -> bool:
        """Whether the newest commit was made on top of another log, or of an entry that has changed since."""
        version = self._loaded.version()
        return version > 0 and self._files.is_stray(version)

    @property
    def is_ours(self) -> bool:
        """Whether the table is partitioned as this program does."""
        return self._loaded.metadata().partition_columns == [self.partition_column]

    def require_types(self, columns: list[pa.Field]) -> None:
        """Hold the table's columns against these, as far as it has them.

        Raises:
            DamagedOutputError: one is of another type.
        """
        if changed := changed_columns(self._loaded, columns):
            raise DamagedOutputError(
                f"{self.location}: another program changed the column {changed[0]}; restore it or use --restart"
            )

    def _at(self, version: int) -> DeltaTable:
        options = self.location.delta_options()
        return storage.again_while_cut_off(
            self.location, lambda: DeltaTable(self.location.url, version=version, storage_options=options)
        )

    def _change_to(self, past: DeltaTable) -> Change:
        return Change.between(self.parts(), live_parts(past, self.location, self.partition_column))

    @property
    def _loaded(self) -> DeltaTable:
        if self._handle is None:
            raise RuntimeError(f"{self.location.url} was not looked at")
        return self._handle

    def _write(self, actions: list[AddAction | RemoveAction], mode: str, schema: Schema, stamp: Stamp) -> None:
        self._commit(
            lambda table, properties: table.create_write_transaction(
                actions, mode, schema, [self.partition_column], commit_properties=properties
            ),
            stamp,
        )

    def _commit(
        self, write: Callable[[DeltaTable, CommitProperties], None], stamp: Stamp, *others: Transaction
    ) -> None:
        before, predecessor = self._newest
        token = uuid.uuid4().hex

        def attempt() -> None:
            try:
                write(self._loaded, commit_properties(stamp, token, predecessor, *others))
            except InterruptedRunError:
                # A signal's, and no answer: the run must end, and the next one mends what is half done.
                raise
            except Exception:
                # The commit may be in the log all the same, and only its answer lost.
                if not self._landed(token, before + 1):
                    raise

        # What was looked at is still the newest version where it did not land.
        storage.again_while_cut_off(self.location, attempt)
        self.store.keep()
        if self._files.digest(before) != predecessor or not self.look() or self._newest[0] != before + 1:
            raise OutrunError
        self._files.sync(before + 1)

    def _landed(self, token: str, version: int) -> bool:
        entry = self._files.read(version)
        if entry and token.encode() not in entry:
            raise OutrunError
        return bool(entry)
