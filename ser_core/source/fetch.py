"""Fetches planned files, each only as long as it is of its planned version.

`fetch_all` fetches many at once, whole; `FileOpener` opens one for reading piece by piece, in any process.
"""

import io
import os
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from ser_core.faults import Fault, open_file
from ser_core.ordered import in_order
from ser_core.storage import Location, faults_of, version_of

if TYPE_CHECKING:
    from ser_core.source.source import Source

#: More threads read files out of a machine's memory three times slower.
_LOCAL_THREADS = 4
#: What one request fetches: few round trips a minute of audio, and little memory beside what decoding takes.
_BUFFER_BYTES = 8 * 2**20
_LOCAL_BUFFER_BYTES = 2**18
_COMMAND = Fault("unsupported", "a command, as Kaldi's lists hold them, is not run; write what it gives to a file")


def fetch_all(
    source: "Source",
    rows: Iterable[tuple[str, int, str]],
    *,
    concurrency: int = 64,
    max_bytes: int = 256 * 2**20,
) -> Generator[bytes | Fault, None, None]:
    """Each file's bytes, or why there are none, in the order of the rows.

    Args:
        source: what the paths belong to.
        rows: (path, size, version) of the plan. A file that is no longer of its version is `changed`.
        concurrency: number of objects that are fetched ahead; from a local folder it is at most four files.
        max_bytes: bytes that the files fetched ahead may have together, unless a single one has more.

    Raises:
        ServiceError: storage failed as a whole.
    """
    if source.kind == "folder" and not source.root.is_s3:
        concurrency = min(concurrency, _LOCAL_THREADS)
    with ThreadPoolExecutor(_LOCAL_THREADS, thread_name_prefix="fetch") as threads:

        def submit(row: tuple[str, int, str]) -> "Future[bytes | Fault]":
            path, _, version = row
            if not version and source.kind == "list" and path.endswith("|"):
                return threads.submit(lambda: _COMMAND)
            target = source.locate(path)
            if isinstance(target, bytes):
                return threads.submit(_fetch_local, target, version)
            from ser_core.storage import start_request

            return start_request(_fetch_object(target, version, is_listed=source.kind == "folder"))

        yield from in_order(
            rows, submit, max_in_flight=concurrency, weigh=lambda row: max(row[1], 0), max_weight=max_bytes
        )


def _fetch_local(target: bytes, version: str) -> bytes | Fault:
    try:
        with open_local(target, version) as file:
            return file.read()
    except (Fault, OSError) as error:
        return Fault.of(error)


async def _fetch_object(target: str, version: str, *, is_listed: bool) -> bytes | Fault:
    from ser_core.storage import get_version

    try:
        return await get_version(target, version, is_listed=is_listed)
    except Fault as fault:
        return fault


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
