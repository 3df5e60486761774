"""What a run stands on goes away while it runs: one line, and the next run gets out of it."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from deltalake import DeltaTable

from ser_core.errors import OutputError, SerError
from ser_core.storage.location import Location
from ser_core.tables.checks.verification import verify
from ser_core.tables.output import Output
from ser_core.tables.run import Run
from tests.support.tables import EMBEDDED, NOW, OLD, World, check_complete, score, score_all, write_plan
from tests.support.tables_faults import Interposer

pytestmark = pytest.mark.usefixtures("quick_disk")

_NOBODY = 65534


def _start(output: Output, plan: Path) -> tuple[Iterator[Run], Run]:
    """A run after its first commit."""
    steps = score(output, plan, OLD, settings=EMBEDDED)
    run = [next(steps) for _ in range(3)][-1]
    return steps, run


def _assert_stopped(steps: Iterator[Run], run: Run, *words: str) -> None:
    """The run ends in one line with these words; where it cannot say so in its record, that is one line too."""
    with pytest.raises(OutputError) as caught:
        list(steps)
    line = str(caught.value)
    assert line.isprintable()
    assert all(word in line for word in words), line
    with suppress(SerError):
        run.stop({})


@pytest.mark.parametrize(
    ("gone", "restart"),
    [
        ("", False),
        *((name, True) for name in ("predictions", "embeddings", "files")),
        *((f"{name}/_delta_log", True) for name in ("predictions", "embeddings", "files")),
    ],
)
def test_folder_that_is_lost(output: Output, plan: Callable[[World], Path], gone: str, restart: bool) -> None:
    steps, run = _start(output, plan(OLD))
    shutil.rmtree(Path(output.location.path, gone))
    _assert_stopped(steps, run, "gone", output.location.path)
    if restart:
        with pytest.raises(OutputError, match=f"{gone.split('/', maxsplit=1)[0]} is gone"):
            score_all(output, plan(NOW), NOW, settings=EMBEDDED)
    score_all(output, plan(NOW), NOW, settings=EMBEDDED, restart=restart)
    check_complete(output.location, NOW)


@pytest.mark.parametrize("commit", [1, 2, 3], ids=["predictions", "embeddings", "files"])
def test_fault_that_begins_during_a_commit(output: Output, plan: Callable[[World], Path], commit: int) -> None:
    steps, run = _start(output, plan(OLD))
    table = Path(output.location.path, ("predictions", "embeddings", "files")[commit - 1])
    num_commits = 0

    def take_away(_: int, name: str) -> None:
        nonlocal num_commits
        num_commits += name == "before create_write_transaction"
        if num_commits == commit and name.startswith("before"):
            table.rename(table.with_suffix(".away"))
            table.write_bytes(b"")

    with Interposer(take_away).active((DeltaTable, "create_write_transaction")):
        _assert_stopped(steps, run, "cannot be used (Not a directory)", "another output")
    table.unlink()
    table.with_suffix(".away").rename(table)
    score_all(output, plan(NOW), NOW, settings=EMBEDDED)
    check_complete(output.location, NOW)


@contextmanager
def _as_nobody() -> Iterator[None]:
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user for a while")
@pytest.mark.parametrize("what", ["", "predictions", "files/_delta_log"])
def test_permission_that_is_lost(what: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        plan = write_plan(Path(folder, "plan.parquet"), OLD)
        plan.chmod(0o644)
        output = Output(Location(f"{folder}/out"))
        with _as_nobody():
            steps, run = _start(output, plan)
        for name in (Path(output.location.path, what), *Path(output.location.path, what).rglob("*")):
            name.chmod(0o555 if name.is_dir() else 0o444)
        with _as_nobody():
            _assert_stopped(steps, run, "Permission denied", "another output")
        for name in Path(output.location.path).rglob("*"):
            name.chmod(0o777)
        score_all(output, plan, OLD, settings=EMBEDDED)
        check_complete(output.location, OLD)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user for a while")
def test_a_folder_that_may_not_be_written_to_is_named_before_rows_go() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        plan = write_plan(Path(folder, "plan.parquet"), OLD)
        plan.chmod(0o644)
        output = Output(Location(f"{folder}/out"))
        shut = Path(output.location.path, "predictions", "emotion=sad")
        with _as_nobody():
            score_all(output, plan, OLD, settings=EMBEDDED)
            shut.chmod(0o555)
            for restart in (False, True):
                with (
                    pytest.raises(OutputError, match=r"emotion=sad cannot be written to \(access is denied\)"),
                    output.lock(print, restart=restart),
                ):
                    pass
            assert verify(output.location).findings == ()
        check_complete(output.location, OLD)
