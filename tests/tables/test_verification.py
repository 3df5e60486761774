"""Whole outputs are found whole, at rest and while a run is on; what is damaged is named, with the way out."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ser_core import storage
from ser_core.errors import OutputError
from ser_core.storage.location import Location
from ser_core.tables import delta_log, findings, key_check
from ser_core.tables.delta_log import DeltaLog, Stamp
from ser_core.tables.findings import Problem
from ser_core.tables.output import Output
from ser_core.tables.verification import Verified, verify
from tests.support.tables import (
    LABELS,
    NOW,
    OLD,
    SETTINGS,
    Audio,
    World,
    earlier_version,
    rows_of,
    say_nothing,
    score,
    score_all,
)
from tests.support.tables_faults import READS, WRITES, Interposer, Killed

pytestmark = pytest.mark.usefixtures("quick_disk")

Plan = Callable[[World], Path]
TOUCHED: World = {
    path: Audio("2", audio.windows, audio.channels, audio.status, audio.retryable) for path, audio in OLD.items()
}


def problems(verified: Verified) -> dict[tuple[str, Problem], tuple[int, tuple[str, ...]]]:
    return {(found.table, found.problem): (found.count, found.names) for found in verified.findings}


def assert_whole(verified: Verified, world: World) -> None:
    assert verified.findings == ()
    num_windows = sum(audio.windows * len(audio.channels) for audio in world.values())
    assert (verified.files, verified.windows) == (len(world), num_windows)


@pytest.fixture
def made(output: Output, plan: Plan) -> Output:
    score_all(output, plan(OLD), OLD)
    return output


def test_a_complete_output_is_whole_in_any_place(any_place: Location, plan: Plan) -> None:
    output = Output(any_place)
    score_all(output, plan(OLD), OLD)
    assert_whole(verify(any_place), OLD)
    score_all(output, plan(NOW), NOW)
    verified = verify(any_place)
    assert_whole(verified, NOW)
    assert (verified.state, verified.run, verified.orphans, verified.notes) == ("complete", 2, 0, ())


@pytest.mark.parametrize(("rows_per_sample", "samples_per_range"), [(1, 1), (1, 3), (7, 2), (1000, 1000)])
def test_ranges_of_any_size_see_the_same(
    made: Output, monkeypatch: pytest.MonkeyPatch, rows_per_sample: int, samples_per_range: int
) -> None:
    monkeypatch.setattr(key_check, "_ROWS_PER_SAMPLE", rows_per_sample)
    monkeypatch.setattr(key_check, "_SAMPLES_PER_RANGE", samples_per_range)
    assert_whole(verify(made.location), OLD)
    change_rows(made, "predictions", lambda rows: rows.filter(pc.not_equal(rows["window_index"], 1)))
    files_with_a_second_window = tuple(path for path, audio in OLD.items() if audio.windows > 1)
    count = len(files_with_a_second_window)
    found = problems(verify(made.location))
    assert found.pop(("files", findings.WRONG_NUMBER))[0] + found.pop(("files", findings.WRONG_WINDOWS))[0] == count
    assert found == {}


def test_an_output_of_an_earlier_version_is_whole(output: Output, plan: Plan) -> None:
    with earlier_version():
        score_all(output, plan(OLD), OLD)
    assert_whole(verify(output.location), OLD)


def test_rows_may_have_no_probabilities_all_together(made: Output) -> None:
    change_rows(
        made, "predictions", lambda rows: without_values(rows, "confidence", *(f"p_{label}" for label in LABELS))
    )
    assert_whole(verify(made.location), OLD)


def runs(output: Output, plan: Plan, files_per_commit: int = 2) -> Iterator[None]:
    """Runs, one of them a --restart, that yield at each of their steps."""
    for world, restart in ((OLD, False), (NOW, False), (OLD, True), (NOW, False)):
        for _ in score(output, plan(world), world, restart=restart, files_per_commit=files_per_commit):
            yield


@pytest.mark.parametrize("every", [23, pytest.param(1, marks=pytest.mark.heavy)])
def test_an_output_is_whole_at_every_moment_of_a_run(output: Output, plan: Plan, every: int) -> None:
    """And so wherever a run may have been killed."""

    def look(point: int, name: str) -> None:
        if point % every == 0:
            with suppress(OutputError):
                found = verify(output.location).findings
                assert found == (), (name, found)

    interposer = Interposer(look)
    with interposer.active(*WRITES):
        for _ in runs(output, plan):
            pass
    assert interposer.num_points > 300


def test_what_a_killed_run_left_is_a_note(made: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = made.open().begin(SETTINGS, LABELS, on_event=say_nothing)
    commit = DeltaLog.transact

    def kill(log: DeltaLog, *change: Any) -> None:
        if log.location.name == "files":
            raise Killed
        commit(log, *change)

    with monkeypatch.context() as patch:
        patch.setattr(DeltaLog, "transact", kill)
        with pytest.raises(Killed):
            begun.commit(*rows_of({"new.wav": Audio("1")}, begun.number))
    verified = verify(made.location)
    assert_whole(verified, OLD)
    assert verified.state == "running"
    assert verified.orphans > 0
    assert "is half done: a run is on, or the next one takes it back" in verified.notes[0]
    made.open().restart()
    verified = verify(made.location)
    assert_whole(verified, {})
    assert "--restart let go of all rows" in verified.notes[0]


@pytest.mark.parametrize("every", [1, 4])
def test_a_run_that_goes_on_meanwhile_is_no_damage(output: Output, plan: Plan, every: int) -> None:
    """At every so many operations of the look a run makes a step, or the next run begins."""
    steps = runs(output, plan)
    next(steps)
    last = object()
    num_steps = num_looks = 0

    def step(point: int, name: str) -> None:
        nonlocal num_steps
        if point % every == 0:
            num_steps += next(steps, last) is not last

    while num_looks < 3 or num_steps > 0:
        num_steps = 0
        with Interposer(step).active(*READS), suppress(OutputError):
            assert verify(output.location).findings == ()
            num_looks += 1
    assert_whole(verify(output.location), NOW)


def change_rows(output: Output, table: str, change: "Change") -> None:
    """Write other rows into a table by the protocol of its log, as a program with a bug would."""
    log = DeltaLog(output.location.join(table), {"predictions": "emotion", "files": "status"}[table])
    log.look()
    parts = log.parts()
    rows = pa.concat_tables(
        part_rows.append_column(log.partition_column, pa.repeat(part.partition, part.num_rows))
        for part, part_rows in zip(parts, log.store.read_all(parts, log.schema), strict=True)
    )
    adds = log.store.write(change(rows), f"{log.stamp.owner}-{log.stamp.commit}")
    log.transact(delta_log.Change(tuple(adds), tuple(parts)), Stamp(log.stamp.owner, log.stamp.commit))
    for part in parts:
        storage.delete(output.location.join(table, part.path))


def without_values(rows: pa.Table, *names: str) -> pa.Table:
    for name in names:
        rows = rows.set_column(rows.column_names.index(name), name, pa.nulls(rows.num_rows, rows[name].type))
    return rows


def of_path(rows: pa.Table, path: str) -> pa.Array:
    return pc.equal(rows["path"], path).combine_chunks()


SAME, TWO, LONG, HALF, CRASHED = "a/same.wav", "c/two channels.wav", "h/long.wav", "e/half.wav", "d/crashed.wav"
GAP = {"start_seconds": 1.0, "end_seconds": 2.0}
Change = Callable[[pa.Table], pa.Table]


def dropped(path: str) -> Change:
    return lambda rows: rows.filter(pc.invert(of_path(rows, path)))


def doubled(path: str) -> Change:
    return lambda rows: pa.concat_tables([rows, rows.filter(of_path(rows, path))])


def with_value(path: str, name: str, value: Any) -> Change:
    def change(rows: pa.Table) -> pa.Table:
        values = pc.if_else(of_path(rows, path), pa.scalar(value, rows[name].type), rows[name])
        return rows.set_column(rows.column_names.index(name), name, values)

    return change


@pytest.mark.parametrize(
    ("table", "change", "found_in", "problem", "path"),
    [
        ("files", dropped(TWO), "predictions", findings.NO_FILE, TWO),
        ("files", doubled(TWO), "files", findings.DOUBLED_FILES, TWO),
        ("files", with_value(SAME, "num_windows", 3), "files", findings.WRONG_NUMBER, SAME),
        ("files", with_value(LONG, "confidence", 0.2), "files", findings.BAD_PROBABILITIES, LONG),
        ("files", with_value(LONG, "emotion", None), "files", findings.BAD_PROBABILITIES, LONG),
        ("files", with_value(CRASHED, "status", "scored"), "files", findings.BAD_STATUS, CRASHED),
        ("files", with_value(SAME, "gaps", [GAP]), "files", findings.BAD_STATUS, SAME),
        ("predictions", dropped(HALF), "files", findings.WRONG_NUMBER, HALF),
        ("predictions", doubled(SAME), "files", findings.WRONG_WINDOWS, SAME),
        ("predictions", with_value(SAME, "window_index", 7), "files", findings.WRONG_WINDOWS, SAME),
        ("predictions", with_value(HALF, "window_index", -1), "files", findings.WRONG_WINDOWS, HALF),
        ("predictions", with_value(LONG, "p_sad", 0.99), "predictions", findings.BAD_PROBABILITIES, LONG),
        ("predictions", with_value(LONG, "p_sad", float("nan")), "predictions", findings.BAD_PROBABILITIES, LONG),
        ("predictions", with_value(LONG, "confidence", None), "predictions", findings.BAD_PROBABILITIES, LONG),
        ("predictions", with_value(LONG, "emotion", "bored"), "predictions", findings.BAD_PROBABILITIES, LONG),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_are_named_with_a_way_out(
    made: Output, plan: Plan, table: str, change: Change, found_in: str, problem: Problem, path: str
) -> None:
    change_rows(made, table, change)
    found = problems(verify(made.location))
    assert found[found_in, problem][1] == (path,)
    assert {name for _, names in found.values() for name in names} == {path}
    if "touch" in problem.advice:
        world = {**OLD, path: TOUCHED[path]}
        score_all(made, plan(world), world)
        assert_whole(verify(made.location), world)
    elif "same command again" in problem.advice:
        score_all(made, plan(OLD), OLD)
        assert_whole(verify(made.location), OLD)
    else:
        score_all(made, plan(OLD), OLD, restart=True)
        assert_whole(verify(made.location), OLD)
