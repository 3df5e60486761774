"""Distinguishes an error of storage as a whole from one of a single file."""

import errno
import re
from typing import Any

from ser_core.errors import TERMINAL_COLOUR

_CODES = {
    "ExpiredToken": "the credentials have expired; renew them",
    "ExpiredTokenException": "the credentials have expired; renew them",
    "TokenRefreshRequired": "the credentials have expired; renew them",
    "RequestExpired": "the credentials have expired; renew them",
    "InvalidToken": "the session token is not valid; renew the credentials",
    "InvalidAccessKeyId": "the access key is not known there; check the credentials",
    "SignatureDoesNotMatch": "the secret key is wrong; check the credentials",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "AccountProblem": "the account is blocked",
    "UserSuspended": "the user is suspended; check the credentials",
    "AllAccessDisabled": "access to the bucket is disabled",
    "NoSuchBucket": "the bucket does not exist; check its name, the endpoint and the region",
    "InvalidBucketName": "the bucket's name is not valid",
    "PermanentRedirect": "the bucket is in another region or elsewhere; set AWS_DEFAULT_REGION or AWS_ENDPOINT_URL",
    "AuthorizationHeaderMalformed": "the region is wrong; set AWS_DEFAULT_REGION",
    "IllegalLocationConstraintException": "the region is wrong; set AWS_DEFAULT_REGION",
    "QuotaExceeded": "the quota is used up; free some space",
}
#: Operations whose refusal is about the bucket, or about an output that cannot be written, and not about one file.
_WHOLE_OPERATIONS = frozenset(
    {"ListObjectsV2", "HeadBucket", "PutObject", "DeleteObject", "CreateMultipartUpload", "UploadPart"}
)
_REFUSED = "access is denied; check the credentials (none found: anonymous) and the bucket's policy"
_UNREACHABLE = "the service cannot be reached; check the network and AWS_ENDPOINT_URL, then run again"
_NOT_TAKEN = "the service refuses what this program asks of it (status {}); check AWS_ENDPOINT_URL and the bucket"
_SICK = "the service answers with errors (status {}); run again when it is well"
_CUT_OFF = "the service's answers are cut off; check the network, then run again"
#: How deltalake tells of an answer that ended early.
_CUT_OFF_TEXT = re.compile("list response|response body error|before message length reached")
_BOTOCORE_ERRORS = {
    "NoCredentialsError": "no credentials were found; set the usual AWS environment or a profile",
    "PartialCredentialsError": "the credentials are incomplete; set both the access key and the secret key",
    "CredentialRetrievalError": "the credentials cannot be fetched; check the AWS profile or role",
    "TokenRetrievalError": "the sign-on has expired; sign in again",
    "SSOTokenLoadError": "the sign-on has expired; sign in again",
    "UnauthorizedSSOTokenError": "the sign-on has expired; sign in again",
    "ProfileNotFound": "the AWS profile named in AWS_PROFILE is not in the AWS config",
    "SSLError": "the service's certificate is not trusted; set AWS_CA_BUNDLE or check the endpoint",
    "ConfigParseError": "the AWS config file cannot be read",
    "InvalidRegionError": "the region is not valid; set AWS_DEFAULT_REGION",
    "ParamValidationError": "the bucket's name is not valid",
}
_ERRNOS = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EROFS: "the file system is read-only",
    errno.ESTALE: "the network file system lost the folder (stale handle); mount it again",
    errno.ENOTCONN: "the network file system is not connected; mount it again",
    errno.EMFILE: "the process has too many files open; raise its limit (ulimit -n), then run again",
    errno.ENFILE: "the system has too many files open; close some, then run again",
    errno.EHOSTDOWN: "the network file system's server is down",
}


def service_fault(error: BaseException, where: str = "storage") -> str | None:
    """One sentence that names `where` and what to do, if an error is one of the service; None if it is of one file.

    It knows errors of the operating system, of s3fs and botocore, and of deltalake, whose kind only their text shows.
    Nothing of an error's own text is passed on: it may hold a signed URL.
    """
    cause: BaseException | None = error
    while cause is not None:
        words = _words_of_os(cause) or _words_of_botocore(cause) or _words_of_delta(cause)
        if words:
            return f"{where}: {words}"
        cause = cause.__cause__
    return None


def is_cut_off(error: BaseException) -> bool:
    """Whether deltalake was given a part of an answer, so that asking again may give the whole."""
    return _is_of_delta(error) and _CUT_OFF_TEXT.search(str(error)) is not None


def _is_of_delta(error: BaseException) -> bool:
    """deltalake raises its own errors and plain OSErrors without a number; storage does not import it."""
    is_own = type(error).__module__.split(".")[0] in {"deltalake", "_internal"}
    return is_own or (isinstance(error, OSError) and error.errno is None)


def _words_of_os(error: BaseException) -> str | None:
    return _ERRNOS.get(error.errno or 0) if isinstance(error, OSError) else None


def _words_of_botocore(error: BaseException) -> str | None:
    """The sentence for an error of botocore, which is recognised by its name: local work imports no botocore."""
    if isinstance(error, ValueError) and str(error).startswith(("Invalid endpoint", "Invalid IPv6 URL")):
        return "the endpoint is no URL; AWS_ENDPOINT_URL must start with http:// or https://"
    module = type(error).__module__.split(".")[0]
    response = getattr(error, "response", None)
    if module == "botocore" and isinstance(response, dict):
        return _words_of_response(response, str(getattr(error, "operation_name", "")))
    if module in {"botocore", "aiobotocore", "aiohttp"}:
        return _BOTOCORE_ERRORS.get(type(error).__name__, _UNREACHABLE)
    return None


def _words_of_response(response: dict[str, Any], operation: str) -> str | None:
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _CODES:
        return _CODES[code]
    if status == 404 and operation in _WHOLE_OPERATIONS:
        return _CODES["NoSuchBucket"]
    if status == 403 and operation in _WHOLE_OPERATIONS:
        return _REFUSED
    if status >= 500 or status == 429 or code == "SlowDown":
        return _SICK.format(status)
    return _NOT_TAKEN.format(status) if operation in _WHOLE_OPERATIONS else None


def _words_of_delta(error: BaseException) -> str | None:
    text = str(error)
    if not _is_of_delta(error):
        return None
    number = re.search(r"os error (\d+)", text)
    if number and int(number[1]) in _ERRNOS:
        return _ERRNOS[int(number[1])]
    for code, words in _CODES.items():
        if re.search(rf"\b{code}\b", text):
            return words
    found = re.search(r"\bstatus(?: code)?\W+(\d{3})\b", TERMINAL_COLOUR.sub("", text))
    if found and (of_status := _words_of_status(int(found[1]))):
        return of_status
    if is_cut_off(error):
        return _CUT_OFF
    return _UNREACHABLE if "error sending request" in text else None


def _words_of_status(status: int) -> str | None:
    if status == 403:
        return _REFUSED
    if status >= 500 or status == 429:
        return _SICK.format(status)
    # 404 and 412 are answers about one file.
    return _NOT_TAKEN.format(status) if status in {400, 405, 409} else None
