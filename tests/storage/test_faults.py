"""What is a fault of storage as a whole, and in which words; what is of one file."""

import errno
from collections.abc import Iterator

import deltalake
import pyarrow as pa
import pytest

from ser_core.errors import ServiceError
from ser_core.storage import location as storage
from ser_core.storage import s3
from ser_core.storage.faults import service_fault
from ser_core.storage.location import Location
from tests.conftest import S3Server
from tests.support.flaky_s3 import FlakyProxy, S3Fault, clients_behind_proxy


@pytest.fixture
def proxy(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyProxy]:
    with clients_behind_proxy(moto_s3.endpoint_url, monkeypatch) as flaky:
        yield flaky


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (400, "ExpiredToken", "the credentials have expired; renew them"),
        (403, "InvalidAccessKeyId", "the access key is not known there"),
        (403, "SignatureDoesNotMatch", "the secret key is wrong"),
        (403, "RequestTimeTooSkewed", "this machine's clock is wrong"),
        (404, "NoSuchBucket", "the bucket does not exist"),
        (400, "IllegalLocationConstraintException", "the region is wrong; set AWS_DEFAULT_REGION"),
        (403, "QuotaExceeded", "the quota is used up"),
        (403, "UserSuspended", "the user is suspended; check the credentials"),
    ],
)
def test_answers_about_the_service(moto_s3: S3Server, proxy: FlakyProxy, status: int, code: str, words: str) -> None:
    proxy.faults = [S3Fault(lambda *_: True, (status, code))]
    location = moto_s3.location.join("a")
    for act in (storage.read, storage.list_files, lambda where: storage.put(where, b"")):
        with pytest.raises(ServiceError, match=f"^{location}: {words}"):
            act(location)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - deltalake raises many kinds
        deltalake.DeltaTable(location.url, storage_options=location.delta_options())
    assert words in str(service_fault(caught.value, location.url))


def test_denied_on_the_bucket_and_on_one_object(moto_s3: S3Server, proxy: FlakyProxy) -> None:
    proxy.faults = [S3Fault(lambda *_: True, (403, "AccessDenied"))]
    location = moto_s3.location.join("a")
    with pytest.raises(ServiceError, match="access is denied"):
        storage.list_files(location)
    with pytest.raises(ServiceError, match="access is denied"):
        storage.put(location, b"")
    with pytest.raises(PermissionError):
        storage.read(location)


@pytest.mark.parametrize(("status", "words"), [(403, "access is denied"), (503, "status 503"), (500, "status 500")])
def test_deltalake_is_told_by_its_status_where_the_code_says_nothing(
    moto_s3: S3Server, proxy: FlakyProxy, monkeypatch: pytest.MonkeyPatch, status: int, words: str
) -> None:
    monkeypatch.setenv("SER_S3_RETRY_SECONDS", "0.2")
    proxy.faults = [S3Fault(lambda *_: True, (status, "NeverHeardOf"))]
    location = moto_s3.location.join("a")
    with pytest.raises(Exception) as caught:  # noqa: PT011 - deltalake raises many kinds
        deltalake.DeltaTable(location.url, storage_options=location.delta_options())
    assert words in str(service_fault(caught.value, location.url))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE, errno.EMFILE, errno.ENFILE])
def test_errors_of_the_file_system(number: int) -> None:
    assert str(service_fault(OSError(number, "text"), "/data")).startswith("/data: the ")
    wrapped = RuntimeError("text")
    wrapped.__cause__ = OSError(number, "text")
    assert service_fault(wrapped)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EIO, errno.ETIMEDOUT, errno.ENOMEM, errno.EISDIR])
def test_errors_of_one_file(number: int) -> None:
    assert service_fault(OSError(number, "text")) is None


def test_a_full_disk_under_deltalake_is_told_by_its_text() -> None:
    error = OSError("Generic LocalFileSystem error: Unable to copy data to file: No space left on device (os error 28)")
    assert service_fault(error, "/data") == "/data: the disk is full; free some space"


def _errors_with(location: Location) -> str:
    with pytest.raises(ServiceError) as caught:
        storage.list_files(location)
    with pytest.raises(Exception) as of_delta:  # noqa: PT011 - deltalake raises many kinds
        deltalake.write_deltalake(location.url, pa.table({"a": [1]}), storage_options=location.delta_options())
    assert service_fault(of_delta.value, str(location)) == str(caught.value)
    return str(caught.value)


@pytest.mark.heavy
def test_a_real_server_refuses(ceph_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "the bucket does not exist" in _errors_with(Location("s3://no-such-bucket/a"))
    for name, value, words in (
        ("AWS_SECRET_ACCESS_KEY", "wrong-secret", "the secret key is wrong"),
        ("AWS_ACCESS_KEY_ID", "wrong-key", "the access key is not known there"),
    ):
        monkeypatch.setenv(name, value)
        s3.forget()
        message = _errors_with(ceph_s3.location)
        assert words in message
        assert "wrong-" not in message
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    s3.forget()
    assert "access is denied" in _errors_with(ceph_s3.location)
