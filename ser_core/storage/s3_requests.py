"""Requests for S3 objects, by bucket and key exactly as they are."""

import asyncio
import errno
import uuid
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from fsspec.asyn import get_loop

from ser_core.storage.s3_client import error_code, filesystem, patiently

T = TypeVar("T")

#: One PUT takes no more; only a larger body is sent in parts.
_MAX_PUT_BYTES = 5 * 2**30


def submit(operation: Coroutine[Any, Any, T]) -> "Future[T]":
    """Start an operation on fsspec's own event loop."""
    return asyncio.run_coroutine_threadsafe(operation, get_loop())


async def can_list(bucket: str) -> None:
    """Ask the bucket for one name, once: raises what is wrong with the service now."""
    await filesystem().call_once("list_objects_v2", Bucket=bucket, MaxKeys=1)


async def head_object(bucket: str, key: str) -> tuple[int, str]:
    """One object's size in bytes and etag."""
    answer = await filesystem()._call_s3("head_object", Bucket=bucket, Key=key)
    return answer["ContentLength"], answer["ETag"].strip('"')


async def get_object(bucket: str, key: str, **conditions: str) -> tuple[bytes, str]:
    """One object's bytes and etag, the body too read again when the connection is lost.

    `conditions` are GetObject's own, as IfMatch and Range.
    """

    async def attempt() -> tuple[bytes, str]:
        answer = await filesystem().call_once("get_object", Bucket=bucket, Key=key, **conditions)
        async with answer["Body"] as body:
            return await body.read(), answer["ETag"].strip('"')

    try:
        return await patiently(attempt)
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "no such object", f"s3://{bucket}/{key}") from error.__cause__


def put(bucket: str, key: str, data: bytes) -> None:
    """Write an object in one PUT, as long as one takes it."""
    filesystem().pipe_file(f"{bucket}/{key}", data, chunksize=_MAX_PUT_BYTES)


def put_new(bucket: str, key: str, data: bytes) -> bool:
    """Write an object unless there is one; whether it did."""
    names = {"Bucket": bucket, "Key": key}
    writer = uuid.uuid4().hex
    try:
        filesystem().call_s3("put_object", **names, Body=data, IfNoneMatch="*", Metadata={"writer": writer})
    except Exception as error:
        if error_code(error) not in {"PreconditionFailed", "412"}:
            raise
    else:
        return True
    # A PUT whose answer was lost is repeated, and then refused because of itself: the object tells whose it is.
    try:
        metadata: dict[str, str] = filesystem().call_s3("head_object", **names)["Metadata"]
    except FileNotFoundError:
        return False
    return metadata.get("writer") == writer


def exists(bucket: str, key: str) -> bool:
    """Whether there is an object of exactly this key. A HEAD would be refused without saying why: this asks a list."""
    first = next(list_pages(bucket, key, page_size=1))
    return bool(first) and first[0]["Key"] == key


def list_pages(bucket: str, prefix: str, page_size: int = 1000) -> Iterator[list[dict[str, Any]]]:
    """The objects under a prefix in key order, a page at a time: Key, Size and ETag of each."""
    position: dict[str, str] = {}
    while True:
        page = filesystem().call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=page_size, **position)
        yield page.get("Contents", [])
        if not page.get("IsTruncated"):
            return
        position = {"ContinuationToken": page["NextContinuationToken"]}
