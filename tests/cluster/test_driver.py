"""The driver against a pipeline that plays back given blocks, so that every way of breaking off can be told apart."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from cluster.driver import Driver, check_failure_rate
from cluster.resources import Hardware, Resources, plan_resources
from ser_core.errors import FailureRateError, InterruptedRunError, SerError, ServiceError, SupersededError
from ser_core.records import PLAN_SCHEMA
from ser_core.score_config import ScoreConfig
from ser_core.tables.rows import RowSettings
from tests.support.records import LABELS, failed, record, table

Script = Callable[[pa.Table, int], Iterator[pa.Table]]


class MemoryTables:
    """Keeps what is committed."""

    def __init__(self, num_files: int) -> None:
        self.plan = [f"{index:04}.wav" for index in range(num_files)]
        self.commits: list[list[str]] = []
        self.statuses: dict[str, str] = {}

    def pending(self, _: Path) -> Iterator[pa.Table]:
        rows = [{"path": path, "size": 1, "version": "v1"} for path in self.plan]
        yield pa.Table.from_pylist(rows, PLAN_SCHEMA)

    def commit(self, predictions: pa.Table, files: pa.Table, embeddings: pa.Table | None = None) -> None:
        self.commits.append(files["path"].to_pylist())
        for row in files.to_pylist():
            assert row["path"] not in self.statuses
            self.statuses[row["path"]] = row["status"]


class Playback:
    """A pipeline whose passes are given functions; the last one serves every later pass."""

    resources: Resources = plan_resources(ScoreConfig(), Hardware(cpus=2, gpus=0))

    def __init__(self, *passes: Script) -> None:
        self._passes = list(passes)
        self.files_per_block: list[int] = []

    def run(self, pending: pa.Table, files_per_block: int) -> Iterator[pa.Table]:
        self.files_per_block.append(files_per_block)
        script = self._passes.pop(0) if len(self._passes) > 1 else self._passes[0]
        return script(pending, files_per_block)


def score_all(pending: pa.Table, files_per_block: int) -> Iterator[pa.Table]:
    for row in pending.to_pylist():
        yield table(record(row["path"], row["file_id"]))


def fail_all(pending: pa.Table, files_per_block: int) -> Iterator[pa.Table]:
    for row in pending.to_pylist():
        yield table(failed(row["path"], row["file_id"]))


def break_after(count: int) -> Script:
    def script(pending: pa.Table, files_per_block: int) -> Iterator[pa.Table]:
        yield from list(score_all(pending.slice(0, count), files_per_block))
        raise RuntimeError("The actor died\nand a long trace follows")

    return script


def drive(tables: MemoryTables, pipeline: Playback, **limits: float) -> tuple[Driver, list[str]]:
    warnings: list[str] = []
    driver = Driver(
        tables=tables,
        pipeline=pipeline,  # type: ignore[arg-type]
        rows=RowSettings(labels=LABELS, model="tiny@0", hop_seconds=3.0, run_number=1),
        **({"commit_seconds": 60.0, "max_failure_rate": 1.0} | limits),
        on_warning=warnings.append,
    )
    return driver, warnings


def test_every_file_is_committed_once() -> None:
    tables = MemoryTables(50)
    driver, _ = drive(tables, Playback(score_all))
    driver.score(Path("plan"), 50)
    assert sorted(tables.statuses) == tables.plan
    assert driver.totals.num_files == 50


def test_rows_are_committed_when_they_are_due_and_not_only_at_the_end() -> None:
    tables = MemoryTables(20)
    driver, _ = drive(tables, Playback(score_all), commit_seconds=1e-9)
    driver.score(Path("plan"), 20)
    assert len(tables.commits) >= 20


def test_a_commit_that_is_due_does_not_wait_for_the_next_block() -> None:
    tables = MemoryTables(2)
    committed = threading.Event()

    def stall(pending: pa.Table, files_per_block: int) -> Iterator[pa.Table]:
        first, second = score_all(pending, files_per_block)
        yield first
        assert committed.wait(20)
        yield second

    driver, warnings = drive(tables, Playback(stall), commit_seconds=0.1)
    driver.on_progress = lambda _: committed.set() if tables.commits else None
    driver.score(Path("plan"), 2)
    assert tables.commits == [["0000.wav"], ["0001.wav"]]
    assert not warnings


def test_a_broken_pipeline_goes_on_with_the_unfinished_files_at_last_one_a_block() -> None:
    tables = MemoryTables(40)
    pipeline = Playback(break_after(10), break_after(10), score_all)
    driver, warnings = drive(tables, pipeline)
    driver.score(Path("plan"), 40)
    assert sorted(tables.statuses) == tables.plan
    assert pipeline.files_per_block == [5, 5, 1]
    assert warnings == ["trying the unfinished files again: The actor died"] * 2


def test_a_pipeline_that_always_breaks_ends_in_one_line_and_keeps_what_was_done() -> None:
    tables = MemoryTables(10)
    driver, _ = drive(tables, Playback(break_after(2)))
    with pytest.raises(SerError, match="failed 3 times; run again to go on: The actor died"):
        driver.score(Path("plan"), 10)
    assert len(tables.statuses) == 6


@pytest.mark.parametrize("is_stopped", [False, True])
def test_an_engine_that_is_gone_ends_the_run_at_once_and_keeps_what_was_done(is_stopped: bool) -> None:
    def go(pending: pa.Table, files_per_block: int) -> Iterator[pa.Table]:
        yield from list(score_all(pending, files_per_block))[:4]
        assert has_four.wait(20)
        if is_stopped:
            # A signal to all processes, which has ended a part of Ray too.
            driver.stop.set()
        raise SerError("Ray is gone")

    tables = MemoryTables(10)
    pipeline = Playback(go)
    driver, warnings = drive(tables, pipeline)
    has_four = threading.Event()
    driver.on_progress = lambda totals: has_four.set() if totals.num_files == 4 else None
    with pytest.raises(
        InterruptedRunError if is_stopped else SerError, match="stopped; " if is_stopped else "Ray is gone"
    ):
        driver.score(Path("plan"), 10)
    assert sorted(tables.statuses) == tables.plan[:4]
    assert len(pipeline.files_per_block) == 1
    assert not warnings


def test_files_that_no_pass_gives_back_are_rows_all_the_same() -> None:
    def lose_the_first(pending: pa.Table, files_per_block: int) -> Iterator[pa.Table]:
        for block in score_all(pending, files_per_block):
            if block["path"][0].as_py() != "0000.wav":
                yield block

    tables = MemoryTables(5)
    driver, _ = drive(tables, Playback(lose_the_first))
    driver.score(Path("plan"), 5)
    assert tables.statuses["0000.wav"] == "failed"
    assert [tables.statuses[path] for path in tables.plan[1:]] == ["scored"] * 4


def test_a_service_fault_stops_the_run_and_keeps_what_was_done() -> None:
    def fault(pending: pa.Table, files_per_block: int) -> Iterator[pa.Table]:
        yield from list(score_all(pending, files_per_block))[:2]
        fault = failed("0003.wav", 3) | {"reason": None, "service_fault": "the credentials have expired"}
        yield table(record("0002.wav", 2), fault)

    tables = MemoryTables(9)
    driver, _ = drive(tables, Playback(fault))
    with pytest.raises(ServiceError, match="credentials have expired"):
        driver.score(Path("plan"), 9)
    assert sorted(tables.statuses) == tables.plan[:3]


def test_stop_commits_what_was_done() -> None:
    tables = MemoryTables(30)
    driver, _ = drive(tables, Playback(score_all))
    driver.on_progress = lambda totals: driver.stop.set() if totals.num_files == 7 else None
    with pytest.raises(InterruptedRunError, match="run the same command to go on"):
        driver.score(Path("plan"), 30)
    assert sorted(tables.statuses) == tables.plan[:7]


def test_stop_in_the_last_commit_is_heard() -> None:
    tables = MemoryTables(3)
    driver, _ = drive(tables, Playback(score_all))
    commit = tables.commit

    def stop_and_commit(predictions: pa.Table, files: pa.Table, embeddings: pa.Table | None) -> None:
        driver.stop.set()
        commit(predictions, files, embeddings)

    tables.commit = stop_and_commit  # type: ignore[method-assign]
    with pytest.raises(InterruptedRunError):
        driver.score(Path("plan"), 3)
    assert sorted(tables.statuses) == tables.plan


def test_a_superseded_run_commits_nothing_more() -> None:
    tables = MemoryTables(3)
    attempts: list[int] = []

    def refuse(predictions: pa.Table, files: pa.Table, embeddings: pa.Table | None) -> None:
        attempts.append(files.num_rows)
        raise SupersededError("a newer run owns the output")

    tables.commit = refuse  # type: ignore[method-assign]
    driver, _ = drive(tables, Playback(score_all))
    with pytest.raises(SupersededError):
        driver.score(Path("plan"), 3)
    assert attempts == [3]


def test_failure_rate_is_not_judged_before_200_files() -> None:
    tables = MemoryTables(300)
    driver, _ = drive(tables, Playback(fail_all), max_failure_rate=0.5)
    with pytest.raises(FailureRateError, match="200 of 200 files failed"):
        driver.score(Path("plan"), 300)
    assert len(tables.statuses) == 200


def test_failures_within_the_rate_are_no_error() -> None:
    tables = MemoryTables(4)
    driver, _ = drive(tables, Playback(fail_all), max_failure_rate=1.0)
    driver.score(Path("plan"), 4)
    assert set(tables.statuses.values()) == {"failed"}


@pytest.mark.parametrize(("num_failed", "num_files", "limit"), [(0, 1, 0.0), (1, 4, 0.25), (4, 4, 1.0)])
def test_as_many_failures_as_are_allowed_pass(num_failed: int, num_files: int, limit: float) -> None:
    assert check_failure_rate(num_failed, num_files, limit) is None  # type: ignore[func-returns-value]


def test_more_are_one_line_with_the_numbers_and_what_to_do() -> None:
    with pytest.raises(FailureRateError) as stopped:
        check_failure_rate(2, 7, 0.25)
    assert str(stopped.value) == (
        "2 of 7 files failed (28.6%), more than --max-failure-rate 0.25; files/status=failed says why; "
        "run again to go on"
    )
    assert stopped.value.exit_code == 1
