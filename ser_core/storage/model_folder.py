"""Files of MODEL_DIR, with one line for what goes wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from ser_core.errors import OutputError
from ser_core.storage import location as storage
from ser_core.storage.location import Location, faults_of


@contextmanager
def one_line_faults(where: Location, what: Literal["read", "written"]) -> Iterator[None]:
    """Turns errors of the operating system into OutputError or ServiceError; FileNotFoundError stays what it is."""
    try:
        with faults_of(where):
            yield
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = error.strerror or "access is denied"
        raise OutputError(f"{where}: cannot be {what} ({reason}); name another MODEL_DIR") from error


def write(where: Location, data: bytes) -> None:
    """Write a file whole, in the place of what is there.

    Raises:
        OutputError: it cannot be written.
        ServiceError: the disk is full, or the bucket failed as a whole.
    """
    with one_line_faults(where, "written"):
        storage.put(where, data)
