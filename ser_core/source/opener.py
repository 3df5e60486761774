"""Opens one planned file for reading piece by piece, in any process, and watches that it stays the planned version."""

import io
import os
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from ser_core.faults import open_file
from ser_core.source.objects import changed, get_version
from ser_core.storage import Location, faults_of, version_of

if TYPE_CHECKING:
    from ser_core.source.source import Source

#: Of an object, fetched at a time: few round trips a minute of audio, and little beside what decoding takes.
_BUFFER_BYTES = 8 * 2**20
_LOCAL_BUFFER_BYTES = 2**18


class FileOpener:
    """A planned file, small and picklable, to be opened (by calling this) where it is decoded.

    It gives a seekable file with a bounded buffer: a local file, or ranged reads of an S3 object. Opening and reading
    raise `Fault` (`not_found`, `permission`, `changed`, `network`, `unsupported`, `unreadable`), or
    ServiceError when storage failed as a whole.
    """

    def __init__(self, source: "Source", path: str, size: int, version: str) -> None:
        #: The raw bytes of a local path, or "bucket/key".
        self._target = source.locate(path)
        self._size = size
        self._version = version

    def __call__(self) -> BinaryIO:
        if isinstance(self._target, bytes):
            return open_local(self._target, self._version)
        return io.BufferedReader(_ObjectFile(self._target, self._size, self._version), _BUFFER_BYTES)


def open_local(target: bytes, version: str) -> BinaryIO:
    """A local file that raises the fault `changed` in the place of bytes of another version.

    Raises:
        Fault: it cannot be opened, is no regular file, or is of another version already.
        ServiceError: the file system failed as a whole.
    """
    location = Location(os.fsdecode(target))
    with faults_of(location):
        file = cast("io.BufferedReader", open_file(location.path))
        return io.BufferedReader(_LocalFile(cast("io.FileIO", file.detach()), location, version), _LOCAL_BUFFER_BYTES)


class _LocalFile(io.RawIOBase):
    """Compares the file's version before the first read and after each: what it gave was of the planned version."""

    def __init__(self, file: io.FileIO, location: Location, version: str) -> None:
        self._file = file
        self._location = location
        self._version = version
        self._check()

    def _check(self) -> None:
        if version_of(os.fstat(self._file.fileno())) != self._version:
            raise changed()

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
        from ser_core.storage import s3_requests

        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        data = s3_requests.submit(get_version(self._target, self._version, (self._position, end))).result()
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = max(0, offset + (0, self._position, self._size)[whence])
        return self._position

    def tell(self) -> int:
        return self._position
