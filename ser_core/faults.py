"""What can be wrong with one file: a reason and a sentence, for whatever opens, fetches or decodes it."""

import errno
import os
from typing import BinaryIO

from ser_core.regular_file import open_regular
from ser_core.vocabulary import RETRYABLE_REASONS, Reason

#: Errors that may go away by themselves; a disk or a machine that fails is like a network that does.
_REASONS_OF_ERRNO: dict[int, Reason] = dict.fromkeys(
    (errno.EIO, errno.ETIMEDOUT, errno.ESTALE, errno.ENOMEM), "network"
)


class Fault(Exception):  # noqa: N818
    """Why a file, or the rest of it, gives no audio: it is raised, and handed on as a value up to the files table.

    Two faults are equal if their reasons and details are; as a string it reads `reason (detail)`.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason: Reason = reason
        #: A sentence for people, in one line.
        self.detail = detail

    @classmethod
    def of(cls, error: Exception) -> "Fault":
        """What an error met while opening or reading a file means for it."""
        if isinstance(error, Fault):
            return error
        if isinstance(error, FileNotFoundError):
            return cls("not_found", "the file does not exist, or its link leads nowhere")
        if isinstance(error, PermissionError):
            return cls("permission", "no permission to read the file")
        if isinstance(error, OSError) and error.strerror:
            reason = _REASONS_OF_ERRNO.get(error.errno or 0, "unreadable")
            return cls(reason, f"the file cannot be read ({error.strerror})")
        return cls("unreadable", f"the file cannot be read ({type(error).__name__}: {error})")

    @classmethod
    def changed(cls) -> "Fault":
        """The fault of a file that is of another version than the planned one."""
        return cls("changed", "the file changed after it was listed")

    @property
    def retryable(self) -> bool:
        """Whether it may go away by itself, so that the next run tries the file again."""
        return self.reason in RETRYABLE_REASONS

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fault) and self.args == other.args

    def __hash__(self) -> int:
        return hash(self.args)

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})"


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a local file by its raw name, without waiting for a writer where it is a pipe.

    Raises:
        Fault: `not_found`, `permission`, or `unreadable` for what is no regular file.
    """
    try:
        return open_regular(path)
    except OSError as error:
        raise Fault.of(error) from error
    except ValueError as error:
        raise Fault("not_found", "no file can have this name") from error
