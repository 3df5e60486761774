"""Holds an output against itself: every part against the log, the tables against each other, run.json against all.

Nothing is written, and a run may be on: what is looked at is one set of versions of the tables that belong
together. Memory is bounded: parts are read one by one, keys wait in a local file.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_core import storage
from ser_core.encoding import read_json
from ser_core.errors import OutputError
from ser_core.ordered import in_order
from ser_core.storage import Location
from ser_core.tables.adaptation_file import AdaptationFile
from ser_core.tables.checks import findings
from ser_core.tables.checks.findings import Finding, Findings
from ser_core.tables.checks.key_check import FILE_KEYS, GROUPS, KeyFile, compare_embedded, compare_keys
from ser_core.tables.checks.part_check import PartCheck
from ser_core.tables.delta_log import DeltaLog
from ser_core.tables.output import Output
from ser_core.tables.output_logs import parts_at
from ser_core.tables.parts import PART_PATTERN, Part, output_faults
from ser_core.tables.schema import read_description
from ser_core.tables.table_pair import TablePair
from ser_core.temporary import temporary_folder

#: A run that is on takes parts away when it joins them, and the look begins anew; it does so once.
_TRIES = 5
_READS_IN_FLIGHT = 8
_BYTES_IN_FLIGHT = 2**27
#: Where these are, rows are missing.
_WITHOUT_ROWS = (findings.GONE, findings.FORBIDDEN, findings.DAMAGED, findings.NO_KEY)

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was looked at, and what is wrong with it."""

    #: Of run.json: running, stopped or complete; None where there is none of the run that owns the tables.
    state: str | None
    run: int
    files: int
    windows: int
    parts: int
    bytes: int
    #: Parquet files that no table names: of a run that is on or was killed, and deleted by the next.
    orphans: int
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]


class _MovedError(Exception):
    """A run took away what was being looked at."""


def verify(location: Location, on_progress: OnProgress = lambda done, total: None) -> Verified:
    """Look at all of an output; `on_progress` gets the bytes read and those to be read.

    Raises:
        OutputError: there is none, a log or the mark cannot be read, or it changes faster than it can be looked at.
        ServiceError: storage failed as a whole.
    """
    Output(location).open()
    for _ in range(_TRIES):
        with temporary_folder() as folder, suppress(_MovedError):
            return _Verification(location, folder, on_progress).result()
    raise OutputError(
        f"{location}: its tables are of different runs, or change faster than they can be read; verify it again, "
        "and if that stays, run the same command again, which mends them"
    )


class _Verification:
    """One look at an output, the steps in order."""

    def __init__(self, location: Location, folder: Path, on_progress: OnProgress) -> None:
        self._location = location
        self._on_progress = on_progress
        self._pair = TablePair(location)
        self._found = Findings()
        self._notes: list[str] = []
        self._scratch = Location(str(folder))
        self._keys = {
            "predictions": KeyFile(folder / "predictions.parquet", GROUPS),
            "judged": KeyFile(folder / "judged.parquet", GROUPS),
            "embeddings": KeyFile(folder / "embeddings.parquet", GROUPS),
            "files": KeyFile(folder / "files.parquet", FILE_KEYS),
        }

    def result(self) -> Verified:
        """What is there, and what is wrong with it."""
        record = self._record()
        parts = self._snapshot()
        owner = self._pair.predictions.stamp.owner
        record = record if record.get("run") == owner else {}
        self._look_at(parts)
        self._look_at_constants(record.get("adaptation"))
        num_files = self._compare()
        orphans = self._orphans(parts)
        if record.get("state") == "complete" and self._pair.predictions.stamp.owner == owner:
            self._judge_complete(record, num_files, orphans)
        return Verified(
            state=record.get("state"),
            run=owner,
            files=num_files,
            windows=sum(part.num_rows for part in parts[self._pair.predictions]),
            parts=sum(map(len, parts.values())),
            bytes=sum(part.num_bytes for of_log in parts.values() for part in of_log),
            orphans=sum(map(len, orphans.values())),
            notes=tuple(self._notes),
            findings=self._found.all(),
        )

    def _record(self) -> dict[str, Any]:
        """run.json; read first, so that what it says of a complete run is still so when the tables are that run's."""
        file = self._location.join("run.json")
        try:
            with output_faults(file):
                try:
                    record = read_json(storage.read(file))
                except FileNotFoundError:
                    return {}
            num_planned = record.get("plan", {}).get("num_files", 0)
            if not isinstance(record["state"], str):
                raise TypeError
            said = {"state": record["state"], "run": record["run"], "num_planned": int(num_planned)}
            return said | {"adaptation": record.get("adaptation")}
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            self._found.add("", findings.BAD_RECORD, ["run.json"])
            return {}

    def _snapshot(self) -> dict[DeltaLog, list[Part]]:
        """The parts of one set of versions: of the last commit that all tables have."""
        self._look()
        num_before = self._pair.files.stamp.commit
        self._look()
        log = self._pair.predictions
        if max(other.stamp.owner for other in self._logs) > log.stamp.owner:
            raise _MovedError
        if read_description(log.description, log.location) is None:
            self._notes.append(
                "--restart let go of all rows, and no run has begun anew since; run the same command again"
            )
            return {log: [] for log in self._logs}
        for table in self._logs:
            if table.is_stray:
                self._found.add(table.location.name, findings.STRAY, ["the newest"])
        *ahead, files = (table.stamp.commit for table in self._logs)
        if any(commit > files + 1 or commit < num_before - 1 for commit in ahead):
            said = [f"{table.stamp.commit} of {table.location.name}" for table in self._logs]
            self._found.add("", findings.APART, [", ".join(said)])
        elif any(commit > files or commit < num_before for commit in ahead):
            self._notes.append("the last commit is not in all tables: a run is on, or the next one takes it back")
        commit = min(*ahead, files)
        with output_faults(self._location):
            return {table: parts_at(table, commit) for table in self._logs}

    @property
    def _logs(self) -> tuple[DeltaLog, ...]:
        """Those that have rows."""
        pair = self._pair
        return (pair.predictions, *([pair.embeddings] if pair.has_embeddings else []), pair.files)

    def _look(self) -> None:
        if not self._pair.exists():
            raise OutputError(f"{self._location} holds no results of 'ser score'; give its OUTPUT")

    def _look_at(self, parts: dict[DeltaLog, list[Part]]) -> None:
        """Read every part once."""
        pairs = [(log, part) for log, of_log in parts.items() for part in of_log]
        num_bytes, total_bytes = 0, sum(part.num_bytes for _, part in pairs)
        judged = {self._pair.predictions: self._keys["judged"]} if self._pair.embeddings in parts else {}
        checks = {log: PartCheck(log, self._keys[log.location.name], judged.get(log), self._found) for log in parts}
        with ThreadPoolExecutor(_READS_IN_FLIGHT if self._location.is_s3 else 1) as pool:
            data_of = in_order(
                pairs,
                lambda pair: pool.submit(_read, *pair),
                max_in_flight=_READS_IN_FLIGHT,
                weigh=lambda pair: pair[1].num_bytes,
                max_weight=_BYTES_IN_FLIGHT,
            )
            for (log, part), data in zip(pairs, data_of, strict=True):
                if isinstance(data, bytes):
                    with storage.faults_of(self._scratch):
                        checks[log].look(part, data)
                else:
                    self._note_unread(log, part, data)
                num_bytes += part.num_bytes
                self._on_progress(num_bytes, total_bytes)

    def _note_unread(self, log: DeltaLog, part: Part, error: OSError) -> None:
        self._look()
        if part.path not in {live.path for live in log.parts()}:
            raise _MovedError
        kinds = {FileNotFoundError: findings.GONE, PermissionError: findings.FORBIDDEN}
        problem = next((kinds[kind] for kind in kinds if isinstance(error, kind)), findings.DAMAGED)
        self._found.add(log.location.name, problem, [part.path])

    def _look_at_constants(self, recorded: object) -> None:
        predictions = self._pair.predictions
        made_with = read_description(predictions.description, predictions.location)
        if made_with is None or made_with.adapt == "none":
            return
        if not AdaptationFile(self._location).is_of(made_with, recorded):
            self._found.add("", findings.BAD_CONSTANTS, ["_ser/adaptation.json"])

    def _compare(self) -> int:
        """The tables against each other; the number of files."""
        with storage.faults_of(self._scratch):
            for keys in self._keys.values():
                keys.close()
            if self._found.has(*_WITHOUT_ROWS):
                self._notes.append("the tables were not held against each other, as rows are missing")
                return 0
            compare_embedded(self._keys["judged"], self._keys["embeddings"], self._found)
            return compare_keys(self._keys["files"], self._keys["predictions"], self._found)

    def _orphans(self, parts: dict[DeltaLog, list[Part]]) -> dict[DeltaLog, list[str]]:
        """Parquet files that neither this look nor the newest version of a table names."""
        listed = {log: [path for path, _ in storage.list_files(log.location)] for log in self._pair.logs}
        self._look()
        orphans = {}
        for log, paths in listed.items():
            named = {part.path for part in (*parts.get(log, ()), *log.parts())}
            orphans[log] = [
                path
                for path in paths
                if path.endswith(".parquet") and path not in named and not path.startswith("_delta_log/")
            ]
        return orphans

    def _judge_complete(self, record: dict[str, Any], num_files: int, orphans: dict[DeltaLog, list[str]]) -> None:
        """What must be true of a complete run: each file of its plan has rows, and the folders hold nothing else."""
        for log, paths in orphans.items():
            for problem, is_ours in ((findings.ORPHANS, True), (findings.FOREIGN, False)):
                met = [path for path in paths if bool(PART_PATTERN.fullmatch(path)) == is_ours]
                self._found.add(log.location.name, problem, met)
        num_missing = record["num_planned"] - num_files
        if num_missing > 0 and not self._found.has(*_WITHOUT_ROWS):
            self._found.add("files", findings.FEWER_FILES, [f"{num_files} of {record['num_planned']} are there"])


def _read(log: DeltaLog, part: Part) -> bytes | OSError:
    try:
        return storage.read(log.location.join(part.path))
    except OSError as error:
        return error
