"""Temporary folders of a run: its user's alone, and removed even where the run was killed.

A folder is locked as long as its process lives (flock, which the kernel lets go of at the process's end, however that
comes), so what nobody has locked is a dead run's. Nothing but folders of this name, mode and owner is ever touched.
"""

import fcntl
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from ser_core.errors import ServiceError, one_line

_NAME = re.compile(r"ser-[0-9a-f]{16}")
#: Where a folder goes whose path must be short.
_SHORT_PARENT = Path("/tmp")
_LONGEST_KILL_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 0.1


@contextmanager
def temporary_folder(max_length: int | None = None) -> Iterator[Path]:
    """A new folder that only this process's user may enter; it is removed at the end.

    Folders that killed runs of the same user left are removed first, and what still writes into them is killed.

    Args:
        max_length: the longest path in bytes; where TMPDIR's is longer, the folder is in /tmp.

    Raises:
        ServiceError: there is no room for it.
    """
    try:
        # First: where what they left takes all the room, `gettempdir` names another folder.
        remove_dead()
        parent = Path(tempfile.gettempdir())
        if max_length is not None and len(os.fsencode(_new_in(parent))) > max_length:
            parent = _SHORT_PARENT
        folder, lock = _make(parent)
    except OSError as error:
        where = error.filename or os.environ.get("TMPDIR") or _SHORT_PARENT
        raise ServiceError(
            f"{where}: no temporary folder can be made there ({one_line(error)}); free some space, or set TMPDIR"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_dead() -> None:
    """Remove the folders that killed runs of this user left, and kill what still writes into them."""
    named = {Path(os.environ.get("TMPDIR") or _SHORT_PARENT), _SHORT_PARENT}
    for parent in named:
        _remove_dead(parent)
    for parent in {Path(tempfile.gettempdir())} - named:
        _remove_dead(parent)


def clear(folder: Path) -> None:
    """Kill what of this user still writes into a dead run's folder, then remove it."""
    until = time.monotonic() + _LONGEST_KILL_SECONDS
    while (writers := _writers(folder)) and time.monotonic() < until:
        for process in writers:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(_LOOK_AGAIN_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """What a process runs that outlives its parent: `clear` the folder it is given when its standard input ends."""
    sys.stdin.buffer.read()
    clear(Path(sys.argv[1]))


def private_folder(folder: Path) -> None:
    """Make a folder, with those above it, that its user alone may enter; one that is there is closed to others.

    Raises:
        OSError: it cannot be made.
    """
    for above in reversed(folder.parents):
        if not above.exists():
            above.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    with suppress(PermissionError):
        folder.chmod(0o700)


def user_cache_folder() -> Path:
    """Where this machine caches what this user's commands made; it may not be there.

    Raises:
        RuntimeError: the user has no home.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ser"


def _new_in(parent: Path) -> Path:
    return parent / f"ser-{secrets.token_hex(8)}"


def _make(parent: Path) -> tuple[Path, int]:
    """A new folder, and the descriptor that locks it."""
    while True:
        folder = _new_in(parent)
        folder.mkdir(mode=0o700)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        # Before it was locked, another run may have taken it for a dead one's.
        if _is_locked(lock) and folder.exists():
            return folder, lock
        os.close(lock)


def _is_locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A file system without locks: no other run gets one either, and so none takes this for a dead one's.
        return True
    return True


def _remove_dead(parent: Path) -> None:
    names = []
    with suppress(OSError):
        names = os.listdir(parent)  # noqa: PTH208 - names alone
    for name in filter(_NAME.fullmatch, names):
        # Gone meanwhile, another user's, a link, or a living run's.
        with suppress(OSError):
            lock = os.open(parent / name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if _is_own(os.fstat(lock)):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    clear(parent / name)
            finally:
                os.close(lock)


def _is_own(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == 0o700


def _writers(folder: Path) -> list[psutil.Process]:
    """The processes of this user that have a file in the folder open for writing."""
    found = []
    for process in psutil.process_iter():
        # Another user's process does not show its files, and one may be gone meanwhile.
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and _writes_into(folder, process.pid):
                found.append(process)
    return found


def _writes_into(folder: Path, pid: int) -> bool:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        if descriptor.readlink().is_relative_to(folder):
            flags = Path(f"/proc/{pid}/fdinfo/{descriptor.name}").read_text().partition("flags:")[2].split()[0]
            if int(flags, 8) & os.O_ACCMODE != os.O_RDONLY:
                return True
    return False
