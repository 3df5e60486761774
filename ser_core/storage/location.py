"""Files of a folder or a bucket by one set of names: whole reads, writes that are never torn, fresh listings.

Every function raises ServiceError when storage failed as a whole, FileNotFoundError or PermissionError when it is
about the one file, and shows no credentials.
"""

import functools
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, Self, TypeVar
from urllib.parse import urlsplit

from ser_core.errors import OutputError, SerError, ServiceError, UsageError, printable, refusal
from ser_core.storage import local
from ser_core.storage.faults import is_cut_off, service_fault

T = TypeVar("T")

_S3_SCHEME = "s3://"


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
        return printable(self.url)

    @property
    def is_s3(self) -> bool:
        return self.url.startswith(_S3_SCHEME)

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rsplit("/", 1)[-1]

    @property
    def path(self) -> str:
        """A local path, or bucket/key."""
        return self.url.removeprefix(_S3_SCHEME)

    @property
    def bucket(self) -> str:
        return self.path.split("/", 1)[0]

    @property
    def key(self) -> str:
        return self.path.partition("/")[2]

    def join(self, *parts: str) -> "Location":
        return Location("/".join([self.url.rstrip("/"), *parts]))

    def delta_options(self) -> dict[str, str]:
        """`storage_options` for deltalake, with credentials of now; empty for a local path."""
        if not self.is_s3:
            return {}
        with faults_of(self):
            return _delta_options(self.bucket)


def _delta_options(bucket: str) -> dict[str, str]:
    """The options that lead deltalake to a bucket as s3fs is led there."""
    from ser_core.storage import s3

    meta, given = s3.filesystem().s3.meta, s3.credentials()
    is_aws = (urlsplit(meta.endpoint_url).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))
    options = {
        "aws_region": (_bucket_region(bucket) if is_aws else None) or meta.region_name or "us-east-1",
        "aws_conditional_put": "etag",
        "max_retries": "100",
        "retry_timeout": f"{s3.retry_seconds() * 1000:.0f}ms",
        "backoff_config.max_backoff": f"{s3.LONGEST_WAIT_SECONDS:g}s",
        "timeout": "60s",
    }
    if not is_aws:
        is_plain = str(meta.endpoint_url.startswith("http://")).lower()
        options |= {"aws_endpoint": meta.endpoint_url, "aws_allow_http": is_plain}
    if given is None:
        return options | {"aws_skip_signature": "true"}
    options |= {"aws_access_key_id": given.access_key, "aws_secret_access_key": given.secret_key}
    return options | ({"aws_session_token": given.token} if given.token else {})


@functools.cache
def _bucket_region(bucket: str) -> str | None:
    """The bucket's own region: AWS redirects s3fs there, but deltalake needs it as an option."""
    from ser_core.storage import s3

    region: str | None = s3.filesystem().call_s3("head_bucket", Bucket=bucket).get("BucketRegion")
    return region


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
            # Should nobody expect it, it tells what it is about.
            error.add_note(f"at {location}")
            raise
        raise ServiceError(fault) from error


class _Files(Protocol):
    """What local.py and s3.py offer alike, by `Location.path`."""

    def read(self, path: str, /) -> bytes: ...
    def put(self, path: str, data: bytes, /) -> None: ...
    def put_new(self, path: str, data: bytes, /) -> bool: ...
    def exists(self, path: str, /) -> bool: ...
    def delete(self, path: str, /) -> None: ...
    def walk(self, path: str, /) -> Iterator[tuple[str, int]]: ...


def _files_of(location: Location) -> _Files:
    if not location.is_s3:
        return local
    # Local work imports no S3 client.
    from ser_core.storage import s3

    return s3


def read(location: Location) -> bytes:
    """A whole file's bytes; FileNotFoundError when there is none."""
    with faults_of(location):
        return _files_of(location).read(location.path)


def put(location: Location, data: bytes) -> None:
    """Write a whole file, over the one that is there; a reader sees the old bytes or the new, never a part."""
    with faults_of(location):
        _files_of(location).put(location.path, data)


def put_new(location: Location, data: bytes) -> bool:
    """Write a whole file unless there is one: of any number of racing writers exactly one gets True."""
    with faults_of(location):
        return _files_of(location).put_new(location.path, data)


def exists(location: Location) -> bool:
    """Whether there is a file (or a local folder) of exactly this name; a prefix alone is no object."""
    with faults_of(location):
        return _files_of(location).exists(location.path)


def delete(location: Location) -> None:
    """Delete one file; no error when there is none."""
    with faults_of(location):
        _files_of(location).delete(location.path)


def again_while_cut_off(location: Location, read: Callable[[], T]) -> T:
    """What `read` gives. deltalake gives up on a listing whose answer is cut off, where all else asks again.

    On S3 it is called again, until the retry limit after the first such answer.
    """
    until, wait_seconds = math.inf, 0.1
    while True:
        try:
            return read()
        except Exception as error:
            if not location.is_s3 or not is_cut_off(error):
                raise
            from ser_core.storage import s3

            until = min(until, time.monotonic() + s3.retry_seconds())
            if time.monotonic() + wait_seconds > until:
                raise
        time.sleep(wait_seconds)
        wait_seconds = min(2 * wait_seconds, s3.LONGEST_WAIT_SECONDS)


def list_files(location: Location, limit: int | None = None) -> list[tuple[str, int]]:
    """Relative path and size in bytes of every file below a folder, as it is now; at most `limit` of them.

    Links to folders are not entered. A missing folder holds nothing.
    """
    with faults_of(location):
        return list(islice(_files_of(location).walk(location.path), limit))


@contextmanager
def one_line_faults(
    where: Location,
    problem: str,
    advice: str = "",
    *,
    what: str = "",
    raises: type[SerError] = OutputError,
    passes: type[OSError] | tuple[()] = (),
) -> Iterator[None]:
    """Turns an error of the operating system into one line: "<what> <where>: <problem> (<reason>); <advice>".

    Args:
        where: the file or folder; ServiceError names it too, where storage failed as a whole.
        problem: as "cannot be read".
        advice: what to do.
        what: the word that names it for a person, as "manifest".
        raises: the type of the error that has this line.
        passes: errors of one file that the caller catches.
    """
    try:
        with faults_of(where):
            yield
    except passes:
        raise
    except OSError as error:
        # An error of S3 has no strerror, and its own text may hold a signed URL.
        reason = refusal(error) or error.strerror or "access is denied"
        line = f"{what} {where}: {problem} ({reason})".lstrip()
        raise raises(f"{line}; {advice}" if advice else line) from error


def check_writable(folder: Location, advice: str, *, what: str = "", probe: str = ".probe") -> None:
    """Prove that files can be made in a folder, by one named `probe` that is deleted again.

    `advice` and `what` are those of one_line_faults.

    Raises:
        OutputError: they cannot.
        ServiceError: the disk is full, or the bucket failed as a whole.
    """
    with one_line_faults(folder, "cannot be written to", advice, what=what):
        put(folder.join(probe), b"probe")
        delete(folder.join(probe))


def write(where: Location, data: bytes) -> None:
    """Write a file as `put` does.

    Raises:
        OutputError: it cannot be written.
        ServiceError: the disk is full, or the bucket failed as a whole.
    """
    with one_line_faults(where, "cannot be written", "name another folder"):
        put(where, data)
