"""One Delta table, changed by compare-and-swap alone.

Delta numbers the versions of a table, and a version's log entry is created only if there is none yet. With
`max_commit_retries=0` deltalake makes a commit either the version right after the one its handle was loaded at,
or nothing: whatever anyone else committed in between refuses it. So a state that was looked at (`look`) is
still the state at the moment of the commit (`transact`), without clocks or leases.
"""

import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from ser_core import storage
from ser_core.errors import InterruptedRunError
from ser_core.storage import Location
from ser_core.tables.parts import Part, PartStore, output_faults

#: By itself Delta keeps 30 days of log; recovery looks back to the last commit, however old.
CONFIGURATION = {"delta.enableExpiredLogCleanup": "false"}
#: The application transactions: a stamp's, and the run that added the last column.
_OWNER, _COMMIT, _COLUMNS = "ser/owner", "ser/commit", "ser/columns"


@dataclass(frozen=True)
class Stamp:
    """What every commit carries: the number of the run that owns the table, and the number of the commit."""

    owner: int
    commit: int


@dataclass(frozen=True)
class Change:
    """Parts that come and parts that go, at once; `moves_rows` only: the same rows in other parts."""

    adds: tuple[Part, ...] = ()
    removes: tuple[Part, ...] = ()
    moves_rows: bool = False


class OutrunError(Exception):
    """Someone else committed since the state was looked at."""


class DeltaLog:
    """The log of one table; holds the state last looked at."""

    def __init__(self, location: Location, partition_column: str) -> None:
        self.location = location
        self.partition_column = partition_column
        self.store = PartStore(location, partition_column)
        self._options: dict[str, str] = {}
        self._handle: DeltaTable | None = None

    def look(self) -> bool:
        """Load the newest state, with credentials that are still good; False if there is no table.

        Raises:
            OutputError: the log is damaged.
        """
        options = self.location.delta_options()
        with output_faults(self.location):
            try:
                storage.again_while_cut_off(self.location, lambda: self._load(options))
            except TableNotFoundError:
                return False
        return True

    def _load(self, options: dict[str, str]) -> None:
        if self._handle is None or options != self._options:
            self._handle = DeltaTable(self.location.url, storage_options=options)
            self._options = options
        else:
            self._handle.update_incremental()

    @property
    def stamp(self) -> Stamp:
        """Owner and commit of the state looked at; 0 where nobody has written yet."""
        return _stamp(self._loaded)

    @property
    def schema(self) -> pa.Schema:
        """The columns of a part: those of the table but for the partition column, which is in the folder's name."""
        schema = pa.schema(self._loaded.schema())
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
        before = self._loaded.version()
        if not self.look() or self._loaded.version() != before:
            raise OutrunError

    def parts(self) -> list[Part]:
        """The live parts of the state looked at."""
        return self._parts(self._loaded)

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
        self._sync()

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
        now_ms = int(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = [self._add(part, now_ms, change) for part in change.adds]
        actions += [self._remove(part, now_ms, change) for part in change.removes]
        self._write(actions, "append", self._loaded.schema(), stamp)

    def replace(self, schema: pa.Schema, description: str, stamp: Stamp) -> None:
        """Drop all rows and take other columns, then another description, on top of the state last looked at.

        Raises:
            OutrunError: someone else committed in between.
        """
        self._write([], "overwrite", Schema.from_arrow(schema), stamp)
        self.describe(description, stamp)

    def describe(self, description: str, stamp: Stamp) -> None:
        """Change the description, on top of the state last looked at.

        Raises:
            OutrunError: someone else committed in between.
        """
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
        """What turns the state looked at into the last one that carried this commit number."""
        version = self._loaded.version()
        past = self._loaded
        while _stamp(past).commit != commit:
            version -= 1
            past = storage.again_while_cut_off(self.location, partial(self._at, version))
        then = {part.path: part for part in self._parts(past)}
        now = {part.path: part for part in self.parts()}
        return Change(
            adds=tuple(part for path, part in then.items() if path not in now),
            removes=tuple(part for path, part in now.items() if path not in then),
        )

    def _at(self, version: int) -> DeltaTable:
        return DeltaTable(self.location.url, version=version, storage_options=self.location.delta_options())

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
        before = self._loaded.version()
        token = uuid.uuid4().hex

        def attempt() -> None:
            try:
                write(self._loaded, _properties(stamp, token, *others))
            except InterruptedRunError:
                # A signal's, and no answer: the run must end, and the next one mends what is half done.
                raise
            except Exception:
                # The commit may be in the log all the same, and only its answer lost.
                if not self._landed(token, before):
                    raise

        # What was looked at is still the newest version where it did not land.
        storage.again_while_cut_off(self.location, attempt)
        self.store.keep()
        self.look()
        if self._loaded.version() != before + 1:
            raise OutrunError
        self._sync()

    def _sync(self) -> None:
        """Make the newest version last through a power cut, which deltalake leaves to the system."""
        if self.location.is_s3:
            return
        log = Path(self.location.path, "_delta_log")
        for path in (log / f"{self._loaded.version():020}.json", log):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _landed(self, token: str, before: int) -> bool:
        self._handle = None
        self.look()
        num_newer = self._loaded.version() - before
        if num_newer == 0:
            return False
        if token not in {entry.get("ser") for entry in self._loaded.history(num_newer)}:
            raise OutrunError
        return True

    def _parts(self, handle: DeltaTable) -> list[Part]:
        actions = pa.table(handle.get_add_actions(flatten=True))
        names = ("path", "size_bytes", "num_records", f"partition.{self.partition_column}", "min.path", "max.path")
        return [Part(*values) for values in zip(*(actions[name].to_pylist() for name in names), strict=True)]

    def _add(self, part: Part, now_ms: int, change: Change) -> AddAction:
        values = {self.partition_column: part.partition}
        return AddAction(part.path, part.num_bytes, values, now_ms, not change.moves_rows, part.stats)

    def _remove(self, part: Part, now_ms: int, change: Change) -> RemoveAction:
        values: dict[str, str | None] = {self.partition_column: part.partition}
        return RemoveAction(part.path, not change.moves_rows, now_ms, part.num_bytes, values)


def _stamp(handle: DeltaTable) -> Stamp:
    return Stamp(handle.transaction_version(_OWNER) or 0, handle.transaction_version(_COMMIT) or 0)


def _properties(stamp: Stamp, token: str, *others: Transaction) -> CommitProperties:
    return CommitProperties(
        custom_metadata={"ser": token},
        max_commit_retries=0,
        app_transactions=[Transaction(_OWNER, stamp.owner), Transaction(_COMMIT, stamp.commit), *others],
    )
