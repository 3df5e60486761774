"""A world of small files whose rows are known, a driver that scores it, and what must be true of any output."""

import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from ser_core.records import PLAN_SCHEMA
from ser_core.storage.location import Location, list_files, read
from ser_core.tables import schema
from ser_core.tables.output import Output
from ser_core.tables.run import Run
from ser_core.tables.schema import Fingerprint, file_schema, filled, prediction_schema
from ser_core.vocabulary import NO_SPEECH

LABELS = ("angry", "happy", "sad")
MODIFIED = datetime(2024, 2, 29, 12, 30, 15, 250_000, tzinfo=UTC)
#: Of so many windows the second one has no speech.
SILENT_EVERY = 4
SETTINGS = Fingerprint(
    source="/archive",
    glob=None,
    model="compact@0123",
    channels="mix",
    window_seconds=3.0,
    hop_seconds=3.0,
    precision="fp32",
)


#: Of an output that keeps embeddings.
EMBEDDED = SETTINGS.replace(embeddings="compact-0123456789ab")


@dataclass(frozen=True)
class Audio:
    """What a file of one version gives: `windows` on each channel, and how it ends."""

    version: str
    windows: int = 2
    channels: tuple[int, ...] = (-1,)
    status: str = "scored"
    retryable: bool = False


World = dict[str, Audio]

#: One of each kind, and one file longer than the others together.
OLD: World = {
    "a/same.wav": Audio("1"),
    "b/changed.wav": Audio("1", windows=3),
    "c/two channels.wav": Audio("1", channels=(0, 1)),
    "d/crashed.wav": Audio("1", windows=0, status="failed", retryable=True),
    "e/half.wav": Audio("1", windows=1, status="partial", retryable=True),
    "f/broken for good.wav": Audio("1", windows=0, status="failed"),
    "g/gone.wav": Audio("1"),
    "h/long.wav": Audio("1", windows=300),
}
NOW: World = {
    **{path: audio for path, audio in OLD.items() if path != "g/gone.wav"},
    "b/changed.wav": Audio("2", windows=4),
    "c/two channels.wav": Audio("2", channels=(0, 1)),
    "d/crashed.wav": Audio("1"),
    "e/half.wav": Audio("1", windows=5),
    "i/new.wav": Audio("1"),
    "j/new and long.wav": Audio("1", windows=400),
}


#: A program of before that has columns less, one of each table.
NEW_COLUMNS = ("speech_share", "speech_seconds")


@contextmanager
def earlier_version() -> Iterator[None]:
    """Write tables as a program that has neither `speech_share` of predictions nor `speech_seconds` of files."""
    with pytest.MonkeyPatch.context() as patch:
        for name, missing in (("PREDICTION_COLUMNS", "speech_share"), ("FILE_COLUMNS", "speech_seconds")):
            patch.setattr(schema, name, [column for column in getattr(schema, name) if column.name != missing])
        yield


@contextmanager
def before_speech() -> Iterator[None]:
    """Write tables as a program of before there was speech detection, by its columns."""
    of_now, with_labels = {"speech_share", "modified", "speech_seconds"}, schema._with_labels
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PREDICTION_COLUMNS", "FILE_COLUMNS"):
            patch.setattr(schema, name, [column for column in getattr(schema, name) if column.name not in of_now])
        patch.setattr(schema, "_with_labels", lambda columns, labels, *_: with_labels(columns, labels, "p_"))
        yield


def forget_speech(output: Output) -> None:
    """Let an output say of its settings what a program of before there was speech detection says."""
    table = DeltaTable(output.location.join("predictions").url)
    described = json.loads(table.metadata().description)
    for name in ("speech", "min_speech_seconds"):
        del described["settings"][name]
    table.alter.set_table_description(json.dumps(described))


def say_nothing(line: str) -> None:
    """What `on_event` may be."""


def write_plan(file: Path, world: World) -> Path:
    """The plan of a world: its files with their versions."""
    paths = sorted(world)
    columns = {
        "path": paths,
        "size": [1] * len(paths),
        "version": [world[path].version for path in paths],
        "modified": [MODIFIED] * len(paths),
    }
    pq.write_table(pa.table(columns, schema=PLAN_SCHEMA), file)
    return file


def rows_of(world: World, run: int, labels: tuple[str, ...] = LABELS) -> tuple[pa.Table, pa.Table]:
    """Predictions and files of a world; they depend on the world alone, but for the `run`."""
    predictions: list[dict[str, Any]] = []
    files: list[dict[str, Any]] = []
    for path, audio in world.items():
        for channel in audio.channels:
            seed = zlib.crc32(f"{path}|{audio.version}|{channel}".encode())
            values = np.random.default_rng(seed).random((audio.windows + 1, len(labels)), np.float32)
            values /= values.sum(axis=1, keepdims=True)
            key = {"path": path, "channel": channel, "file_version": audio.version}
            for window, probabilities in enumerate(values[:-1]):
                time = {"window_index": window, "start_seconds": 3.0 * window, "end_seconds": 3.0 * window + 3}
                has_speech = window % SILENT_EVERY != 1
                said = _prediction(probabilities, labels) if has_speech else {"emotion": NO_SPEECH}
                rest = {"level_dbfs": -20.0, "speech_share": float(has_speech), "model": f"run {run}"}
                predictions.append({**key, **time, **said, **rest})
            of_file = _prediction(values[-1], labels) | _shares(values[-1], labels) if audio.windows else {}
            seconds = {"audio_seconds": 3.0 * audio.windows, "speech_seconds": 2.0 * audio.windows}
            end = {"num_windows": audio.windows, **seconds, "gaps": [], "run": run, "modified": MODIFIED}
            status = {"status": audio.status, "retryable": audio.retryable}
            reason = {"reason": None if audio.status == "scored" else "crashed"}
            files.append({**key, **of_file, **end, **status, **reason})
    return (
        pa.Table.from_pylist(predictions, schema=prediction_schema(labels)),
        pa.Table.from_pylist(files, schema=file_schema(labels)),
    )


def embeddings_of(predictions: pa.Table) -> pa.Table:
    """The embeddings of these predictions: values that follow from the row."""
    judged = predictions.filter(pc.not_equal(predictions["emotion"], NO_SPEECH))
    values = [judged[name].cast(pa.float32()).to_numpy() for name in ("channel", "window_index", "confidence")]
    values_WE = np.stack(values, axis=1).astype(np.float16)
    offsets = pa.array(np.arange(0, values_WE.size + 1, values_WE.shape[1]), pa.int32())
    lists = pa.ListArray.from_arrays(offsets, pa.array(values_WE.reshape(-1)))
    return judged.select(["path", "channel", "window_index", "file_version"]).append_column("embedding", lists)


def commit(run: Run, predictions: pa.Table, files: pa.Table) -> None:
    """Commit rows, with embeddings where the output keeps them."""
    is_on = run._fingerprint.embeddings is not None
    run.commit(predictions, files, embeddings_of(predictions) if is_on else None)


def _shares(values: np.ndarray, labels: tuple[str, ...]) -> dict[str, Any]:
    return {f"share_{label}": float(share) for label, share in zip(labels, values, strict=True)}


def _prediction(probabilities: np.ndarray, labels: tuple[str, ...]) -> dict[str, Any]:
    best = int(probabilities.argmax())
    named = {f"p_{label}": float(p) for label, p in zip(labels, probabilities, strict=True)}
    return {"emotion": labels[best], "confidence": float(probabilities[best]), **named}


def score(
    output: Output,
    plan_file: Path,
    world: World,
    *,
    labels: tuple[str, ...] = LABELS,
    settings: Fingerprint = SETTINGS,
    restart: bool = False,
    files_per_commit: int = 3,
    on_event: Callable[[str], None] = say_nothing,
) -> Iterator[Run]:
    """A whole run as the job makes it; yields after each step, so that another may come in between."""
    opened = output.open(restart=restart)
    if restart:
        opened.restart()
    run = opened.begin(settings, labels, on_event=on_event)
    yield run
    run.remove_stale(plan_file, prune=True)
    yield run
    paths = [path for rows in run.pending(plan_file) for path in rows["path"].to_pylist()]
    for first in range(0, len(paths), files_per_commit):
        whole = {path: world[path] for path in paths[first : first + files_per_commit]}
        commit(run, *rows_of(whole, run.number, labels))
        yield run
    run.finish({"files": len(world)})
    yield run


def score_all(output: Output, plan_file: Path, world: World, **options: Any) -> Run:
    """A whole run, unbroken."""
    *_, run = score(output, plan_file, world, **options)
    return run


def read_table(location: Location, column: str, version: int | None = None) -> pa.Table:
    """The rows a Delta reader sees, at a version or now."""
    table = DeltaTable(location.url, version=version, storage_options=location.delta_options())
    columns = pa.schema(table.schema())
    actions = pa.table(table.get_add_actions(flatten=True))
    parts = [columns.empty_table()]
    for path, value in zip(actions["path"].to_pylist(), actions[f"partition.{column}"].to_pylist(), strict=True):
        rows = pq.ParquetFile(pa.BufferReader(read(location.join(path)))).read()
        values = pa.array([value] * rows.num_rows, pa.string())
        parts.append(filled(rows.append_column(column, values), columns))
    return pa.concat_tables(parts)


def check_snapshot(output: Location, *worlds: World, checked: dict[str, str] | None = None) -> None:
    """Each row at most once, and of each file all rows of one of its versions, or none.

    Args:
        output: the two tables' place.
        worlds: whose rows may be there.
        checked: the newest log entry of each table when it was last read; a table without a newer one is passed by.
    """
    known = [(path, audio) for world in worlds for path, audio in world.items()]
    checks = (
        ("predictions", "emotion", _check_predictions),
        ("embeddings", "encoder", _check_embeddings),
        ("files", "status", _check_files),
    )
    for name, column, check in checks:
        table = output.join(name)
        newest = max((path for path, _ in list_files(table.join("_delta_log"))), default="none")
        if checked is not None and checked.get(name) == newest:
            continue
        with suppress(TableNotFoundError):
            check(read_table(table, column), known)
        if checked is not None:
            checked[name] = newest


def _check_predictions(rows: pa.Table, known: list[tuple[str, Audio]]) -> None:
    found: dict[str, set[tuple[int, str, str, int]]] = {}
    groups = rows.group_by(["path", "channel", "file_version", "model"]).aggregate(
        [("window_index", "count"), ("window_index", "count_distinct"), ("window_index", "max")]
    )
    for row in groups.to_pylist():
        num = row["window_index_count"]
        assert num == row["window_index_count_distinct"] == row["window_index_max"] + 1, f"torn or doubled: {row}"
        found.setdefault(row["path"], set()).add((row["channel"], row["file_version"], row["model"], num))
    allowed: dict[str, list[set[tuple[int, str, int]]]] = {}
    for path, audio in known:
        allowed.setdefault(path, []).append({(channel, audio.version, audio.windows) for channel in audio.channels})
    for path, channels in found.items():
        assert len({run for _, _, run, _ in channels}) == 1, f"{path} is of two runs: {channels}"
        without_run = {(channel, version, num) for channel, version, _, num in channels}
        assert without_run in allowed[path], f"{path}: {channels}"


def _check_embeddings(rows: pa.Table, known: list[tuple[str, Audio]]) -> None:
    groups = rows.group_by(["path", "channel", "file_version"]).aggregate([("window_index", "list")])
    found: dict[str, set[tuple[int, str, tuple[int, ...]]]] = {}
    for row in groups.to_pylist():
        windows = tuple(sorted(row["window_index_list"]))
        found.setdefault(row["path"], set()).add((row["channel"], row["file_version"], windows))
    for path, channels in found.items():
        allowed = [
            {(channel, audio.version, _judged(audio)) for channel in audio.channels}
            for name, audio in known
            if name == path
        ]
        assert channels in allowed, f"{path}: {channels}"


def _judged(audio: Audio) -> tuple[int, ...]:
    return tuple(window for window in range(audio.windows) if window % SILENT_EVERY != 1)


def _check_files(rows: pa.Table, known: list[tuple[str, Audio]]) -> None:
    found: dict[str, list[tuple[int, str, str, int]]] = {}
    for row in rows.select(["path", "channel", "file_version", "status", "num_windows"]).to_pylist():
        found.setdefault(row.pop("path"), []).append(tuple(row.values()))
    for path, channels in found.items():
        allowed = [
            [(channel, audio.version, audio.status, audio.windows) for channel in audio.channels]
            for name, audio in known
            if name == path
        ]
        assert sorted(channels) in allowed, f"{path}: {channels}"


def check_complete(
    output: Location, world: World, labels: tuple[str, ...] = LABELS, *, null_in_first_run: tuple[str, ...] = ()
) -> None:
    """Exactly the world's rows in the tables, and in the plain folders exactly the parts that hold them.

    Args:
        output: the two tables' place.
        world: whose rows are there.
        labels: of the tables.
        null_in_first_run: columns, of either table, that were added after the first run.
    """
    check_snapshot(output, world)
    key = [("path", "ascending"), ("channel", "ascending"), ("window_index", "ascending")]
    predictions = read_table(output.join("predictions"), "emotion").sort_by(key)
    files = read_table(output.join("files"), "status").sort_by(key[:2])
    expected_predictions, expected_files = rows_of(world, 0, labels)
    for rows, expected, run, first in (
        (predictions, expected_predictions.sort_by(key), "model", "run 1"),
        (files, expected_files.sort_by(key[:2]), "run", 1),
    ):
        for name in {*null_in_first_run} & {*rows.column_names}:
            values = pc.if_else(pc.equal(rows[run], first), None, expected[name])
            expected = expected.set_column(expected.column_names.index(name), expected.field(name), values)  # noqa: PLW2901
        assert rows.drop_columns(run).equals(expected.select(rows.drop_columns(run).column_names))
    runs_of_files = dict(zip(files["path"].to_pylist(), files["run"].to_pylist(), strict=True))
    for path, model in zip(predictions["path"].to_pylist(), predictions["model"].to_pylist(), strict=True):
        assert model == f"run {runs_of_files[path]}", f"{path}: the tables disagree on the run"
    has_embeddings = _check_complete_embeddings(output, expected_predictions)
    for name in ("predictions", "files", *(["embeddings"] if has_embeddings else [])):
        folder = output.join(name)
        live = pa.table(DeltaTable(folder.url, storage_options=folder.delta_options()).get_add_actions())["path"]
        on_disk = {path for path, _ in list_files(folder) if not path.startswith("_delta_log/")}
        assert on_disk == set(live.to_pylist())


def _check_complete_embeddings(output: Location, predictions: pa.Table) -> bool:
    """Exactly those of these predictions, or none, as the output says of itself; whether there is such a table."""
    table = DeltaTable(output.join("predictions").url, storage_options=output.delta_options())
    is_on = "embeddings" in json.loads(table.metadata().description)["settings"]
    try:
        rows = read_table(output.join("embeddings"), "encoder")
    except TableNotFoundError:
        assert not is_on
        return False
    key = [("path", "ascending"), ("channel", "ascending"), ("window_index", "ascending")]
    expected = embeddings_of(predictions if is_on else predictions.slice(0, 0)).sort_by(key)
    expected = filled(expected.append_column("encoder", pa.repeat(EMBEDDED.embeddings, len(expected))), rows.schema)
    assert rows.sort_by(key).equals(expected)
    return True
