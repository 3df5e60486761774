"""Opens one planned file for reading piece by piece, in any process, and watches that it stays the planned version.

What is wrong with one S3 object is told from what is wrong with S3.
"""

import io
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from ser_core.faults import Fault, open_file
from ser_core.storage import Location, faults_of, service_fault, version_of

if TYPE_CHECKING:
    from ser_core.source.source import Source

#: Of an object, fetched at a time: few round trips a minute of audio, and little beside what decoding takes.
_BUFFER_BYTES = 8 * 2**20
_LOCAL_BUFFER_BYTES = 2**18
_CHANGED_CODES = frozenset({"PreconditionFailed", "412", "InvalidRange", "416"})


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
            raise _changed()

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
        from ser_core.storage import start_request

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


async def get_version(
    target: str, version: str, range_bytes: tuple[int, int] | None = None, *, is_listed: bool = False
) -> bytes:
    """An object's bytes, all of them of the planned etag.

    Args:
        target: "bucket/key".
        version: its etag in the plan; "" for one that was not found then.
        range_bytes: first byte and the one after the last; None: the whole object.
        is_listed: the plan came from listing the bucket, so that listing it must still be allowed.

    Raises:
        Fault: about this object.
        ServiceError: about the bucket, the credentials or the service.
    """
    from ser_core.storage import get_object

    bucket = target.partition("/")[0]
    # An object that was not found is looked at by a request whose refusal says why, as a HEAD's does not.
    start, end = (0, 1) if not version else range_bytes or (0, 0)
    conditions = ({"IfMatch": f'"{version}"'} if version else {}) | (
        {"Range": f"bytes={start}-{end - 1}"} if end else {}
    )
    # Raised outside of `faults_of`, which would look for a fault of the service behind it.
    fault: Fault | None = None
    with faults_of(Location(f"s3://{bucket}")):
        try:
            data, etag = await get_object(target, **conditions)
        except Exception as error:
            fault = await _fault_of(error, bucket, is_listed=is_listed)
            if fault is None:
                raise
    if fault is None and etag != version:
        fault = _changed()
    if fault is not None:
        raise fault
    return data


async def _fault_of(error: Exception, bucket: str, *, is_listed: bool) -> Fault | None:
    """What an error means for its object; None when it is of the service. Raises what a look at the bucket finds."""
    from ser_core.storage import error_code, is_transient, probe_bucket

    if is_transient(error):
        # Any answer to another question, a refusal too, shows that the service is there.
        with suppress(PermissionError):
            await probe_bucket(bucket)
        return Fault("network", "requests for this object fail, although the service is there")
    if service_fault(error):
        return None
    if isinstance(error, PermissionError) and error_code(error) != "InvalidObjectState" and is_listed:
        await probe_bucket(bucket)
    return _fault_of_answer(error, error_code(error))


def _fault_of_answer(error: Exception, code: str) -> Fault:
    if code in _CHANGED_CODES:
        return _changed()
    if code == "InvalidObjectState":
        # Restoring it changes no etag, so only a reason that is tried again lets the next run find it.
        return Fault("permission", "the object is archived (Glacier); restore it, then run again")
    if isinstance(error, FileNotFoundError | UnicodeError):
        return Fault("not_found", "there is no such object")
    if isinstance(error, PermissionError):
        return Fault("permission", "access to this object is denied")
    return Fault("unreadable", f"the service refuses the object ({code or type(error).__name__})")


def _changed() -> Fault:
    return Fault("changed", "the file changed after it was listed")
