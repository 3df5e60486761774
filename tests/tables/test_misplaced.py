"""Something else stands where a folder or a file of an output must be: it is named before anything is let go of.

Once it is out of the way, a run goes on, or `--restart` gets out where rows went with what was there.
"""

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ser_core import storage
from ser_core.errors import DamagedOutputError, OutputError
from ser_core.storage.location import Location
from ser_core.storage.lock import Lock
from ser_core.tables.checks.verification import verify
from ser_core.tables.output import Output
from tests.conftest import S3Server
from tests.support.tables import NOW, OLD, check_complete, score_all, write_plan
from tests.support.verification import assert_whole

Put = Callable[[Path], None]


@pytest.fixture(scope="module")
def prepared(quick_disk: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output that is complete for OLD, and a plan of NOW."""
    folder = tmp_path_factory.mktemp("prepared")
    score_all(_output(folder / "out"), write_plan(folder / "old.parquet", OLD), OLD)
    write_plan(folder / "now.parquet", NOW)
    return folder


def _output(folder: Path) -> Output:
    return Output(Location(str(folder)), make_lock=partial(Lock, beat_seconds=0.05, watch_seconds=0.01))


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def a_file(place: Path) -> None:
    place.write_text("theirs")


def a_folder(place: Path) -> None:
    place.mkdir()
    (place / "theirs.txt").write_text("theirs")


def a_pipe(place: Path) -> None:
    os.mkfifo(place)


def a_link_to(target: str) -> Put:
    return lambda place: place.symlink_to(target)


def everything(folder: Path) -> dict[Path, object]:
    """What lies below a folder, to be compared."""
    return {
        path: path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else path.stat().st_mode
        for path in folder.rglob("*")
    }


NOWHERE = a_link_to("/nowhere/at/all")
#: A log entry, and the name of the next one; the first part of a table.
FIRST, NEXT = f"_delta_log/{0:020}.json", "_delta_log/the next"
#: Rows are gone with what was there.
LOSES_ROWS = ("predictions", "files", "/_delta_log", FIRST, "/emotion=sad", "/status=scored", "a part")
HEAVY = pytest.mark.heavy
CASES = [
    ("_ser", a_file, "a file, where a folder"),
    pytest.param("_ser/runs", a_file, "a file, where a folder", marks=HEAVY),
    ("files", a_file, "a file, where a folder"),
    pytest.param("files/_delta_log", a_file, "a file, where a folder", marks=HEAVY),
    pytest.param("predictions", a_file, "a file, where a folder", marks=HEAVY),
    pytest.param("predictions/_delta_log", a_pipe, "a device or pipe, where a folder", marks=HEAVY),
    pytest.param("predictions/emotion=sad", a_file, "a file, where a folder", marks=HEAVY),
    ("predictions/emotion=sad", a_link_to("/"), "a link to a folder, where a folder"),
    pytest.param("files/status=scored", NOWHERE, "a link that leads nowhere, where a folder", marks=HEAVY),
    ("predictions/a part", a_folder, "a folder, where a file"),
    pytest.param("files/a part", a_pipe, "a device or pipe, where a file", marks=HEAVY),
    (f"predictions/{FIRST}", a_folder, "a folder, where a file"),
    pytest.param(f"predictions/{NEXT}", a_folder, "a folder, where a file", marks=HEAVY),
    (f"predictions/{NEXT}", NOWHERE, "a link that leads nowhere, where a file"),
    (f"files/{FIRST}", a_pipe, "a device or pipe, where a file"),
    pytest.param(f"files/{NEXT}", a_link_to("/dev/zero"), "a link to a device or pipe, where a file", marks=HEAVY),
    pytest.param("files/_delta_log/_last_checkpoint", a_pipe, "a device or pipe, where a file", marks=HEAVY),
    ("_ser/output.json", a_folder, "a folder, where a file"),
    pytest.param("_ser/output.json", a_pipe, "a device or pipe, where a file", marks=HEAVY),
    pytest.param("_ser/lock.json", a_folder, "a folder, where a file", marks=HEAVY),
    ("_ser/lock.json", NOWHERE, "a link that leads nowhere, where a file"),
    pytest.param("_ser/lock.json", a_pipe, "a device or pipe, where a file", marks=HEAVY),
    pytest.param("_ser/runs/2.json", a_folder, "a folder, where a file", marks=HEAVY),
    ("run.json", a_folder, "a folder, where a file"),
    pytest.param("run.json", a_link_to("/dev/zero"), "a link to a device or pipe, where a file", marks=HEAVY),
]


@pytest.mark.parametrize(("name", "put", "words"), CASES)
def test_it_is_named_and_nothing_is_lost(prepared: Path, tmp_path: Path, name: str, put: Put, words: str) -> None:
    folder = shutil.copytree(prepared / "out", tmp_path / "out")
    place = folder / name
    if name.endswith("a part"):
        place = min(place.parent.glob("*/*.parquet"))
    elif name.endswith("the next"):
        newest = max(place.parent.glob("*.json"))
        place = newest.with_name(f"{int(newest.stem) + 1:020}.json")
    output = _output(folder)

    def run(*, restart: bool) -> None:
        with output.lock(print, restart=restart):
            score_all(output, prepared / "now.parquet", NOW, restart=restart)

    _remove(place)
    put(place)
    before = everything(folder)
    for act in (lambda: verify(output.location), lambda: run(restart=False), lambda: run(restart=True)):
        with pytest.raises(OutputError) as caught:
            act()
        assert str(caught.value).startswith(f"{place} is {words} must be; delete it or move it elsewhere, then run")
    assert everything(folder) == before

    _remove(place)
    if name.endswith(LOSES_ROWS):
        with pytest.raises(DamagedOutputError, match="use --restart"):
            run(restart=False)
        run(restart=True)
    else:
        run(restart=False)
    check_complete(output.location, NOW)
    assert_whole(verify(output.location), NOW)


@pytest.mark.heavy
def test_objects_named_like_folders_are_in_nobodys_way(moto_s3: S3Server, prepared: Path) -> None:
    """A bucket has no folders: a key may be there beside those that begin with it, as consoles put them there."""
    output = Output(moto_s3.location.join("out"))
    score_all(output, write_plan(prepared / "old.parquet", OLD), OLD)
    part = min(name for name, _ in storage.list_files(output.location.join("files")) if name.endswith(".parquet"))
    folders = ("_ser", "files", "files/_delta_log", "predictions/emotion=sad")
    files = ("run.json", "_ser/lock.json", f"files/{part}", "predictions/_delta_log/_last_checkpoint")
    entries = [f"predictions/_delta_log/{version:020}.json" for version in (0, 3, 4, 5)]
    theirs = [*folders, *(f"{name}/" for name in folders), *(f"{name}/x" for name in (*files, *entries))]
    for name in theirs:
        storage.put(output.location.join(name), b"theirs")
    assert_whole(verify(output.location), OLD)
    for restart in (False, True):
        with output.lock(print, restart=restart):
            score_all(output, prepared / "now.parquet", NOW, restart=restart)
        assert_whole(verify(output.location), NOW)
    for name in theirs:
        assert storage.read(output.location.join(name)) == b"theirs"
