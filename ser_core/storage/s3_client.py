"""S3: one filesystem per process and set of credentials, which waits for a service that is away.

Credentials are resolved by botocore's chain (environment, profile, container or instance role) and handed to s3fs and
deltalake alike; without any, access is anonymous. Endpoint, region and profile are read from the usual AWS environment
and config files.
"""

import asyncio
import functools
import os
import random
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import botocore.session
import s3fs
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError, ResponseStreamingError, SSLError
from fsspec.asyn import sync_wrapper

from ser_core.errors import UsageError

T = TypeVar("T")

#: How long one request is tried before the service counts as down.
DEFAULT_RETRY_SECONDS = 90.0
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 10.0
#: More than the longest stall that is no failure, and several of them fit into the retry limit.
_READ_TIMEOUT_SECONDS = 20.0
_CONNECT_TIMEOUT_SECONDS = 5.0
_MAX_CONNECTIONS = 128
_LOST_CONNECTION_ERRORS = (
    ConnectionError,
    HTTPClientError,
    ResponseStreamingError,
    aiohttp.ClientError,
    TimeoutError,
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
    text = os.environ.get("SER_S3_RETRY_SECONDS", "")
    try:
        return float(text) if text else DEFAULT_RETRY_SECONDS
    except ValueError as error:
        raise UsageError(f"SER_S3_RETRY_SECONDS must be a number of seconds, not '{text}'") from error


def client_error(error: BaseException) -> ClientError | None:
    """The service's own answer behind an error that s3fs may have translated."""
    for candidate in (error, error.__cause__):
        if isinstance(candidate, ClientError):
            return candidate
    return None


def error_code(error: BaseException) -> str:
    """The S3 error code ("NoSuchKey", or the status as text where the answer has no body), "" when there is none."""
    answer = client_error(error)
    return str(answer.response.get("Error", {}).get("Code", "")) if answer else ""


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later: lost connections, throttling, server errors."""
    answer = client_error(error)
    if answer is None:
        return isinstance(error, _LOST_CONNECTION_ERRORS) and not isinstance(error, SSLError)
    status = int(answer.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
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
        longest_wait = min(2 * longest_wait, _LONGEST_WAIT_SECONDS)


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
        return await super()._call_s3(method, *args, **kwargs)


def credentials() -> ReadOnlyCredentials | None:
    """What botocore's chain gives now, renewed by it when about to expire; None: anonymous."""
    # botocore's sessions do not bear being set up by several threads.
    with _resolving:
        found = _credentials(os.getpid())
    return found.get_frozen_credentials() if found else None


@functools.cache
def _credentials(_process_id: int) -> Credentials | None:
    """Looked for once: where there are none, the chain ends in seconds of asking for an instance's role."""
    return botocore.session.Session().get_credentials()


def filesystem() -> PatientS3FileSystem:
    """The process's S3 filesystem for the credentials of now: ask again for it instead of keeping it for hours."""
    return _filesystem(os.getpid(), credentials())


@functools.lru_cache(maxsize=4)
def _filesystem(_process_id: int, given: ReadOnlyCredentials | None) -> PatientS3FileSystem:
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
    _bucket_region.cache_clear()


def delta_options(bucket: str) -> dict[str, str]:
    """deltalake's `storage_options` for a bucket: the credentials, endpoint and region that s3fs uses."""
    client = filesystem().s3
    options = {
        "aws_region": client.meta.region_name or "us-east-1",
        "aws_conditional_put": "etag",
        "max_retries": "100",
        "retry_timeout": f"{retry_seconds():g}s",
        "backoff_config.max_backoff": f"{_LONGEST_WAIT_SECONDS:g}s",
        "timeout": "60s",
    }
    endpoint_url = client.meta.endpoint_url
    if _is_aws(endpoint_url):
        options["aws_region"] = _bucket_region(bucket) or options["aws_region"]
    else:
        options |= {"aws_endpoint": endpoint_url, "aws_allow_http": str(endpoint_url.startswith("http://")).lower()}
    given = credentials()
    if given is None:
        return options | {"aws_skip_signature": "true"}
    keys = {"aws_access_key_id": given.access_key, "aws_secret_access_key": given.secret_key}
    return options | keys | ({"aws_session_token": given.token} if given.token else {})


def _is_aws(endpoint_url: str) -> bool:
    return (urlsplit(endpoint_url).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))


@functools.cache
def _bucket_region(bucket: str) -> str | None:
    """AWS sends s3fs on to the bucket's own region; deltalake must be told it."""
    region: str | None = filesystem().call_s3("head_bucket", Bucket=bucket).get("BucketRegion")
    return region
