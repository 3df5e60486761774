"""S3: objects by their path, which is "bucket/key" with the key exactly as it is.

One client per process and set of credentials serves all of them, and waits for a service that is away.

Credentials are resolved by botocore's chain (environment, profile, container or instance role) and handed to s3fs and
deltalake alike; without any, access is anonymous. Endpoint, region and profile are read from the usual AWS environment
and config files.
"""

import asyncio
import errno
import functools
import os
import random
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from datetime import datetime
from typing import Any, TypeVar

import aiohttp
import botocore.session
import s3fs
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import (
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    ResponseStreamingError,
    SSLError,
)  # fmt: skip
from botocore.parsers import ResponseParserError
from fsspec.asyn import get_loop, sync_wrapper
from s3fs.core import S3_RETRYABLE_ERRORS

from ser_core.settings import seconds_from_environment

T = TypeVar("T")

#: How long one request is tried before the service counts as down.
DEFAULT_RETRY_SECONDS = 90.0
_FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 10.0
#: More than the longest stall that is no failure, and several of them fit into the retry limit.
_READ_TIMEOUT_SECONDS = 20.0
_CONNECT_TIMEOUT_SECONDS = 5.0
_MAX_CONNECTIONS = 128
#: One PUT takes no more; only a larger body is sent in parts.
_MAX_PUT_BYTES = 5 * 2**30
_LOST_CONNECTION_ERRORS = (
    # An answer that is cut off, too.
    *S3_RETRYABLE_ERRORS,
    ConnectionError,
    HTTPClientError,
    ResponseStreamingError,
    aiohttp.ClientError,
    ConnectionResetError,
)
_TRANSIENT_CODES = frozenset(
    {
        "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "RequestTimeout",
        "InternalError", "ServiceUnavailable", "BandwidthLimitExceeded", "OperationAborted",
        "ConditionalRequestConflict",
    }
)  # fmt: skip
_resolving = threading.Lock()


def retry_seconds() -> float:
    """The retry limit, from the environment variable SER_S3_RETRY_SECONDS or the default."""
    return seconds_from_environment("SER_S3_RETRY_SECONDS", DEFAULT_RETRY_SECONDS)


def _client_error(error: BaseException) -> ClientError | None:
    """The service's own error behind one that s3fs may have translated."""
    for candidate in (error, error.__cause__):
        if isinstance(candidate, ClientError):
            return candidate
    return None


def error_code(error: BaseException) -> str:
    """The S3 error code ("NoSuchKey", or the status as text where there is no body), "" when there is none."""
    found = _client_error(error)
    return str(found.response.get("Error", {}).get("Code", "")) if found else ""


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later: lost connections, throttling, server errors."""
    found = _client_error(error)
    if found is None:
        return isinstance(error, _LOST_CONNECTION_ERRORS) and not isinstance(error, SSLError)
    status = int(found.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return error_code(error) in _TRANSIENT_CODES or status >= 500 or status == 429


async def patiently(operation: Callable[[], Awaitable[T]]) -> T:
    """Run an idempotent operation, again while its errors are transient, until the retry limit after the first.

    Waits double from 0.1 to 10 s with jitter, so that many nodes do not come back in step.
    """
    deadline: float | None = None
    longest_wait = _FIRST_WAIT_SECONDS
    while True:
        try:
            return await operation()
        except Exception as error:
            deadline = deadline or time.monotonic() + retry_seconds()
            wait_seconds = random.uniform(longest_wait / 2, longest_wait)
            if not is_transient(error) or time.monotonic() + wait_seconds > deadline:
                raise
        await asyncio.sleep(wait_seconds)
        longest_wait = min(2 * longest_wait, LONGEST_WAIT_SECONDS)


class PatientS3FileSystem(s3fs.S3FileSystem):  # type: ignore[misc]
    """s3fs with retries bounded by time instead of number, and without a listings cache."""

    cachable = False
    retries = 1
    connect_timeout = _CONNECT_TIMEOUT_SECONDS
    read_timeout = _READ_TIMEOUT_SECONDS

    async def _call_s3(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return await patiently(lambda: self.call_once(method, *args, **kwargs))

    #: The inherited one is bound to the inherited, impatient `_call_s3`.
    call_s3 = sync_wrapper(_call_s3)

    async def call_once(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """One request, tried once."""
        try:
            return await super()._call_s3(method, *args, **kwargs)
        except RecursionError:
            # A redirect that does not say where to: botocore asks the same again and again.
            answer = {"Error": {"Code": "PermanentRedirect"}, "ResponseMetadata": {"HTTPStatusCode": 301}}
            raise ClientError(answer, method) from None


def credentials() -> ReadOnlyCredentials | None:
    """What botocore's chain gives now, renewed by it when about to expire; None: anonymous."""
    # botocore's sessions do not bear being set up by several threads.
    with _resolving:
        try:
            found = _credentials(os.getpid())
            return found.get_frozen_credentials() if found else None
        except (OSError, ValueError, LookupError) as error:
            # The program that a profile names is not there, or gives something else.
            raise CredentialRetrievalError(provider="credential_process", error_msg="") from error


@functools.cache
def _credentials(_process_id: int) -> Credentials | None:
    """Looked for once: where there are none, the chain ends in seconds of asking for an instance's role."""
    return botocore.session.Session().get_credentials()


def filesystem() -> PatientS3FileSystem:
    """The process's S3 filesystem for the credentials of now: ask again for it instead of keeping it for hours."""
    return _filesystem(os.getpid(), credentials())


@functools.lru_cache(maxsize=4)
def _filesystem(_process_id: int, given: ReadOnlyCredentials | None) -> PatientS3FileSystem:
    # A limit that is none is found before anything is done.
    retry_seconds()
    keys = {"key": given.access_key, "secret": given.secret_key, "token": given.token} if given else {"anon": True}
    return PatientS3FileSystem(
        **keys,
        use_listings_cache=False,
        config_kwargs={
            "max_pool_connections": _MAX_CONNECTIONS,
            "retries": {"mode": "standard", "total_max_attempts": 1},
            # Newer checksums are not understood by every S3-compatible server.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        },
    )


def forget() -> None:
    """Resolve everything anew at the next use: the environment has changed."""
    _credentials.cache_clear()
    _filesystem.cache_clear()


def start_request(operation: Coroutine[Any, Any, T]) -> "Future[T]":
    """Start one of the coroutines below on fsspec's own event loop."""
    return asyncio.run_coroutine_threadsafe(operation, get_loop())


async def probe_bucket(bucket: str) -> None:
    """Ask the bucket for one name, once: raises what is wrong with the service now."""
    await filesystem().call_once("list_objects_v2", Bucket=bucket, MaxKeys=1)


async def head_object(path: str) -> tuple[int, str, datetime]:
    """One object's size in bytes, its etag, and when it was modified."""
    response = await filesystem()._call_s3("head_object", **_names(path))
    return response["ContentLength"], response["ETag"].strip('"'), response["LastModified"]


async def get_object(path: str, **conditions: str) -> tuple[bytes, str]:
    """One object's bytes and etag; a body whose connection is lost is read again.

    `conditions` are GetObject's own, as IfMatch and Range.
    """

    async def attempt() -> tuple[bytes, str]:
        response = await filesystem().call_once("get_object", **_names(path), **conditions)
        async with response["Body"] as body:
            return await body.read(), response["ETag"].strip('"')

    try:
        return await patiently(attempt)
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "no such object", f"s3://{path}") from error.__cause__


def read(path: str) -> bytes:
    """A whole object's bytes."""
    return start_request(get_object(path)).result()[0]


def put(path: str, data: bytes) -> None:
    """Write an object in one PUT, as long as one takes it."""
    filesystem().pipe_file(path, data, chunksize=_MAX_PUT_BYTES)


def put_new(path: str, data: bytes) -> bool:
    """Write an object unless there is one; whether it did."""
    writer = uuid.uuid4().hex
    try:
        filesystem().call_s3("put_object", **_names(path), Body=data, IfNoneMatch="*", Metadata={"writer": writer})
    except Exception as error:
        if error_code(error) not in {"PreconditionFailed", "412"}:
            raise
    else:
        return True
    # A PUT whose response was lost is repeated, and then refused because of itself: the object names its writer.
    try:
        metadata: dict[str, str] = filesystem().call_s3("head_object", **_names(path))["Metadata"]
    except FileNotFoundError:
        return False
    return metadata.get("writer") == writer


def exists(path: str) -> bool:
    """Whether there is an object of exactly this key. A listing is asked, since a refused HEAD gives no reason."""
    first = next(list_pages(path, page_size=1))
    return bool(first) and first[0]["Key"] == _names(path)["Key"]


def delete(path: str) -> None:
    """Delete one object; no error when there is none."""
    filesystem().call_s3("delete_object", **_names(path))


def walk(path: str) -> Iterator[tuple[str, int]]:
    """Relative key and size in bytes of every object below a prefix."""
    prefix = f"{key}/" if (key := _names(path)["Key"]) else ""
    for page in list_pages(f"{path}/"):
        yield from ((item["Key"][len(prefix) :], item["Size"]) for item in page if item["Key"] != prefix)


def list_pages(path: str, page_size: int = 1000) -> Iterator[list[dict[str, Any]]]:
    """The objects whose keys begin so, in key order, a page at a time: Key, Size and ETag of each."""
    names = _names(path)
    position: dict[str, str] = {}
    while True:
        page = start_request(
            _get_page(Bucket=names["Bucket"], Prefix=names["Key"], MaxKeys=page_size, **position)
        ).result()
        yield page.get("Contents", [])
        if not page["IsTruncated"]:
            return
        position = {"ContinuationToken": page["NextContinuationToken"]}


async def _get_page(**what: Any) -> dict[str, Any]:
    """One page of a listing. One that does not say whether it is the last was cut off, be it empty."""

    async def attempt() -> dict[str, Any]:
        page: dict[str, Any] = await filesystem().call_once("list_objects_v2", **what)
        if "IsTruncated" not in page or (page["IsTruncated"] and "NextContinuationToken" not in page):
            raise ResponseParserError("a page of a listing is not whole")
        return page

    return await patiently(attempt)


def _names(path: str) -> dict[str, str]:
    bucket, _, key = path.partition("/")
    return {"Bucket": bucket, "Key": key}
