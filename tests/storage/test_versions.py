"""What an S3 error means for one object, and what for the service."""

import hashlib
from collections.abc import Iterator

import pytest

from ser_core.errors import ServiceError
from ser_core.faults import Fault
from ser_core.storage import s3, versions
from ser_core.storage.versions import get_version
from tests.conftest import S3Server
from tests.support.flaky_s3 import FlakyProxy, S3Fault, clients_behind_proxy

DATA = b"0123456789"
SERVERS = ["moto", pytest.param("ceph", marks=pytest.mark.heavy)]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> S3Server:
    found: S3Server = request.getfixturevalue(f"{request.param}_s3")
    s3.put(f"{found.bucket}/a.wav", DATA)
    s3.put(f"{found.bucket}/empty.wav", b"")
    return found


@pytest.fixture
def proxy(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyProxy]:
    monkeypatch.setenv("SER_S3_RETRY_SECONDS", "0.5")
    with clients_behind_proxy(server.endpoint_url, monkeypatch) as flaky:
        yield flaky


def _version(server: S3Server, key: str) -> str:
    return s3.start_request(s3.head_object(f"{server.bucket}/{key}")).result()[1]


def _get(server: S3Server, key: str, version: str, *range_bytes: int, is_listed: bool = False) -> bytes:
    part = (range_bytes[0], range_bytes[1]) if range_bytes else None
    return s3.start_request(get_version(f"{server.bucket}/{key}", version, part, is_listed=is_listed)).result()


def _reason(server: S3Server, key: str, version: str, *, is_listed: bool = False) -> str:
    with pytest.raises(Fault) as caught:
        _get(server, key, version, is_listed=is_listed)
    return caught.value.reason


def test_the_planned_version_whole_and_in_part(server: S3Server) -> None:
    version = _version(server, "a.wav")
    assert _get(server, "a.wav", version) == DATA
    assert _get(server, "a.wav", version, 2, 5) == b"234"
    assert _get(server, "empty.wav", _version(server, "empty.wav")) == b""


def test_another_version_is_changed(server: S3Server) -> None:
    version = _version(server, "a.wav")
    s3.put(f"{server.bucket}/a.wav", b"other")
    assert _reason(server, "a.wav", version) == "changed"
    # Not there when it was listed, and there now.
    assert _reason(server, "a.wav", "") == "changed"
    assert _reason(server, "empty.wav", "") == "changed"


def test_a_server_that_ignores_the_condition_is_seen_through(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with_condition = s3.get_object
    monkeypatch.setattr(versions, "get_object", lambda path, **_: with_condition(path))
    assert _reason(server, "a.wav", "another-etag") == "changed"


def test_a_missing_object(server: S3Server) -> None:
    assert _reason(server, "b.wav", "") == "not_found"
    assert _reason(server, "b.wav", "an-etag") == "not_found"


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (403, "AccessDenied", "permission"),
        (403, "InvalidObjectState", "permission"),
        (400, "InvalidRequest", "unreadable"),
        (503, "SlowDown", "network"),
        (500, "InternalError", "network"),
    ],
)
@pytest.mark.parametrize("is_listed", [False, True])
def test_faults_of_one_object(
    server: S3Server, proxy: FlakyProxy, status: int, code: str, reason: str, is_listed: bool
) -> None:
    proxy.faults = [S3Fault(lambda _, path: "a.wav" in path, (status, code))]
    assert _reason(server, "a.wav", "an-etag", is_listed=is_listed) == reason


def test_an_archived_object_is_named_so(server: S3Server, proxy: FlakyProxy) -> None:
    proxy.faults = [S3Fault(lambda _, path: "a.wav" in path, (403, "InvalidObjectState"))]
    with pytest.raises(Fault, match="archived \\(Glacier\\)"):
        _get(server, "a.wav", "an-etag")


@pytest.mark.parametrize("way", ["half_a_body", "no_answer"])
def test_an_object_whose_body_always_breaks(server: S3Server, proxy: FlakyProxy, way: str) -> None:
    proxy.faults = [S3Fault(lambda _, path: "a.wav" in path, way)]  # type: ignore[arg-type]
    assert _reason(server, "a.wav", hashlib.md5(DATA).hexdigest()) == "network"


@pytest.mark.parametrize(
    ("status", "code"), [(400, "ExpiredToken"), (403, "InvalidAccessKeyId"), (404, "NoSuchBucket"), (503, "SlowDown")]
)
def test_faults_of_the_service(server: S3Server, proxy: FlakyProxy, status: int, code: str) -> None:
    proxy.faults = [S3Fault(lambda *_: True, (status, code))]
    with pytest.raises(ServiceError, match=f"^{server.location}: "):
        _get(server, "a.wav", "an-etag")


def test_a_bucket_that_could_be_listed_and_is_denied_now(server: S3Server, proxy: FlakyProxy) -> None:
    proxy.faults = [S3Fault(lambda *_: True, (403, "AccessDenied"))]
    with pytest.raises(ServiceError, match="access is denied"):
        _get(server, "a.wav", "an-etag", is_listed=True)
    assert _reason(server, "a.wav", "an-etag") == "permission"


def test_a_service_that_is_gone(server: S3Server, proxy: FlakyProxy) -> None:
    proxy.faults = [S3Fault(lambda *_: True, "no_request")]
    with pytest.raises(ServiceError, match="the service cannot be reached"):
        _get(server, "a.wav", "an-etag")
