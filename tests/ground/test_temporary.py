"""Temporary folders: nobody else's, gone with their run, and of dead runs gone with the next."""

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from ser_core.errors import ServiceError
from ser_core.temporary import private_folder, temporary_folder
from tests.support.cli import AS_OTHER_USER, ROOT, clean_environment, needs_two_users
from tests.support.processes import assert_none_left, first_line, kill_launched, launch, session_of

_HOLDER = """
import subprocess, sys
from ser_core.temporary import temporary_folder
with temporary_folder() as folder:
    log = (folder / "log").open("w")
    child = subprocess.Popen(["sleep", "600"], stdout=log, start_new_session=len(sys.argv) > 1)
    print(folder, child.pid, flush=True)
    sys.stdin.read()
    child.kill()
"""


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def holder(parent: Path) -> tuple["subprocess.Popen[str]", Path]:
    process = launch(
        [sys.executable, "-c", _HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(parent)},
    )
    return process, Path(first_line(process).split()[0])


def test_a_folder_is_its_users_alone_and_goes_at_the_end(parent: Path) -> None:
    with temporary_folder() as folder:
        assert folder.parent == parent
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("")
    assert not folder.exists()


def test_what_a_dead_run_left_is_removed_and_nothing_else(parent: Path, tmp_path: Path) -> None:
    living, lives = holder(parent)
    dead, left = holder(parent)
    # Alone: what it started goes on, as Ray's processes do, and writes into its folder.
    dead.kill()
    dead.wait(30)
    assert session_of(dead)
    aside = tmp_path / "aside"
    aside.mkdir(mode=0o700)
    (parent / f"ser-{'a' * 16}").symlink_to(aside)
    others = [parent / "ser-data", parent / "ser-0123", parent / f"ser-{'b' * 16}.bak", parent / f"ser-{'c' * 16}"]
    for folder in others:
        folder.mkdir(mode=0o700)
        (folder / "file").write_text("")
    # Of this name, but open to others: not one of ours.
    others[-1].chmod(0o755)
    if os.geteuid() == 0:
        others.append(parent / f"ser-{'d' * 16}")
        others[-1].mkdir(mode=0o700)
        os.chown(others[-1], 65534, 65534)
    with temporary_folder() as new:
        assert not left.exists()
        assert_none_left(dead)
        assert lives.exists()
        assert session_of(living)
        assert {*parent.iterdir()} == {*others, lives, new, parent / f"ser-{'a' * 16}"}
        assert aside.exists()
    kill_launched()


def test_a_path_that_may_not_be_long_is_in_tmp(parent: Path) -> None:
    with temporary_folder(max_length=38) as folder:
        assert folder.parent == Path("/tmp")
        assert len(str(folder)) <= 38


@pytest.mark.skipif(not Path("/dev/full").exists() or os.geteuid() != 0, reason="mounts a full file system: needs root")
def test_no_room_is_a_line(parent: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1", "none", str(parent)], check=False)
    if mounted.returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    try:
        with pytest.raises(ServiceError, match=f"^{parent}.*: no temporary folder can be made there .*free some space"):
            temporary_folder().__enter__()
    finally:
        subprocess.run(["umount", str(parent)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system: needs root")
def test_a_dead_run_that_left_no_room_is_removed_first(parent: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(parent)], check=False)
    if mounted.returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    try:
        dead = parent / "ser-0123456789abcdef"
        dead.mkdir(mode=0o700)
        with (dead / "samples").open("wb", buffering=0) as stream, suppress(OSError):
            while stream.write(bytes(4096)):
                pass
        code = "from ser_core.temporary import temporary_folder\nwith temporary_folder() as folder: print(folder)"
        command = [sys.executable, "-c", code]
        environment = clean_environment(TMPDIR=str(parent))
        said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment).stdout
        assert Path(said.strip()).parent == parent
        assert list(parent.iterdir()) == []
    finally:
        subprocess.run(["umount", str(parent)], check=True)


@needs_two_users
def test_a_private_folder_shuts_others_out_also_where_it_was_open() -> None:
    parent = Path(tempfile.mkdtemp())
    try:
        parent.chmod(0o755)
        open_once = parent / "cache"
        open_once.mkdir()
        (open_once / "speech").write_text("private")
        read = [*AS_OTHER_USER, "cat", str(open_once / "speech")]
        assert subprocess.run(read, capture_output=True, text=True, check=False).stdout == "private"
        private_folder(open_once)
        refused = subprocess.run(read, capture_output=True, text=True, check=False)
        assert refused.returncode != 0
        assert "Permission denied" in refused.stderr
        private_folder(parent / "new" / "deeper")
        assert (parent / "new").stat().st_mode & 0o777 == 0o700
    finally:
        shutil.rmtree(parent)
