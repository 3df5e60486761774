"""What is damaged in an output is named, with a way out that leads out."""

import dataclasses
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from ser_core import storage
from ser_core.errors import OutputError
from ser_core.storage.location import Location
from ser_core.tables import commits
from ser_core.tables.checks import findings
from ser_core.tables.checks.findings import Findings, Problem
from ser_core.tables.checks.verification import verify
from ser_core.tables.commits import Stamp
from ser_core.tables.delta_log import DeltaLog
from ser_core.tables.output import Output
from tests.conftest import S3Server
from tests.support.tables import (
    EMBEDDED,
    LABELS,
    OLD,
    SETTINGS,
    World,
    check_complete,
    rows_of,
    say_nothing,
    score_all,
    write_plan,
)
from tests.support.verification import Change, assert_whole, change_rows, of_path, problems, without_values

pytestmark = pytest.mark.usefixtures("quick_disk")

Plan = Callable[[World], Path]


@pytest.fixture(scope="module")
def prepared(quick_disk: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    score_all(Output(Location(str(folder / "out"))), write_plan(folder / "plan.parquet", OLD), OLD, settings=EMBEDDED)
    return folder / "out"


@pytest.fixture
def made(prepared: Path, output: Output) -> Output:
    """An output of its own that is complete for OLD."""
    shutil.copytree(prepared, output.location.path)
    return output


SAME, TWO, LONG, HALF, CRASHED = "a/same.wav", "c/two channels.wav", "h/long.wav", "e/half.wav", "d/crashed.wav"
GAP = {"start_seconds": 1.0, "end_seconds": 2.0}


def dropped(path: str) -> Change:
    return lambda rows: rows.filter(pc.invert(of_path(rows, path)))


def doubled(path: str) -> Change:
    return lambda rows: pa.concat_tables([rows, rows.filter(of_path(rows, path))])


def with_value(path: str, name: str, value: Any) -> Change:
    def change(rows: pa.Table) -> pa.Table:
        values = pc.if_else(of_path(rows, path), pa.scalar(value, rows[name].type), rows[name])
        return rows.set_column(rows.column_names.index(name), name, values)

    return change


def with_embedding(path: str, values: list[float]) -> Change:
    def change(rows: pa.Table) -> pa.Table:
        own = rows["embedding"].to_pylist()
        lists = [
            values if is_met else value for is_met, value in zip(of_path(rows, path).to_pylist(), own, strict=True)
        ]
        index = rows.column_names.index("embedding")
        return rows.set_column(index, "embedding", pa.array(lists, rows["embedding"].type))

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
        ("predictions", with_value(LONG, "speech_share", 1.5), "predictions", findings.BAD_PROBABILITIES, LONG),
        ("predictions", with_value(LONG, "emotion", "no_speech"), "predictions", findings.BAD_PROBABILITIES, LONG),
        ("embeddings", dropped(LONG), "embeddings", findings.WRONG_EMBEDDINGS, LONG),
        ("embeddings", doubled(SAME), "embeddings", findings.WRONG_EMBEDDINGS, SAME),
        ("embeddings", with_value(SAME, "window_index", 1), "embeddings", findings.WRONG_EMBEDDINGS, SAME),
        ("embeddings", with_value(SAME, "file_version", "2"), "embeddings", findings.WRONG_EMBEDDINGS, SAME),
        ("embeddings", with_embedding(SAME, [1.0]), "embeddings", findings.BAD_EMBEDDINGS, SAME),
        ("embeddings", with_embedding(SAME, [1.0, 2.0, float("nan")]), "embeddings", findings.BAD_EMBEDDINGS, SAME),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_are_named(
    made: Output, table: str, change: Change, found_in: str, problem: Problem, path: str
) -> None:
    change_rows(made, table, change)
    found = problems(verify(made.location))
    assert found[found_in, problem][1] == (path,)
    assert {name for _, names in found.values() for name in names} == {path}


@pytest.mark.parametrize(
    ("table", "change", "is_deleted"),
    [
        ("files", dropped(TWO), False),
        ("files", doubled(TWO), False),
        ("files", with_value(TWO, "num_windows", 3), True),
        ("predictions", doubled(TWO), True),
        ("predictions", with_value(TWO, "p_sad", 0.99), True),
        ("embeddings", dropped(TWO), True),
    ],
)
def test_the_way_out_leads_out(made: Output, plan: Plan, table: str, change: Change, is_deleted: bool) -> None:
    change_rows(made, table, change)
    [found] = verify(made.location).findings
    advice = "delete their rows from both tables" if is_deleted else "run the same command again"
    assert found.problem.advice.startswith(advice)
    if is_deleted:
        # As docs/running.md has it.
        for name in ("predictions", "files"):
            DeltaTable(made.location.join(name).url).delete(f"path IN ('{TWO}')")
    score_all(made, plan(OLD), OLD, settings=EMBEDDED)
    check_complete(made.location, OLD)
    assert_whole(verify(made.location), OLD)


def a_part(output: Output, table: str) -> tuple[str, Location]:
    """The first of a table's parts, by its name there and where it lies."""
    path = min(
        path for path, _ in storage.list_files(output.location.join(table)) if not path.startswith("_delta_log/")
    )
    return path, output.location.join(table, path)


def flipped(data: bytes) -> bytes:
    return data[:100] + bytes([data[100] ^ 4]) + data[101:]


@pytest.mark.parametrize("table", ["predictions", "files"])
@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (None, findings.GONE),
        (flipped, findings.DAMAGED),
        (lambda data: data[:-100], findings.DAMAGED),
        (lambda data: data + b"more", findings.DAMAGED),
        (lambda data: b"", findings.DAMAGED),
    ],
    ids=["gone", "flipped", "cut off", "longer", "empty"],
)
def test_a_damaged_part_is_named(
    made: Output, table: str, damage: Callable[[bytes], bytes] | None, problem: Problem
) -> None:
    name, part = a_part(made, table)
    if damage is None:
        storage.delete(part)
    else:
        storage.put(part, damage(storage.read(part)))
    verified = verify(made.location)
    assert problems(verified) == {(table, problem): (1, (name,))}
    assert "were not held against each other" in verified.notes[0]


def test_a_damaged_part_in_a_bucket_is_named(moto_s3: S3Server, plan: Plan) -> None:
    output = Output(moto_s3.location.join("out"))
    score_all(output, plan(OLD), OLD)
    gone, damaged = a_part(output, "files"), a_part(output, "predictions")
    storage.delete(gone[1])
    storage.put(damaged[1], flipped(storage.read(damaged[1])))
    assert problems(verify(output.location)) == {
        ("files", findings.GONE): (1, (gone[0],)),
        ("predictions", findings.DAMAGED): (1, (damaged[0],)),
    }


@pytest.mark.parametrize("wrong", [{"num_rows": 7}, {"first_path": "b"}, {"last_path": "a"}])
def test_a_part_that_the_log_describes_wrongly(made: Output, wrong: dict[str, Any]) -> None:
    log = DeltaLog(made.location.join("predictions"), "emotion")
    log.look()
    part = min(log.parts(), key=lambda part: part.path)
    log.transact(commits.Change(removes=(part,)), log.stamp)
    log.transact(commits.Change(adds=(dataclasses.replace(part, **wrong),)), log.stamp)
    assert problems(verify(made.location)) == {("predictions", findings.MISDESCRIBED): (1, (part.path,))}


def test_rows_without_a_key(made: Output) -> None:
    change_rows(made, "predictions", lambda rows: without_values(rows, "channel"))
    [(table, problem)] = problems(verify(made.location))
    assert (table, problem) == ("predictions", findings.NO_KEY)


def test_channels_of_two_versions(made: Output) -> None:
    def change(rows: pa.Table) -> pa.Table:
        is_second = pc.and_(pc.equal(rows["path"], TWO), pc.equal(rows["channel"], 1))
        return rows.set_column(rows.column_names.index("file_version"), "file_version", pc.if_else(is_second, "2", "1"))

    for table in ("predictions", "embeddings", "files"):
        change_rows(made, table, change)
    assert problems(verify(made.location)) == {("files", findings.TWO_VERSIONS): (1, (TWO,))}


def test_what_other_readers_would_see_in_the_folders_of_a_complete_run(made: Output, plan: Plan) -> None:
    _, part = a_part(made, "files")
    ours = f"status=scored/part-1-1-{uuid.uuid4().hex}.parquet"
    for path in (ours, "status=scored/theirs.parquet"):
        storage.put(made.location.join("files", path), storage.read(part))
    verified = verify(made.location)
    assert verified.orphans == 2
    assert problems(verified) == {
        ("files", findings.ORPHANS): (1, (ours,)),
        ("files", findings.FOREIGN): (1, ("status=scored/theirs.parquet",)),
    }
    score_all(made, plan(OLD), OLD, settings=EMBEDDED)
    assert set(problems(verify(made.location))) == {("files", findings.FOREIGN)}


def test_files_that_the_run_had_planned_and_are_missing(output: Output, plan: Plan) -> None:
    begun = output.open().begin(SETTINGS, LABELS, on_event=say_nothing)
    begun.commit(*rows_of(OLD, 1))
    begun.finish({"plan": {"num_files": len(OLD) + 2}})
    assert set(problems(verify(output.location))) == {("files", findings.FEWER_FILES)}


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"[]", b"7", b"\xff", b'{"state": "complete"}', b'{"plan": 7}'),
        *(b'{"state": 5, "run": 1}', b'{"state": ["a"], "run": 1}'),
        b'{"state": "complete", "run": 1, "plan": {"num_files": 1e400}}',
        pytest.param(b"[" * 200_000, id="nested"),
    ],
)
def test_a_record_that_is_none(made: Output, data: bytes) -> None:
    storage.put(made.location.join("run.json"), data)
    assert problems(verify(made.location)) == {("", findings.BAD_RECORD): (1, ("run.json",))}


@pytest.mark.parametrize(("table", "ahead"), [("predictions", 2), ("files", 2)])
def test_tables_that_are_commits_apart(made: Output, plan: Plan, table: str, ahead: int) -> None:
    log = DeltaLog(made.location.join(table), {"predictions": "emotion", "files": "status"}[table])
    log.look()
    for _ in range(ahead):
        log.transact(commits.Change(), Stamp(log.stamp.owner, log.stamp.commit + 1))
    assert set(problems(verify(made.location))) == {("", findings.APART)}
    score_all(made, plan(OLD), OLD, settings=EMBEDDED, restart=True)
    assert_whole(verify(made.location), OLD)


def test_a_commit_of_files_alone_is_mended_by_the_next_run(made: Output, plan: Plan) -> None:
    log = DeltaLog(made.location.join("files"), "status")
    log.look()
    log.transact(commits.Change(removes=tuple(log.parts())), Stamp(log.stamp.owner, log.stamp.commit + 1))
    verified = verify(made.location)
    assert_whole(verified, OLD)
    assert "not in all tables" in verified.notes[0]
    score_all(made, plan(OLD), OLD, settings=EMBEDDED)
    check_complete(made.location, OLD)


def test_a_table_of_a_newer_run_than_the_other_is_mended_by_the_next(made: Output, plan: Plan) -> None:
    log = DeltaLog(made.location.join("files"), "status")
    log.look()
    log.transact(commits.Change(), Stamp(log.stamp.owner + 1, log.stamp.commit))
    with pytest.raises(OutputError, match=r"are of different runs.*run the same command again"):
        verify(made.location)
    score_all(made, plan(OLD), OLD, settings=EMBEDDED)
    assert_whole(verify(made.location), OLD)


def test_many_findings_are_counted_and_some_named() -> None:
    found = Findings()
    for number in range(0, 3000, 3):
        found.add("files", findings.GONE, [f"{number + index}" for index in range(3)])
    [finding] = found.all()
    assert (finding.count, len(finding.names)) == (3000, 5)
    assert str(finding).startswith("parts that are gone (3000): 0, 1, ")
    assert str(finding).endswith(" 4, ...; restore them from a copy, or use --restart")
