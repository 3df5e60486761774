"""The output folder: two Delta tables, `run.json` and `_ser/`. Only this module and what it calls know its layout.

Layout and guarantees: docs/architecture.md. `Output` is the folder, `Run` (run.py) the right to write to it.
"""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ser_core import storage
from ser_core.errors import OutputError
from ser_core.storage import Location, Lock
from ser_core.tables.comparison import Comparison, Tally, sweep
from ser_core.tables.run import Run
from ser_core.tables.table_pair import TablePair

__all__ = ["Comparison", "Output", "Run", "Tally"]

#: Raised when the layout changes: an older program refuses newer tables, a newer one reads older ones.
FORMAT = 1
#: What deltalake refuses in a table's place, or reads as another place than everybody else does.
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]|%[0-9A-Fa-f]{2}")
_UNUSABLE_ON_S3 = re.compile(r"[#?]|/\.{0,2}(?:/|$)")


class Output:
    """An output folder; making one touches nothing.

    Every method raises ServiceError when storage failed as a whole.
    """

    def __init__(
        self, location: Location, *, host: str | None = None, beat_seconds: float = 5.0, watch_seconds: float = 15.0
    ) -> None:
        """`host`, `beat_seconds` and `watch_seconds` are the lock's (lock.py).

        Raises:
            OutputError: no table can be where the location is.
        """
        _require_usable(location)
        self.location = location
        self._lock = Lock(
            location.join("_ser", "lock.json"), host=host, beat_seconds=beat_seconds, watch_seconds=watch_seconds
        )
        self._marker = location.join("_ser", "output.json")

    def check_writable(self) -> None:
        """Prove that files can be made here, and that one that exists is not made again.

        Raises:
            OutputError: not ours, no permission, or the storage ignores the condition of a conditional write.
        """
        self._require_ours()
        probe = self.location.join("_ser", f"probe-{uuid.uuid4().hex}")
        try:
            storage.put_new(self._marker, _to_json({"program": "ser", "format": FORMAT}))
            answers = [storage.put_new(probe, b"probe") for _ in range(2)]
            storage.delete(probe)
        except OSError as error:
            raise OutputError(f"{self.location} cannot be written to: {error.strerror or error}") from error
        if answers != [True, False]:
            raise OutputError(
                f"{self.location}: the storage ignores If-None-Match, so two runs could overwrite each other; "
                "use one that honours it"
            )

    def settings(self) -> dict[str, Any] | None:
        """What the tables were made with; None if there are none yet.

        Raises:
            OutputError: the folder holds something else, or was made by a newer program.
        """
        self._require_ours()
        pair = TablePair(self.location)
        return self._read_settings(pair.predictions.description) if pair.exists() else None

    def check_settings(self, settings: dict[str, Any]) -> None:
        """Refuse settings that `begin` would refuse; writes nothing.

        Raises:
            OutputError: the tables were made with other settings (naming both values), or the folder is not ours.
        """
        self._require_ours()
        pair = TablePair(self.location)
        if pair.exists():
            self._require_equal(_as_read(settings), pair)

    def compare(self, plan_file: Path) -> Comparison:
        """Count the plan's files by what the tables know of them; writes nothing."""
        pair = TablePair(self.location)
        is_made = pair.exists() and self._read_settings(pair.predictions.description) is not None
        parts = pair.files.parts() if is_made else []
        counts = Comparison()
        for part in sweep(plan_file, pair.files.store, parts):
            counts = counts.plus(part)
        return counts

    def restart(self) -> None:
        """Let go of all rows, so that the next `begin` may take other settings; the files go when it does.

        The log stays: a run of before that wakes must find it longer than it left it.
        """
        self._require_ours()
        pair = TablePair(self.location)
        if pair.exists():
            pair.fence()
            pair.describe(_describe(None))
            storage.delete(self.location.join("run.json"))

    @contextmanager
    def lock(self, on_takeover: Callable[[str], None]) -> Iterator[None]:
        """Keep other runs away politely; the tables stay exact without it.

        Raises:
            OutputBusyError: another run is alive, naming its host, pid and start.
        """
        self._require_ours()
        with self._lock.held(on_takeover):
            yield

    def begin(self, settings: dict[str, Any], labels: tuple[str, ...], *, on_event: Callable[[str], None]) -> Run:
        """Make the tables or take them over, fence older runs off and mend what they left.

        Raises:
            OutputError: the tables were made with other settings (naming both values), or the folder is not ours.
            SupersededError: another run began at the same moment.
        """
        settings = _as_read(settings)
        self._require_ours()
        storage.put_new(self._marker, _to_json({"program": "ser", "format": FORMAT}))
        pair = TablePair(self.location)
        pair.create(labels, _describe(settings))
        self._require_equal(settings, pair)
        pair.fence()
        if not self._require_equal(settings, pair):
            pair.remake(labels, _describe(settings))
        mended = pair.recover()
        if mended:
            on_event(mended)
        pair.delete_orphans()
        run = Run(self.location, pair, settings, labels)
        run.start()
        return run

    def _require_ours(self) -> None:
        try:
            is_marked = storage.exists(self._marker)
            files = [] if is_marked else storage.list_files(self.location, limit=100)
        except OSError as error:
            raise OutputError(f"{self.location} cannot be read as a folder: {error.strerror or error}") from error
        if is_marked:
            self._check_format(json.loads(storage.read(self._marker)))
        elif any(not path.startswith("_ser/") for path, _ in files):
            raise OutputError(f"{self.location} is not empty and was not made by ser; use another output")

    def _require_equal(self, settings: dict[str, Any], pair: TablePair) -> bool:
        """False if the tables have no settings yet (after `restart`)."""
        made = self._read_settings(pair.predictions.description)
        if made is None:
            return False
        keys = [key for key in sorted(made | settings) if made.get(key) != settings.get(key)]
        if keys:
            both = "; ".join(f"{key} was {_show(made.get(key))}, now {_show(settings.get(key))}" for key in keys)
            raise OutputError(f"{self.location} was made with other settings: {both}; use --restart or another output")
        return True

    def _read_settings(self, description: str) -> dict[str, Any] | None:
        described = json.loads(description)
        self._check_format(described)
        settings: dict[str, Any] | None = described["settings"]
        return settings

    def _check_format(self, described: dict[str, Any]) -> None:
        if described["format"] > FORMAT:
            raise OutputError(
                f"{self.location} was made by a newer ser (format {described['format']}, this one knows {FORMAT}); "
                "upgrade ser or use another output"
            )


def _require_usable(location: Location) -> None:
    unusable = _UNUSABLE.search(location.url) or (location.is_s3 and _UNUSABLE_ON_S3.search(location.path))
    if unusable:
        raise OutputError(f"OUTPUT {location}: no Delta table can have {unusable[0]!a} in its path; use another")


def _describe(settings: dict[str, Any] | None) -> str:
    return json.dumps({"format": FORMAT, "settings": settings})


def _to_json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def _as_read(settings: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives them back: lists for tuples."""
    read: dict[str, Any] = json.loads(_to_json(settings))
    return read


def _show(value: object) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)
