"""Opens a local file for reading, and never waits for what is none: a pipe without a writer, or a device."""

import errno
import os
import stat
from typing import BinaryIO

#: Where a shell hands over what a command writes, as for `<(command)`: such a pipe has its writer.
_OF_THIS_PROCESS = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")


def open_regular(path: str | os.PathLike[str], *, takes_pipes: bool = False) -> BinaryIO:
    """Open a file by its raw name.

    Args:
        path: a link to a file is followed.
        takes_pipes: whether a pipe that this process was given by its parent (/dev/fd/N) is read too.

    Raises:
        OSError: there is none, it may not be read, or it is no file; `strerror` says which.
        ValueError: no file can have this name.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if takes_pipes and stat.S_ISFIFO(mode) and os.fspath(path).startswith(_OF_THIS_PROCESS):
        os.set_blocking(descriptor, True)
    elif not stat.S_ISREG(mode):
        os.close(descriptor)
        number, what = (errno.EISDIR, "folder") if stat.S_ISDIR(mode) else (errno.EINVAL, "device or pipe")
        raise OSError(number, f"it is a {what}, not a file", os.fspath(path))
    return os.fdopen(descriptor, "rb", buffering=2**18)
