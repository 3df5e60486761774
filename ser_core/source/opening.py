"""Opens files for reading piece by piece, each only as long as it is of its planned version; or a part of one.

Decoding children load this module: it imports no Arrow.
"""

import io
import os
from typing import Any, BinaryIO, Protocol, cast

from ser_core.faults import Fault, open_file
from ser_core.source.members import member_of
from ser_core.storage import Location, faults_of, version_of

#: What one request fetches: few round trips a minute of audio, and little memory beside what decoding takes.
_BUFFER_BYTES = 8 * 2**20
_LOCAL_BUFFER_BYTES = 2**18


class _Places(Protocol):
    """What a source tells of its paths."""

    def locate(self, path: str) -> str | bytes: ...


class FileOpener:
    """A planned file, small and picklable, to be opened (by calling this) where it is decoded.

    It gives a seekable file with a bounded buffer: a local file, or ranged reads of an S3 object; or a member of one.
    Opening and reading raise `Fault` (`not_found`, `permission`, `changed`, `network`, `unsupported`, `unreadable`), or
    ServiceError when storage failed as a whole.
    """

    def __init__(self, source: _Places, path: str, size: int, version: str) -> None:
        self._fault: Fault | None = None
        member = None
        try:
            member = member_of(path, version)
        except Fault as fault:
            self._fault = fault
        #: The raw bytes of a local path, or "bucket/key".
        self._target = source.locate(member.container if member else path)
        self._size = member.size if member else size
        self._version = member.version if member else version
        self._start = member.start if member else None

    def __call__(self) -> BinaryIO:
        if self._fault is not None:
            raise self._fault
        return open_target(self._target, self._size, self._version, self._start)


def open_target(target: str | bytes, size: int, version: str, start: int | None = None) -> BinaryIO:
    """Open a file that raises the fault `changed` in the place of bytes of another version.

    Args:
        target: the raw bytes of a local path, or "bucket/key".
        size: of the file, or of the part of it.
        version: of the file.
        start: the first byte of a part; None: the whole file.

    Raises:
        Fault: it cannot be opened, is no regular file, or is of another version already.
        ServiceError: storage failed as a whole.
    """
    raw: io.RawIOBase
    if isinstance(target, bytes):
        location = Location(os.fsdecode(target))
        with faults_of(location):
            file = cast("io.BufferedReader", open_file(location.path))
            raw = _LocalFile(cast("io.FileIO", file.detach()), location, version)
    else:
        raw = _ObjectFile(target, (start or 0) + size, version)
    if start is not None:
        raw = _PartFile(raw, start, size)
    return io.BufferedReader(raw, _LOCAL_BUFFER_BYTES if isinstance(target, bytes) else _BUFFER_BYTES)


class _LocalFile(io.RawIOBase):
    """Compares the file's version before the first read and after each: what it gave was of the planned version."""

    def __init__(self, file: io.FileIO, location: Location, version: str) -> None:
        self._file = file
        self._location = location
        self._version = version
        self._check()

    def _check(self) -> None:
        if version_of(os.fstat(self._file.fileno())) != self._version:
            raise Fault.changed()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        with faults_of(self._location):
            count = self._file.readinto(buffer)
        self._check()
        return count

    def readall(self) -> bytes:
        with faults_of(self._location):
            data = self._file.readall()
        self._check()
        return data or b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()


class _ObjectFile(io.RawIOBase):
    """An S3 object of one etag by ranged reads, each of them retried like any request."""

    def __init__(self, target: str, size: int, version: str) -> None:
        self._target = target
        self._size = size
        self._version = version
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        from ser_core.storage import get_version, start_request

        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        data = start_request(get_version(self._target, self._version, (self._position, end))).result()
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = max(0, offset + (0, self._position, self._size)[whence])
        return self._position

    def tell(self) -> int:
        return self._position


class _PartFile(io.RawIOBase):
    """Some bytes of a file, as a file."""

    def __init__(self, whole: io.RawIOBase, start: int, size: int) -> None:
        self._whole = whole
        self._start = start
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        part = memoryview(buffer)[: max(0, self._size - self._position)]
        if not part:
            return 0
        self._whole.seek(self._start + self._position)
        count = cast("int | None", self._whole.readinto(part))
        self._position += count or 0
        return count

    def readall(self) -> bytes:
        data = bytearray(max(0, self._size - self._position))
        num_bytes = 0
        while num_bytes < len(data) and (count := self.readinto(memoryview(data)[num_bytes:])):
            num_bytes += count
        return bytes(data[:num_bytes])

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = max(0, offset + (0, self._position, self._size)[whence])
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        self._whole.close()
        super().close()
