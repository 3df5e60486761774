"""Looks at S3 objects, reads them of their planned version; distinguishes an object's fault from the service's."""

from contextlib import suppress
from datetime import datetime

from botocore.exceptions import ParamValidationError

from ser_core.faults import Fault
from ser_core.storage.faults import service_fault
from ser_core.storage.location import Location, faults_of
from ser_core.storage.s3 import error_code, get_object, head_object, is_transient, probe_bucket
from ser_core.vocabulary import Reason

_CHANGED_CODES = frozenset({"PreconditionFailed", "412", "InvalidRange", "416"})
#: What is wrong with the bucket that a line of a list names, which is no fault of the other lines.
_BUCKET_FAULTS: dict[str, tuple[Reason, str]] = {
    "NoSuchBucket": ("not_found", "there is no such bucket"),
    "InvalidBucketName": ("not_found", "no bucket can have this name"),
    "AllAccessDisabled": ("permission", "access to the bucket is disabled"),
    "PermanentRedirect": ("not_found", "the bucket is in another region or elsewhere"),
}


async def look_at_object(target: str) -> tuple[int, str, datetime | None]:
    """The size in bytes, the etag and the time of "bucket/key".

    They are -1, "" and None for one that there is not, or that is out of reach.

    Raises:
        ServiceError: about the credentials or the service; what is wrong with a bucket is of this object.
    """
    bucket = target.partition("/")[0]
    with faults_of(Location(f"s3://{bucket}")):
        try:
            return await head_object(target)
        except Exception as error:
            if is_transient(error):
                await _fault_of(error, bucket, is_listed=False, is_known=False)
                return -1, "", None
    # A refused HEAD gives no reason.
    with suppress(Fault):
        await get_version(target, "")
    return -1, "", None


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
    bucket = target.partition("/")[0]
    # An object that was not found when it was listed: a GET that is refused gives a reason, as a HEAD does not.
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
            fault = await _fault_of(error, bucket, is_listed=is_listed, is_known=bool(version))
            if fault is None:
                raise
    if fault is None and etag != version:
        fault = Fault.changed()
    if fault is not None:
        raise fault
    return data


async def _fault_of(error: Exception, bucket: str, *, is_listed: bool, is_known: bool) -> Fault | None:
    """What an error means for its object; None when it is of the service. Raises what a look at the bucket finds.

    A bucket that is gone stops the run, unless nothing was ever seen in it (neither `is_listed` nor `is_known`).
    """
    if is_transient(error):
        # Any response to another request, a refusal too, shows that the service is there.
        with suppress(PermissionError):
            await probe_bucket(bucket)
        return Fault("network", "requests for this object fail, although the service is there")
    if not is_listed and not is_known and (fault := _fault_of_bucket(error)):
        return fault
    if service_fault(error):
        return None
    if isinstance(error, PermissionError) and error_code(error) != "InvalidObjectState" and is_listed:
        await probe_bucket(bucket)
    return _fault_of_code(error, error_code(error))


def _fault_of_bucket(error: Exception) -> Fault | None:
    code = "InvalidBucketName" if isinstance(error, ParamValidationError | UnicodeError) else error_code(error)
    return Fault(*_BUCKET_FAULTS[code]) if code in _BUCKET_FAULTS else None


def _fault_of_code(error: Exception, code: str) -> Fault:
    if code in _CHANGED_CODES:
        return Fault.changed()
    if code == "InvalidObjectState":
        # Restoring it changes no etag, so only a reason that is tried again lets the next run find it.
        return Fault("permission", "the object is archived (Glacier); restore it, then run again")
    if isinstance(error, FileNotFoundError | UnicodeError):
        return Fault("not_found", "there is no such object")
    if isinstance(error, PermissionError):
        return Fault("permission", "access to this object is denied")
    return Fault("unreadable", f"the service refuses the object ({code or type(error).__name__})")
