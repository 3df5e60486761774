"""A run: the right to write to the tables, until a newer run takes it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ser_core import storage
from ser_core.encoding import json_bytes
from ser_core.errors import DamagedOutputError, OutputError, printable
from ser_core.storage import Location
from ser_core.tables.assembler import Totals
from ser_core.tables.commits import Change
from ser_core.tables.comparison import CHANGED, NEW, RETRIED, Comparison, Slice, Tally, sweep
from ser_core.tables.delta_log import DeltaLog
from ser_core.tables.parts import ROWS_PER_PART, VALUES_PER_PART, Part, output_faults
from ser_core.tables.schema import Fingerprint, file_schema, filled, prediction_schema
from ser_core.tables.table_pair import TablePair
from ser_core.vocabulary import NO_SPEECH

#: Stale paths are held until there are this many: each removal rewrites the parts that hold them.
STALE_PER_COMMIT = 1_000_000
#: A full part of embeddings: two bytes a value, a little less when they are compressed.
_BYTES_PER_PART = 2 * VALUES_PER_PART
_FILE_KEY = ["path", "channel"]
_FILE_COUNTS = [*_FILE_KEY, "file_version", "num_windows"]
_WINDOW_KEY = [*_FILE_KEY, "file_version", "window_index"]
_FILE_ORDER = [(name, "ascending") for name in _FILE_KEY]


class Run:
    """Made by `OpenOutput.begin`. Every method raises SupersededError once a newer run has begun."""

    def __init__(self, output: Location, pair: TablePair, fingerprint: Fingerprint, labels: tuple[str, ...]) -> None:
        self._output = output
        self._pair = pair
        self._fingerprint = fingerprint
        self._prediction_schema = prediction_schema(labels)
        self._file_schema = file_schema(labels)

    @property
    def number(self) -> int:
        return self._pair.stamp.owner

    def remove_stale(self, plan_file: Path, *, prune: bool) -> Comparison:
        """Remove the rows of files that changed, are tried again, or (`prune`) are gone; to be called once, first.

        Raises:
            DamagedOutputError: predictions has other rows than files tells of, beyond those of files to be scored.
        """
        counts, apart = self._remove_rows(plan_file, lambda part: part.stale(prune=prune))
        if apart:
            # Files that are new to the one table may have rows in the other.
            self._remove_rows(plan_file, lambda part: part.planned(NEW)["path"].combine_chunks())
            _, apart = self._remove_rows(plan_file, lambda part: part.gone.slice(0, 0))
        if apart:
            raise DamagedOutputError(
                f"{self._output}: {apart}, so another program changed one of the tables, or a log is damaged; "
                "restore them, use --restart, or another output"
            )
        return counts

    def pending(self, plan_file: Path) -> Iterator[pa.Table]:
        """What is to be scored, in slices of PLAN_SCHEMA, sorted by path."""
        for part in self._sweep(plan_file):
            rows = part.planned(NEW, CHANGED, RETRIED)
            if rows.num_rows:
                yield rows

    def commit(self, predictions: pa.Table, files: pa.Table, embeddings: pa.Table | None = None) -> None:
        """Add the rows of whole files that have none yet, all at once as far as any reader can see.

        Args:
            predictions: rows of `prediction_schema`, in any order.
            files: rows of `file_schema` for the same files; `num_windows` says how many predictions each has.
            embeddings: rows of `embedding_schema` but for `encoder`, one for each prediction that is not `no_speech`;
                None: the output has none.

        Raises:
            ValueError: the rows are not of those schemas, or not whole files.
            SupersededError: a newer run took the tables over; nothing of this commit remains.
        """
        predictions, files = predictions.select(self._prediction_schema.names), files.select(self._file_schema.names)
        predictions, files = predictions.cast(self._prediction_schema), files.cast(self._file_schema)
        _require_whole(predictions, files)
        if (embeddings is None) != (self._fingerprint.embeddings is None):
            raise ValueError("embeddings are for outputs that have some, and all of them")
        rows = {self._pair.predictions: predictions, self._pair.files: files}
        if embeddings is not None:
            _require_embedded(predictions, embeddings)
            encoder = pa.repeat(pa.scalar(self._fingerprint.embeddings), embeddings.num_rows)
            rows[self._pair.embeddings] = embeddings.append_column("encoder", encoder)
        with self._pair.staging():
            self._pair.commit({log: self._added(log, of_log) for log, of_log in rows.items()})

    def tally(self, plan_file: Path) -> tuple[Tally, Totals]:
        """Count the plan's files that have rows, by their worst channel, and what all rows of the output come to.

        Raises:
            OutputError: a file has more than one row of the same channel.
        """
        counts = Tally()
        silent = (part.num_rows for part in self._pair.predictions.parts() if part.partition == NO_SPEECH)
        speech_seconds = None if self._fingerprint.min_speech_seconds is None else 0.0
        totals = Totals(num_no_speech=sum(silent), speech_seconds=speech_seconds)
        for part in self._sweep(plan_file):
            if len(part.doubled):
                raise OutputError(
                    f"{self._pair.files.location}: {printable(part.doubled[0].as_py())} has two rows of one channel; "
                    "run the same command again, which scores such files anew"
                )
            counts, totals = counts.plus(part), totals.plus(part.totals)
        return counts, totals

    def start(self) -> None:
        """Write run.json as running."""
        self._write_record("running", {})

    def finish(self, report: dict[str, Any]) -> None:
        """Join small parts, delete what no table names, and write run.json as complete."""
        self._compact()
        self._pair.delete_orphans()
        self._write_record("complete", report)

    def stop(self, report: dict[str, Any]) -> None:
        """Write run.json as stopped: the same command goes on from here."""
        self._write_record("stopped", report)

    @property
    def _label(self) -> str:
        return f"{self.number}-{self._pair.stamp.commit + 1}"

    def _sweep(self, plan_file: Path) -> Iterator[Slice]:
        self._pair.look()
        return sweep(plan_file, self._pair.files.store, self._pair.files.parts())

    def _added(self, log: DeltaLog, rows: pa.Table) -> Change:
        # The table may have columns of a later version.
        schema = log.schema.append(rows.schema.field(log.partition_column))
        return Change(adds=tuple(log.store.write(filled(rows, schema), self._label)))

    def _remove_rows(self, plan_file: Path, choose: Callable[[Slice], pa.Array]) -> tuple[Comparison, str]:
        """Drop the rows of the chosen paths; what the plan was to the tables, and how they were apart, before that."""
        counts, num_windows = Comparison(), 0
        stale: list[pa.Array] = []
        slices = self._sweep(plan_file)
        predictions = self._pair.predictions.parts()
        num_predictions, are_embedded = sum(part.num_rows for part in predictions), self._are_embedded(predictions)
        for part in slices:
            counts = counts.plus(part)
            num_windows += part.totals.num_windows
            stale.append(choose(part))
            if sum(map(len, stale)) >= STALE_PER_COMMIT:
                self._remove(pa.concat_arrays(stale))
                stale = []
        if any(map(len, stale)):
            self._remove(pa.concat_arrays(stale))
        if num_windows != num_predictions:
            return counts, "predictions has other rows than files tells of"
        return counts, "" if are_embedded else "embeddings has other rows than predictions"

    def _are_embedded(self, predictions: list[Part]) -> bool:
        """Whether there are as many embeddings as these parts of predictions have judged windows."""
        if self._fingerprint.embeddings is None:
            return True
        num_judged = sum(part.num_rows for part in predictions if part.partition != NO_SPEECH)
        return num_judged == sum(part.num_rows for part in self._pair.embeddings.parts())

    def _remove(self, paths: pa.Array) -> None:
        """Drop all rows of these paths from all tables."""
        with self._pair.staging():
            self._pair.commit({log: self._without(log, paths) for log in self._pair.logs})

    def _without(self, log: DeltaLog, paths: pa.Array) -> Change:
        adds, removes = [], []
        for part in log.parts():
            of_part = paths.filter(
                pc.and_(pc.greater_equal(paths, part.first_path), pc.less_equal(paths, part.last_path))
            )
            if not len(of_part):
                continue
            rows = log.store.read(part, log.schema)
            kept = rows.filter(pc.invert(pc.is_in(rows["path"], of_part)))
            if kept.num_rows < rows.num_rows:
                removes.append(part)
                if kept.num_rows:
                    adds.append(log.store.write_one(kept, part.partition, self._label))
        return Change(tuple(adds), tuple(removes))

    def _compact(self) -> None:
        with self._pair.staging():
            joined = {log: self._joined(log) for log in self._pair.logs}
            if any(change.adds for change in joined.values()):
                self._pair.commit(joined)

    def _joined(self, log: DeltaLog) -> Change:
        adds, removes = [], []
        for group in _groups(log.parts(), log.columns_since):
            rows = pa.concat_tables(log.store.read_all(group, log.schema))
            adds.append(log.store.write_one(rows, group[0].partition, self._label))
            removes += group
        return Change(tuple(adds), tuple(removes), moves_rows=True)

    def _write_record(self, state: str, report: dict[str, Any]) -> None:
        self._pair.look()
        record = {"state": state, "run": self.number, "settings": self._fingerprint.to_dict(), **report}
        data = json_bytes(record)
        if state != "running":
            self._put("_ser", "runs", f"{self.number}.json", data=data)
        self._put("run.json", data=data)

    def _put(self, *name: str, data: bytes) -> None:
        file = self._output.join(*name)
        with output_faults(file):
            storage.put(file, data)


def _groups(parts: list[Part], columns_since: int) -> Iterator[list[Part]]:
    """Parts of one partition to be written as one, in the order of their paths.

    They are small, as many as make a full one, lack a column, or are another program's: while the folders hold parts
    with and without a column, or of other types, readers of plain Parquet go by the first one that they meet.
    """

    def differs(part: Part) -> bool:
        return part.run_number < max(columns_since, 1)

    chosen = [part for part in parts if _fullness(part) < 0.5 or differs(part)]
    group: list[Part] = []
    fullness = 0.0
    for part in sorted(chosen, key=lambda part: (part.partition, part.first_path)):
        if group and (part.partition != group[0].partition or fullness + _fullness(part) > 1.0):
            if len(group) > 1 or differs(group[0]):
                yield group
            group, fullness = [], 0.0
        group.append(part)
        fullness += _fullness(part)
    if len(group) > 1 or any(map(differs, group)):
        yield group


def _fullness(part: Part) -> float:
    """1 of a part that is full."""
    return max(part.num_rows / ROWS_PER_PART, part.num_bytes / _BYTES_PER_PART if part.is_of_embeddings else 0.0)


def _require_whole(predictions: pa.Table, files: pa.Table) -> None:
    """As many predictions of each channel of each file as its row says, each window once."""
    windows = predictions.group_by([*_FILE_KEY, "file_version"]).aggregate(
        [("window_index", "count"), ("window_index", "count_distinct")]
    )
    got = windows.rename_columns([*_FILE_COUNTS, "num_distinct"]).sort_by(_FILE_ORDER)
    said = files.select(_FILE_COUNTS).filter(pc.greater(files["num_windows"], 0)).sort_by(_FILE_ORDER)
    if not got.select(_FILE_COUNTS).equals(said) or not got["num_distinct"].equals(got["num_windows"]):
        raise ValueError("predictions and files are not of the same whole files")
    if files.group_by(_FILE_KEY).aggregate([]).num_rows != files.num_rows:
        raise ValueError("a file (and channel) has two rows")


def _require_embedded(predictions: pa.Table, embeddings: pa.Table) -> None:
    """One embedding of each prediction that is not `no_speech`."""
    judged = predictions.filter(pc.not_equal(predictions["emotion"], NO_SPEECH))
    order = [(name, "ascending") for name in _WINDOW_KEY]
    keys, expected = (rows.select(_WINDOW_KEY).sort_by(order) for rows in (embeddings, judged))
    if not keys.combine_chunks().equals(expected.combine_chunks()):
        raise ValueError("embeddings are not of the windows that are judged")
