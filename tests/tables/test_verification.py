"""Whole outputs are found whole, at rest, wherever a run was killed, and while runs go on."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ser_core.errors import OutputError
from ser_core.storage.location import Location
from ser_core.tables.checks import findings, key_check
from ser_core.tables.checks.verification import verify
from ser_core.tables.delta_log import DeltaLog
from ser_core.tables.output import Output
from ser_core.tables.table_pair import TablePair
from tests.support.cli import SER
from tests.support.tables import (
    EMBEDDED,
    LABELS,
    NOW,
    OLD,
    SETTINGS,
    Audio,
    World,
    commit,
    earlier_version,
    rows_of,
    say_nothing,
    score,
    score_all,
)
from tests.support.tables_faults import READS, WRITES, Interposer, Killed
from tests.support.verification import assert_whole, change_rows, problems, without_values

pytestmark = pytest.mark.usefixtures("quick_disk")

Plan = Callable[[World], Path]


@pytest.fixture
def made(output: Output, plan: Plan) -> Output:
    score_all(output, plan(OLD), OLD, settings=EMBEDDED)
    return output


@pytest.mark.parametrize("name", ["out", "o u%t #1=ü?"])
def test_a_complete_output_is_whole(tmp_path: Path, plan: Plan, name: str) -> None:
    """In a bucket: test_a_bucket_is_scored_into_a_bucket_and_again."""
    any_place = Location(str(tmp_path / name))
    output = Output(any_place)
    score_all(output, plan(OLD), OLD, settings=EMBEDDED)
    assert_whole(verify(any_place), OLD)
    score_all(output, plan(NOW), NOW, settings=EMBEDDED)
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
    count = {key: count for key, (count, _) in problems(verify(made.location)).items()}
    # Without its second window, a longer file has a hole, and a shorter one only is shorter.
    assert count == {("files", findings.WRONG_NUMBER): 3, ("files", findings.WRONG_WINDOWS): 2}


def test_an_output_of_an_earlier_version_is_whole(output: Output, plan: Plan) -> None:
    with earlier_version():
        score_all(output, plan(OLD), OLD)
    assert_whole(verify(output.location), OLD)


def test_an_emotion_without_probabilities_is_noticed(made: Output) -> None:
    """All of them may be null where there is no speech, and there alone."""
    change_rows(
        made, "predictions", lambda rows: without_values(rows, "confidence", *(f"p_{label}" for label in LABELS))
    )
    assert [*problems(verify(made.location))] == [("predictions", findings.BAD_PROBABILITIES)]


def runs(output: Output, plan: Plan, files_per_commit: int = 2) -> Iterator[None]:
    """Runs, two of them a --restart, after which embeddings go and come, that yield at each of their steps."""
    first, last = (OLD, False, EMBEDDED), (NOW, False, EMBEDDED)
    for world, restart, settings in (first, last, (OLD, True, SETTINGS), (OLD, True, EMBEDDED), last):
        for _ in score(
            output, plan(world), world, settings=settings, restart=restart, files_per_commit=files_per_commit
        ):
            yield


@pytest.mark.parametrize("every", [29, pytest.param(1, marks=pytest.mark.heavy)])
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


@pytest.mark.parametrize("missing", ["embeddings", "files"])
def test_what_a_killed_run_left_is_a_note(made: Output, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    begun = made.open().begin(EMBEDDED, LABELS, on_event=say_nothing)
    transact = DeltaLog.transact

    def kill(log: DeltaLog, *change: Any) -> None:
        if log.location.name == missing:
            raise Killed
        transact(log, *change)

    with monkeypatch.context() as patch:
        patch.setattr(DeltaLog, "transact", kill)
        with pytest.raises(Killed):
            commit(begun, *rows_of({"new.wav": Audio("1")}, begun.number))
    verified = verify(made.location)
    assert_whole(verified, OLD)
    assert verified.state == "running"
    assert verified.orphans > 0
    assert "is not in all tables: a run is on, or the next one takes it back" in verified.notes[0]
    made.open().restart()
    verified = verify(made.location)
    assert_whole(verified, {})
    assert "--restart let go of all rows" in verified.notes[0]


@pytest.mark.parametrize("every", [1, pytest.param(4, marks=pytest.mark.heavy)])
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


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("is_killed", [False, True])
def test_a_restart_at_any_moment_of_the_look_is_no_damage(
    made: Output, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_killed: bool, every: int
) -> None:
    """It begins whole, or is killed when it has let go of the rows of one table."""
    replace = DeltaLog.replace

    def kill(log: DeltaLog, *change: Any) -> None:
        if is_killed and log.location.name == "predictions":
            raise Killed
        replace(log, *change)

    monkeypatch.setattr(DeltaLog, "replace", kill)
    plan_file = plan(NOW)
    num_points, point = 1, 0
    while point < num_points:
        copy = Output(Location(str(tmp_path / f"copy {point}")))
        shutil.copytree(made.location.path, copy.location.path)

        def begin(reached: int, name: str, at: int = point, output: Output = copy) -> None:
            if reached == at:
                with suppress(Killed):
                    next(score(output, plan_file, NOW, settings=EMBEDDED, restart=True))

        interposer = Interposer(begin)
        with interposer.active(*READS):
            assert verify(copy.location).findings == ()
        num_points = interposer.num_points
        point += every
    assert point > 20


def test_a_part_being_written_as_the_folders_are_listed_is_no_orphan(made: Output) -> None:
    def begin(reached: int, name: str) -> None:
        if name == "before list_files":
            pair = TablePair(made.location)
            pair.exists()
            pair.fence()
            pair.files.store.write(rows_of(NOW, 2)[1], "2-1")

    with Interposer(begin).active(*READS):
        verified = verify(made.location)
    assert verified.findings == ()
    assert verified.orphans > 0
    assert verify(made.location).state is None


#: Runs a command; the last line of standard error is the most memory that it held, in KiB. A child of the tests' own
#: process would be told to have held what that one did when it began.
PEAK_OF = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.heavy
@pytest.mark.parametrize("files_per_commit", [50_000, 250])
def test_a_million_windows_take_under_a_minute_and_a_gigabyte(output: Output, files_per_commit: int) -> None:
    begun = output.open().begin(SETTINGS, LABELS, on_event=say_nothing)
    for first in range(0, 50_000, files_per_commit):
        begun.commit(*many_rows(range(first, first + files_per_commit), windows_per_file=20))
    began = time.monotonic()
    command = [sys.executable, "-c", PEAK_OF, *SER, "verify", output.location.path, "--output-mode", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    status, verified = done.returncode, json.loads(done.stdout)
    seconds, megabytes = time.monotonic() - began, int(done.stderr.splitlines()[-1]) / 1000
    print(f"{verified['parts']} parts, {verified['bytes'] / 1e6:.0f} MB: {seconds:.1f} s, {megabytes:.0f} MB of memory")
    assert (status, verified["files"], verified["windows"]) == (0, 50_000, 1_000_000)
    assert seconds < 60
    assert megabytes < 1000


def many_rows(numbers: range, windows_per_file: int) -> tuple[pa.Table, pa.Table]:
    """Rows of numbered files that are all as long, with probabilities at random, made quickly."""
    of_one = rows_of({"": Audio("12345678-1712345678901234567", windows=windows_per_file)}, 1)
    names = pa.array([f"calls/2026/recording-{number:09d}.wav" for number in numbers])
    chance = np.random.default_rng(numbers.start)

    def repeated(rows: pa.Table) -> pa.Table:
        index_W = np.tile(np.arange(rows.num_rows), len(numbers))
        values_WC = chance.random((len(index_W), len(LABELS)), np.float32)
        values_WC /= values_WC.sum(axis=1, keepdims=True)
        columns = {name: rows[name].take(pa.array(index_W)) for name in rows.column_names}
        columns |= {f"p_{label}": pa.array(values_WC[:, index]) for index, label in enumerate(LABELS)}
        columns["path"] = names.take(pa.array(np.repeat(np.arange(len(numbers)), rows.num_rows)))
        columns["emotion"] = pa.array(LABELS).take(pa.array(values_WC.argmax(axis=1)))
        columns["confidence"] = pa.array(values_WC.max(axis=1))
        return pa.table(columns)

    predictions, files = map(repeated, of_one)
    return predictions, files
