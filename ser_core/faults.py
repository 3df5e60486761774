"""What can be wrong with one file: a reason and a sentence, for whatever opens, fetches or decodes it."""

import errno
import os
import stat
from typing import BinaryIO

from ser_core.vocabulary import Reason

#: What may go away by itself; a disk that fails is like a network that does.
_REASONS_OF_ERRNO: dict[int, Reason] = dict.fromkeys((errno.EIO, errno.ETIMEDOUT, errno.ESTALE), "network")
_REASONS_OF_ERRNO[errno.ENOMEM] = "memory"


class AudioFaultError(Exception):
    """Why a file, or the rest of it, gives no audio: one of `words.Reason`, and a sentence.

    Whatever opens or reads a file may raise it, as fetching does when the file changed or the network failed.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason: Reason = reason
        self.detail = detail


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a local file by its raw name, without waiting for a writer where it is a pipe.

    Raises:
        AudioFaultError: `not_found`, `permission`, or `unreadable` for what is no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise fault_of(error) from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb", buffering=2**18)
    os.close(descriptor)
    raise AudioFaultError("unreadable", f"this is a {'folder' if stat.S_ISDIR(mode) else 'device or pipe'}, not a file")


def fault_of(error: Exception) -> AudioFaultError:
    """What an error met while opening or reading a file means for it."""
    if isinstance(error, AudioFaultError):
        return error
    if isinstance(error, FileNotFoundError):
        return AudioFaultError("not_found", "the file does not exist, or its link leads nowhere")
    if isinstance(error, PermissionError):
        return AudioFaultError("permission", "no permission to read the file")
    if isinstance(error, OSError) and error.strerror:
        reason = _REASONS_OF_ERRNO.get(error.errno or 0, "unreadable")
        return AudioFaultError(reason, f"the file cannot be read ({error.strerror})")
    return AudioFaultError("unreadable", f"the file cannot be read ({type(error).__name__}: {error})")
