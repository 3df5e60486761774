"""The output folder: what it refuses, what it counts, what readers see, and who may write to it."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from ser_core import comparison, run, storage
from ser_core.delta_log import Change, DeltaLog, Stamp
from ser_core.errors import InterruptedRunError, OutputError, ServiceError, SupersededError
from ser_core.storage import Location
from ser_core.table_pair import TablePair
from ser_core.tables import Comparison, Output, Tally
from tests.processes import first_line, launch, stop
from tests.tables_support import (
    LABELS,
    NOW,
    OLD,
    SETTINGS,
    Audio,
    World,
    check_complete,
    check_snapshot,
    rows_of,
    score,
    score_all,
    write_plan,
)


@pytest.fixture(
    params=["folder", "folder with an odd name", "moto_s3", pytest.param("ceph_s3", marks=pytest.mark.heavy)]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """Where an output may be."""
    if request.param.endswith("s3"):
        location: Location = request.getfixturevalue(request.param).location.join("a prefix 100% ü[1]", "out=1")
        return location
    return Location(str(tmp_path / ("out" if request.param == "folder" else "o u%t #1=ü?")))


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(Location(str(tmp_path / "out")))


@pytest.fixture
def plan(tmp_path: Path) -> Callable[[World], Path]:
    return lambda world: write_plan(tmp_path / "plan.parquet", world)


def _say_nothing(line: str) -> None:
    pass


def test_runs_in_any_place(place: Location, plan: Callable[[World], Path]) -> None:
    output = Output(place)
    assert output.settings() is None
    output.check_writable()
    assert output.settings() is None
    with output.lock(_say_nothing):
        score_all(output, plan(OLD), OLD)
        check_complete(place, OLD)
        score_all(output, plan(NOW), NOW)
    check_complete(place, NOW)
    assert output.settings() == SETTINGS
    output.check_writable()


def test_making_an_output_touches_nothing(output: Output) -> None:
    assert output.settings() is None
    assert not Path(output.location.path).exists()


_NAMES_FOR_NO_TABLE = ("a%20b", "a%41", "%2f", "a%ff", "a\\b", "a\nb", "a\tb", "a\x7fb", "a\udcffb")


@pytest.mark.parametrize("name", _NAMES_FOR_NO_TABLE)
def test_place_that_deltalake_reads_differently_is_refused(name: str, tmp_path: Path) -> None:
    for parts in ((name,), (name, "out")):
        with pytest.raises(OutputError, match=r"no Delta table can have '.+' in its path; use another") as caught:
            Output(Location.parse(str(tmp_path.joinpath(*parts))))
        assert str(caught.value).isprintable()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [*_NAMES_FOR_NO_TABLE, "a#b", "a?b", "a//b", "/a", "./a", "a/..", "a/../b"])
def test_prefix_that_deltalake_reads_differently_is_refused(name: str) -> None:
    with pytest.raises(OutputError, match="no Delta table can have"):
        Output(Location.parse(f"s3://bucket/{name}"))


def test_counts_what_the_tables_know(output: Output, plan: Callable[[World], Path]) -> None:
    assert output.compare(plan(OLD)) == Comparison(num_new=len(OLD))
    score_all(output, plan(OLD), OLD)
    expected = Comparison(num_new=2, num_changed=2, num_retried=2, num_unchanged=3, num_gone=1)
    assert output.compare(plan(NOW)) == expected
    now = output.begin(SETTINGS, LABELS, on_event=_say_nothing)
    assert now.remove_stale(plan(NOW), prune=False) == expected
    pending = pa.concat_tables(now.pending(plan(NOW)))["path"].to_pylist()
    assert pending == [path for path in sorted(NOW) if NOW[path] != OLD.get(path)]
    assert now.tally(plan(NOW)) == Tally(scored=2, partial=0, failed=1)
    assert now.tally(plan(OLD)) == Tally(scored=3, partial=0, failed=1)


def test_a_file_counts_once_by_its_worst_channel(output: Output, plan: Callable[[World], Path]) -> None:
    world = {"a": Audio("1", channels=(0, 1, 2)), "b": Audio("1", channels=(0, 1))}
    begun = output.begin(SETTINGS, LABELS, on_event=_say_nothing)
    predictions, files = rows_of(world, 1)
    status = pa.array(["scored", "partial", "scored", "partial", "scored"])
    begun.commit(predictions, files.set_column(files.column_names.index("status"), "status", status))
    assert begun.tally(plan(world)) == Tally(partial=2)


def test_slices_of_any_size_compare_alike(
    output: Output, plan: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    score_all(output, plan(OLD), OLD)
    expected = output.compare(plan(NOW))
    for rows in (1, 2, 3, 7):
        monkeypatch.setattr(comparison, "ROWS_PER_SLICE", rows)
        assert output.compare(plan(NOW)) == expected
    assert output.compare(plan({})) == Comparison(num_gone=len(OLD))


def test_stale_rows_go_in_several_commits(
    output: Output, plan: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "ROWS_PER_SLICE", 2)
    monkeypatch.setattr(run, "STALE_PER_COMMIT", 2)
    score_all(output, plan(OLD), OLD)
    score_all(output, plan(NOW), NOW)
    check_complete(output.location, NOW)


@pytest.mark.parametrize("paths", [["b", "a"], ["a", "a"]])
def test_unsorted_plan_is_refused(output: Output, tmp_path: Path, paths: list[str]) -> None:
    file = write_plan(tmp_path / "plan.parquet", {"x": Audio("1"), "y": Audio("1")})
    table = pq.read_table(file)
    pq.write_table(table.set_column(0, table.schema.field("path"), pa.array(paths)), file)
    with pytest.raises(ValueError, match="sorted"):
        output.compare(file)


def test_compaction_joins_small_parts_and_leaves_full_ones(
    output: Output, plan: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "ROWS_PER_PART", 100)
    world = {f"{index:03d}": Audio("1", windows=1) for index in range(120)}
    score_all(output, plan(world), world, files_per_commit=7)
    check_complete(output.location, world)
    actions = pa.table(DeltaTable(output.location.join("files").url).get_add_actions(flatten=True))
    assert sorted(actions["num_records"].to_pylist()) == [22, 98]
    full = dict(zip(actions["num_records"].to_pylist(), actions["path"].to_pylist(), strict=True))[98]
    world |= {"999": Audio("1", windows=1)}
    score_all(output, plan(world), world)
    assert full in {path for path, _ in storage.list_files(output.location.join("files"))}
    check_complete(output.location, world)


@pytest.mark.parametrize("spoil", ["a prediction missing", "one twice", "a file twice", "no file", "other version"])
def test_torn_files_are_refused(output: Output, spoil: str) -> None:
    begun = output.begin(SETTINGS, LABELS, on_event=_say_nothing)
    predictions, files = rows_of({"a": Audio("1", windows=3), "b": Audio("1")}, 1)
    if spoil == "a prediction missing":
        predictions = predictions.slice(1)
    elif spoil == "one twice":
        predictions = pa.concat_tables([predictions.slice(1), predictions.slice(1, 1)])
    elif spoil == "a file twice":
        files = pa.concat_tables([files, files.slice(0, 1)])
    elif spoil == "no file":
        files = files.slice(1)
    else:
        version = pa.array(["2"] * predictions.num_rows)
        predictions = predictions.set_column(predictions.column_names.index("file_version"), "file_version", version)
    with pytest.raises(ValueError, match="file"):
        begun.commit(predictions, files)


def test_other_settings_are_refused_naming_both(output: Output, plan: Callable[[World], Path]) -> None:
    score_all(output, plan(OLD), OLD)
    with pytest.raises(OutputError, match=r"window_seconds was 3\.0, now 2\.0; use --restart or another output"):
        output.begin({**SETTINGS, "window_seconds": 2.0}, LABELS, on_event=_say_nothing)
    with pytest.raises(OutputError, match="channels was nothing, now"):
        output.begin({**SETTINGS, "channels": "each"}, LABELS, on_event=_say_nothing)
    with pytest.raises(OutputError, match=r"window_seconds was 3\.0, now 2\.0; use --restart or another output"):
        output.check_settings({**SETTINGS, "window_seconds": 2.0})
    check_complete(output.location, OLD)


def test_settings_are_checked_without_a_trace(output: Output, plan: Callable[[World], Path]) -> None:
    settings = {**SETTINGS, "labels": LABELS}
    output.check_settings(settings)
    assert not Path(output.location.path).exists()
    score_all(output, plan(OLD), OLD, settings=settings)
    output.check_settings(settings)
    check_complete(output.location, OLD)
    output.restart()
    output.check_settings(SETTINGS)


def test_restart_deletes_only_what_this_program_wrote(output: Output, plan: Callable[[World], Path]) -> None:
    score_all(output, plan(OLD), OLD)
    notes = [output.location.join("notes.txt"), output.location.join("predictions", "emotion=sad", "my.parquet")]
    for note in notes:
        storage.put(note, b"mine")
    output.restart()
    assert output.settings() is None
    assert not storage.exists(output.location.join("run.json"))
    assert output.compare(plan(OLD)) == Comparison(num_new=len(OLD))
    labels = ("calm", "sad")
    other = {"model": "other"}
    score_all(output, plan(NOW), NOW, labels=labels, settings=other)
    assert output.settings() == other
    for note in notes:
        assert storage.read(note) == b"mine"
        storage.delete(note)
    check_complete(output.location, NOW, labels)


def test_foreign_folder_is_refused(output: Output, plan: Callable[[World], Path]) -> None:
    storage.put(output.location.join("thesis.docx"), b"x")
    for act in (output.settings, output.check_writable, output.restart, lambda: score_all(output, plan(OLD), OLD)):
        with pytest.raises(OutputError, match="not made by ser"):
            act()
    with pytest.raises(OutputError, match="not made by ser"), output.lock(_say_nothing):
        pass
    assert [path for path, _ in storage.list_files(output.location)] == ["thesis.docx"]


def test_file_in_the_place_of_the_output_is_refused(output: Output) -> None:
    storage.put(output.location, b"x")
    for act in (output.settings, output.check_writable):
        with pytest.raises(OutputError, match="cannot be read as a folder: Not a directory"):
            act()


def test_two_runs_that_take_the_same_number(output: Output, plan: Callable[[World], Path]) -> None:
    score_all(output, plan(OLD), OLD)
    first, second = TablePair(output.location), TablePair(output.location)
    transact = DeltaLog.transact
    with pytest.MonkeyPatch.context() as patch:

        def let_the_first_come_between(log: DeltaLog, change: Change, stamp: Stamp) -> None:
            patch.setattr(DeltaLog, "transact", transact)
            first.fence()
            log.transact(change, stamp)

        patch.setattr(DeltaLog, "transact", let_the_first_come_between)
        with pytest.raises(SupersededError, match="a newer run"):
            second.fence()
    first.look()


def test_newer_format_is_refused(
    output: Output, plan: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("ser_core.tables.FORMAT", 2)
        score_all(output, plan(OLD), OLD)
    for act in (output.settings, output.restart, lambda: score_all(output, plan(OLD), OLD)):
        with pytest.raises(OutputError, match=r"newer ser \(format 2, this one knows 1\); upgrade"):
            act()


def test_storage_that_ignores_conditions_is_refused(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    def put_anyway(location: Location, data: bytes) -> bool:
        storage.put(location, data)
        return True

    monkeypatch.setattr(storage, "put_new", put_anyway)
    with pytest.raises(OutputError, match="If-None-Match"):
        output.check_writable()


def test_records_say_how_the_run_went(output: Output, plan: Callable[[World], Path]) -> None:
    def record() -> dict[str, Any]:
        return dict(json.loads(storage.read(output.location.join("run.json"))))

    begun = output.begin(SETTINGS, LABELS, on_event=_say_nothing)
    assert record() == {"state": "running", "run": 1, "settings": SETTINGS}
    begun.stop({"files": 0})
    assert record() == {"state": "stopped", "run": 1, "settings": SETTINGS, "files": 0}
    score_all(output, plan(OLD), OLD)
    assert record() == {"state": "complete", "run": 2, "settings": SETTINGS, "files": len(OLD)}
    history = [storage.read(output.location.join("_ser", "runs", f"{number}.json")) for number in (1, 2)]
    assert [json.loads(text)["state"] for text in history] == ["stopped", "complete"]


def test_every_reader_sees_the_same_rows(output: Output, plan: Callable[[World], Path]) -> None:
    odd = {
        "ü/名 'q\".wav": Audio("1"),
        "line\nfeed=%41.wav": Audio("1"),
        "\\xff.wav": Audio("1", windows=0, status="failed"),
    }
    world = {**OLD, **odd}
    score_all(output, plan(OLD), OLD)
    score_all(output, plan(world), world)
    for name, key, expected in zip(("predictions", "files"), ("emotion", "status"), rows_of(world, 0), strict=True):
        folder = output.location.join(name).path
        glob = f"{folder}/{key}=*/*.parquet"
        seen = {
            "duckdb": duckdb.sql(f"select * from read_parquet('{glob}', hive_partitioning=true)").to_arrow_table(),
            "polars": pl.read_parquet(glob, hive_partitioning=True).to_arrow(),
            "polars delta": pl.scan_delta(folder).collect().to_arrow(),
            "pandas": pa.Table.from_pandas(_as_text(pd.read_parquet(folder), key)),
            "pyarrow": pq.read_table(folder),
            "pyarrow dataset": ds.dataset(folder, partitioning="hive", exclude_invalid_files=True).to_table(),
            "deltalake": deltalake.DeltaTable(folder).to_pyarrow_table(),
        }
        columns = [column for column in expected.column_names if column not in {"run", "model"}]
        order = [(column, "ascending") for column in ("path", "channel", "window_index") if column in columns]
        wanted = expected.select(columns).sort_by(order).to_pylist()
        for reader, rows in seen.items():
            got = rows.select(columns).sort_by(order).to_pylist()
            if reader == "pandas":
                got, wanted_here = _without_gaps(got), _without_gaps(wanted)
                assert got == wanted_here, reader
            else:
                assert got == wanted, reader


def _as_text(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    return frame.astype({column: str})


def _without_gaps(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "gaps"} for row in rows]


def test_delta_readers_skip_by_path(output: Output, plan: Callable[[World], Path]) -> None:
    score_all(output, plan(OLD), OLD)
    found = pl.scan_delta(output.location.join("files").path).filter(pl.col("path") == "h/long.wav").collect()
    assert found["num_windows"].to_list() == [300]


def test_log_of_many_commits_is_mended_through_a_checkpoint(output: Output, plan: Callable[[World], Path]) -> None:
    world = {f"{index:03d}": Audio("1") for index in range(110)}
    begun = output.begin(SETTINGS, LABELS, on_event=_say_nothing)
    for path, audio in world.items():
        begun.commit(*rows_of({path: audio}, begun.number))
    pair = begun._pair
    assert any("checkpoint" in path for path, _ in storage.list_files(output.location.join("files")))
    pair.predictions.transact(pair.predictions.change_back_to(50), replace(pair.stamp, commit=pair.stamp.commit + 1))
    lines: list[str] = []
    again = output.begin(SETTINGS, LABELS, on_event=lines.append)
    assert len(lines) == 1
    assert "half done" in lines[0]
    again.finish({})
    check_complete(output.location, world)


def test_another_program_in_between_stops_the_run(output: Output, plan: Callable[[World], Path]) -> None:
    begun = output.begin(SETTINGS, LABELS, on_event=_say_nothing)
    begun.commit(*rows_of(OLD, 1))
    DeltaTable(output.location.join("predictions").url).alter.set_table_name("renamed")
    with pytest.raises(OutputError, match="another program"):
        begun.finish({})
    score_all(output, plan(OLD), OLD)
    check_complete(output.location, OLD)


def test_new_credentials_are_taken_up(
    output: Output, plan: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed: dict[str, str] = {}
    monkeypatch.setattr(Location, "delta_options", lambda self: dict(renewed))
    steps = score(output, plan(OLD), OLD)
    next(steps)
    handles = _count_handles(monkeypatch)
    next(steps)
    assert not handles
    renewed["aws_session_token"] = "renewed"
    next(steps)
    assert handles == ["renewed", "renewed"]
    list(steps)
    check_complete(output.location, OLD)


def _count_handles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    original = DeltaTable.__init__

    def note(self: DeltaTable, *args: Any, storage_options: dict[str, str], **rest: Any) -> None:
        made.append(storage_options["aws_session_token"])
        original(self, *args, storage_options=storage_options, **rest)

    monkeypatch.setattr(DeltaTable, "__init__", note)
    return made


def test_full_disk_stops_the_run_and_fails_nothing(
    output: Output, plan: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = score(output, plan(OLD), OLD)
    next(steps)
    with monkeypatch.context() as patch:

        def refuse(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(DeltaLog, "_write", refuse)
        with pytest.raises(ServiceError, match="disk is full"):
            list(steps)
    score_all(output, plan(OLD), OLD)
    check_complete(output.location, OLD)


def test_signal_right_after_a_commit_ends_the_run(
    output: Output, plan: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = output.begin(SETTINGS, LABELS, on_event=_say_nothing)
    write = DeltaTable.create_write_transaction

    def be_interrupted(*args: Any, **kwargs: Any) -> None:
        write(*args, **kwargs)
        raise InterruptedRunError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(DeltaTable, "create_write_transaction", be_interrupted)
        with pytest.raises(InterruptedRunError, match="stopped"):
            begun.commit(*rows_of(OLD, 1))
    score_all(output, plan(OLD), OLD)
    check_complete(output.location, OLD)


def _child(place: Location, plan: Path, host: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.tables_child", place.url, str(plan), host, *options]
    return launch(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_stopped_holder_that_goes_on_commits_nothing(place: Location, plan: Callable[[World], Path]) -> None:
    file = plan(NOW)
    older = _child(place, file, "host-a", "lock", "wait")
    assert first_line(older) == "ready\n"
    stop(older)
    newer = Output(place, host="host-b", beat_seconds=0.05, watch_seconds=0.5)
    lines: list[str] = []
    with newer.lock(lines.append):
        score_all(newer, file, NOW)
    assert "host-a" in lines[0]
    older.send_signal(signal.SIGCONT)
    said, _ = older.communicate("\n", timeout=60)
    assert said.splitlines() == [f"SupersededError: {place}: a newer run took the output over; this one stops"]
    check_complete(place, NOW)


@pytest.mark.parametrize("attempt", range(3))
def test_two_drivers_forced_past_the_lock(place: Location, plan: Callable[[World], Path], attempt: int) -> None:
    file = plan(NOW)
    children = [_child(place, file, host) for host in ("host-a", "host-b")]
    ends = sorted(child.communicate(timeout=120)[0].splitlines()[-1] for child in children)
    check_snapshot(place, NOW)
    if ends != ["ended", "ended"]:
        assert ends[0].startswith(("SupersededError", "OutputError"))
        assert ends[1] == "ended"
    check_complete(place, NOW)
