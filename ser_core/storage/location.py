"""Files of a folder or a bucket by one set of names: whole reads, writes that are never torn, fresh listings.

Every function raises ServiceError when storage failed as a whole, FileNotFoundError or PermissionError when it is
about the one file, and shows no credentials.
"""

import functools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Self

from ser_core.errors import SerError, ServiceError, UsageError
from ser_core.storage import local as local_files
from ser_core.storage.faults import service_fault

__all__ = [
    "Location",
    "delete",
    "exists",
    "faults_of",
    "list_files",
    "put",
    "put_new",
    "read",
    "service_fault",
]

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_S3_SCHEME = "s3://"
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Location:
    """A folder or file: an absolute local path, or s3://bucket/key, without a slash at the end."""

    url: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a person typed; a relative local path is taken from the working folder.

        Raises:
            UsageError: empty, another scheme than s3://, no bucket, or a password in the URL.
        """
        if not text:
            raise UsageError("an empty text is no path; give a folder or s3://bucket/prefix")
        scheme, separator, rest = text.partition("://")
        if not separator or "/" in scheme:
            return cls(os.path.abspath(text))  # noqa: PTH100 - Path cannot take out ".." alone
        if scheme != "s3":
            raise UsageError(f"{scheme}:// is not supported; give a local path or s3://bucket/prefix")
        bucket, _, key = rest.partition("/")
        if "@" in bucket:
            raise UsageError("an s3:// URL takes no user or password; set the usual AWS environment or a profile")
        if not bucket:
            raise UsageError("s3:// needs a bucket: s3://bucket/prefix")
        return cls((_S3_SCHEME + bucket + "/" + key).rstrip("/"))

    def __str__(self) -> str:
        """One line that any terminal and file takes: bytes that are no UTF-8, and control characters, as \\xHH."""
        text = self.url.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return _CONTROL_CHARACTER.sub(lambda match: f"\\x{ord(match[0]):02x}", text)

    @property
    def is_s3(self) -> bool:
        return self.url.startswith(_S3_SCHEME)

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rsplit("/", 1)[-1]

    @property
    def path(self) -> str:
        """The path that `filesystem()` takes: a local path, or bucket/key."""
        return self.url.removeprefix(_S3_SCHEME)

    @property
    def bucket(self) -> str:
        return self.path.split("/", 1)[0]

    @property
    def key(self) -> str:
        return self.path.partition("/")[2]

    def join(self, *parts: str) -> "Location":
        return Location("/".join([self.url.rstrip("/"), *parts]))

    def filesystem(self) -> "AbstractFileSystem":
        """fsspec's local filesystem, or s3fs; cached per process and renewed with the credentials: do not keep it."""
        if self.is_s3:
            from ser_core.storage import s3_client

            return s3_client.filesystem()
        return _local_filesystem()

    def delta_options(self) -> dict[str, str]:
        """`storage_options` for deltalake, with credentials of now; empty for a local path."""
        if not self.is_s3:
            return {}
        from ser_core.storage import s3_client

        with faults_of(self):
            return s3_client.delta_options(self.bucket)


@functools.cache
def _local_filesystem() -> "AbstractFileSystem":
    import fsspec

    return fsspec.filesystem("file")


@contextmanager
def faults_of(location: Location) -> Iterator[None]:
    """Turns an error of storage as a whole into a ServiceError that names the location; lets others pass."""
    try:
        yield
    except SerError:
        raise
    except Exception as error:
        fault = service_fault(error, str(location))
        if fault is None:
            raise
        raise ServiceError(fault) from error


def put(location: Location, data: bytes) -> None:
    """Write a whole file in the place of what is there; a reader sees the old bytes or the new, never a part."""
    with faults_of(location):
        if location.is_s3:
            from ser_core.storage import s3_requests

            s3_requests.put(location.bucket, location.key, data)
        else:
            local_files.put(location.path, data)


def put_new(location: Location, data: bytes) -> bool:
    """Write a whole file unless there is one: of any number of racing writers exactly one gets True."""
    with faults_of(location):
        if location.is_s3:
            from ser_core.storage import s3_requests

            return s3_requests.put_new(location.bucket, location.key, data)
        return local_files.put_new(location.path, data)


def read(location: Location) -> bytes:
    """A whole file's bytes; FileNotFoundError when there is none."""
    with faults_of(location):
        if location.is_s3:
            from ser_core.storage import s3_requests

            return s3_requests.submit(s3_requests.get_object(location.bucket, location.key)).result()[0]
        return local_files.read(location.path)


def exists(location: Location) -> bool:
    """Whether there is a file (or a local folder) of exactly this name; a prefix alone is no object."""
    with faults_of(location):
        if location.is_s3:
            from ser_core.storage import s3_requests

            return s3_requests.exists(location.bucket, location.key)
        return local_files.exists(location.path)


def delete(location: Location) -> None:
    """Delete one file; no error when there is none."""
    with faults_of(location):
        if location.is_s3:
            location.filesystem().call_s3("delete_object", Bucket=location.bucket, Key=location.key)
        else:
            local_files.delete(location.path)


def list_files(location: Location, limit: int | None = None) -> list[tuple[str, int]]:
    """Relative path and size in bytes of every file below a folder, as it is now; at most `limit` of them.

    Links to folders are not entered. A missing folder holds nothing.
    """
    with faults_of(location):
        return list(islice(_iter_files(location), limit))


def _iter_files(location: Location) -> Iterator[tuple[str, int]]:
    if not location.is_s3:
        yield from local_files.walk(location.path)
        return
    from ser_core.storage import s3_requests

    prefix = f"{location.key}/" if location.key else ""
    for page in s3_requests.list_pages(location.bucket, prefix):
        for item in page:
            if item["Key"] != prefix:
                yield item["Key"][len(prefix) :], item["Size"]
