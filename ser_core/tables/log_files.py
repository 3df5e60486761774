"""The files of a Delta log, where deltalake leaves something to be done: what lasts, what is whole, whose an entry is.

An entry is a file of JSON lines, one for each version of the table. A checkpoint repeats what all entries up to its
version say, and a hint names the newest one: they spare readers time, and nothing is lost with them.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deltalake.exceptions import DeltaError

from ser_core import storage
from ser_core.encoding import read_json
from ser_core.errors import DamagedOutputError
from ser_core.storage import Location

_ENTRY = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"\d{20}\.checkpoint\..+|_last_checkpoint")
OF_A_LOG = re.compile(r"\d{20}\..+|_last_checkpoint")
#: What an entry of this program says beside the actions: its own token, and the digest of the entry before.
TOKEN, PREDECESSOR = "ser", "ser/after"

_TEXT, _NUMBER, _TEXT_OR_NONE, _NUMBER_OR_NONE = (str,), (int,), (str, type(None)), (int, type(None))
#: The types of what an action must say, and of what it may.
_TYPES: dict[str, dict[str, tuple[type, ...]]] = {
    "protocol": {"minReaderVersion": _NUMBER, "minWriterVersion": _NUMBER},
    "metaData": {
        "id": _TEXT, "schemaString": _TEXT, "partitionColumns": (list,), "configuration": (dict,),
        "description": _TEXT_OR_NONE,
    },
    "txn": {"appId": _TEXT, "version": _NUMBER},
    "add": {
        "path": _TEXT, "size": _NUMBER, "partitionValues": (dict,), "modificationTime": _NUMBER, "dataChange": (bool,),
        "stats": _TEXT_OR_NONE,
    },
    "remove": {
        "path": _TEXT, "size": _NUMBER_OR_NONE, "partitionValues": (dict, type(None)), "dataChange": (bool,),
        "deletionTimestamp": _NUMBER_OR_NONE,
    },
}  # fmt: skip


class LogFiles:
    """The files in `_delta_log` of one table."""

    def __init__(self, table: Location) -> None:
        self._folder = table.join("_delta_log")

    def read(self, version: int) -> bytes:
        """The entry of a version; nothing where it is gone."""
        try:
            return storage.read(self._folder.join(_entry(version)))
        except FileNotFoundError:
            return b""

    def digest(self, version: int) -> str:
        """By this an entry is told from one of the same number in another log; tokens make each the only one."""
        return _digest(self.read(version))

    def is_stray(self, version: int) -> bool:
        """Whether an entry was made on top of another log than it lies in."""
        lines = self.read(version).splitlines()
        infos = (info for action in map(read_json, lines) if isinstance(info := action.get("commitInfo"), dict))
        info = next(infos, {})
        before = self.read(version - 1)
        return bool(before) and PREDECESSOR in info and info[PREDECESSOR] != _digest(before)

    def sync(self, version: int) -> None:
        """Make a new version last through a power cut, which deltalake leaves to the system."""
        if self._folder.is_s3:
            return
        folder = Path(self._folder.path)
        checkpoint = folder / f"{version:020}.checkpoint.parquet"
        made = [checkpoint, folder / "_last_checkpoint"] if checkpoint.exists() else []
        for path in (folder / _entry(version), *made, folder):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def mend(self) -> bool:
        """Delete what a power cut may have left torn; whether there was any. For a log that does not load.

        A newest entry that is cut off was never answered for, and checkpoints are in the way where they are damaged.
        Where any other entry is gone or damaged, nothing is deleted.
        """
        names = [name for name, _ in storage.list_files(self._folder)]
        versions = _versions(names)
        damaged = [version for version in versions if not _is_whole(self.read(version))]
        if versions != list(range(len(versions))) or damaged not in ([], versions[-1:]):
            return False
        torn = [name for name in names if _CHECKPOINT.fullmatch(name)] + [_entry(version) for version in damaged]
        for name in torn:
            storage.delete(self._folder.join(name))
        return bool(torn)

    @contextmanager
    def naming_what_is_damaged(self) -> Iterator[None]:
        """Turns deltalake's refusal of a log into a line that names the entry that it is about, where one is found.

        Raises:
            DamagedOutputError: that line.
        """
        try:
            yield
        except DeltaError as error:
            flaw = None if storage.service_fault(error) else self._flaw()
            if flaw is None:
                raise
            raise DamagedOutputError(f"{flaw}; restore it, use --restart, or another output") from error

    def _flaw(self) -> str | None:
        """The first entry that is gone or holds no actions."""
        versions = _versions([name for name, _ in storage.list_files(self._folder)])
        for number in range(max(versions, default=-1) + 1):
            place = self._folder.join(_entry(number))
            if number not in versions:
                return f"{place} is gone"
            if not _is_whole(self.read(number)):
                return f"{place} is damaged"
        return None

    def drop(self) -> None:
        """Delete the log, the oldest entries first: what is left of it meanwhile loads as it did, or not at all."""
        for name, _ in sorted(storage.list_files(self._folder)):
            if OF_A_LOG.fullmatch(name):
                storage.delete(self._folder.join(name))


def _versions(names: Iterable[str]) -> list[int]:
    return sorted(int(found[1]) for name in names if (found := _ENTRY.fullmatch(name)))


def _entry(version: int) -> str:
    return f"{version:020}.json"


def _digest(entry: bytes) -> str:
    return hashlib.sha256(entry).hexdigest()


def _is_whole(entry: bytes) -> bool:
    try:
        actions = [read_json(line) for line in entry.splitlines()]
    except ValueError:
        return False
    return bool(actions) and all(isinstance(action, dict) and _is_typed(action) for action in actions)


def _is_typed(action: dict[str, Any]) -> bool:
    """Whether all that an action says, as far as this program goes by it, is of the type that Delta gives it."""
    for name, said in action.items():
        types = _TYPES.get(name, {})
        if said is None or not types:
            continue
        if type(said) is not dict or any(type(said.get(field)) not in kinds for field, kinds in types.items()):
            return False
        if any(type(value) not in _TEXT_OR_NONE for value in (said.get("partitionValues") or {}).values()):
            return False
    return True
