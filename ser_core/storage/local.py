"""Whole files on a local or network file system, written so that no reader sees a part of one."""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ser_core.errors import OutputError
from ser_core.regular_file import open_regular

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})


def put(path: str, data: bytes) -> None:
    """Write a file, over the one that is there."""
    temporary = _write_temporary(Path(path), data)
    try:
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(Path(path).parent)


def put_new(path: str, data: bytes) -> bool:
    """Write a file unless there is one; whether it did.

    Raises:
        OutputError: the file system has no hard links, which deltalake's logs need too.
    """
    final = Path(path)
    temporary = _write_temporary(final, data)
    try:
        final.hardlink_to(temporary)
    except FileExistsError:
        # NFS may carry out a link whose first reply is lost, and then refuse its repetition.
        return temporary.stat().st_nlink == 2
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        raise OutputError(f"{final.parent}: this file system has no hard links; put the output elsewhere") from error
    else:
        _sync_folder(final.parent)
        return True
    finally:
        temporary.unlink()


def _write_temporary(final: Path, data: bytes) -> Path:
    """A new file beside the final one: hidden, and matched by no glob for *.parquet."""
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems cannot sync a folder.
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: str) -> bytes:
    """A whole file's bytes; FileNotFoundError is raised where there is nothing, and not even a link."""
    try:
        with open_regular(path, takes_pipes=True) as file:
            return file.read()
    except FileNotFoundError as error:
        if Path(path).is_symlink():
            raise OSError(errno.ELOOP, "it is a link that leads nowhere", path) from error
        raise


def exists(path: str) -> bool:
    """Whether there is a file or folder of this name."""
    return Path(path).exists()


def delete(path: str) -> None:
    """Delete one file; no error when there is none."""
    Path(path).unlink(missing_ok=True)


def walk(path: str, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Relative path and size in bytes of every file below a folder, of a link's file where it leads to one.

    Links to folders are not entered.
    """
    try:
        with os.scandir(path) as found:
            entries = list(found)
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path, f"{prefix}{entry.name}/")
            continue
        # A file may be gone since its folder was read.
        with suppress(FileNotFoundError):
            yield prefix + entry.name, entry.stat(follow_symlinks=entry.is_file()).st_size


def version_of(status: os.stat_result) -> str:
    """A local file's version, "<size>-<mtime ns>": it changes with the content, as far as the file system shows."""
    return f"{status.st_size}-{status.st_mtime_ns}"
