"""Members of containers: how a row of the plan says which bytes of a tar archive, or row of a Parquet file, it is.

Such a row's path is the container's, "/" and the member's name; its version is the container's, and where it lies.
"""

import re
from typing import NamedTuple

from ser_core.faults import Fault
from ser_core.source.names import suffix_of

CONTAINER_SUFFIXES = frozenset({"tar", "parquet"})
_VERSION = re.compile(r"(.+):(\d+):(\d+):(-?\d+)")
_NO_DATA, _BROKEN = -1, -2


class Member(NamedTuple):
    """Where the audio of a row lies."""

    container: str
    #: The container's.
    version: str
    #: Of an archive the first byte; of a Parquet file the row, from 0.
    start: int
    #: Of an archive the number of bytes; of a Parquet file the file's own size.
    size: int

    @property
    def is_row(self) -> bool:
        return suffix_of(self.container) == "parquet"

    def version_text(self) -> str:
        """The version of the row: with the path, all that `member_of` needs."""
        return f"{self.version}:{len(self.container)}:{self.start}:{self.size}"

    def without_data(self) -> "Member":
        """The same for a member that has no bytes of its own: a link, or one with holes."""
        return self._replace(size=_NO_DATA)

    def broken(self) -> "Member":
        """The same for the container itself, as a row, where it breaks off at `start`."""
        return self._replace(size=_BROKEN)


def is_member(version: str) -> bool:
    """Whether a row of the plan with this version is a member of a container, or of a broken one itself."""
    return _VERSION.fullmatch(version) is not None


def member_of(path: str, version: str) -> Member | None:
    """What a row says of a member; None for a file of its own.

    Raises:
        Fault: it is a container that cannot be read further, one that nobody named, or a member without data.
    """
    found = _VERSION.fullmatch(version)
    length = int(found[2]) if found else len(path)
    if not version or suffix_of(path[:length]) not in CONTAINER_SUFFIXES:
        return None
    if found is None:
        raise Fault("unsupported", "it holds other files; give it as SOURCE, in a list, or by a glob that ends so")
    member = Member(path[:length], found[1], int(found[3]), int(found[4]))
    if member.size == _NO_DATA:
        raise Fault("unsupported", "a link, or a file with holes, of an archive is not read; unpack it")
    if member.size == _BROKEN and member.start:
        detail = f"it breaks off at byte {member.start}; what is whole before that has rows of its own"
        raise Fault("truncated", detail)
    if member.size == _BROKEN:
        raise Fault("unreadable", "it is no tar archive without compression, or a Parquet file without audio")
    return member
