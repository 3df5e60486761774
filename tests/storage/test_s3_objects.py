"""Requests for objects: pages in order, and a conditional create whose answer is lost."""

from collections.abc import Iterator

import pytest

from ser_core.storage import location as storage
from ser_core.storage import s3
from tests.conftest import S3Server
from tests.support.flaky_s3 import FlakyProxy, S3Fault, clients_behind_proxy

SERVERS = ["moto", pytest.param("ceph", marks=pytest.mark.heavy)]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> S3Server:
    found: S3Server = request.getfixturevalue(f"{request.param}_s3")
    return found


@pytest.fixture
def proxy(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyProxy]:
    with clients_behind_proxy(server.endpoint_url, monkeypatch) as flaky:
        yield flaky


def test_pages_come_in_key_order(server: S3Server) -> None:
    keys = ["a", "a b", "a/b", "a//b", "a%2F", "a+b", "ab", "b", "é", "日本", "\U0001f600"]
    for key in reversed(keys):
        s3.put(f"{server.bucket}/{key}", b"1")
    pages = list(s3.list_pages(server.bucket, page_size=3))
    assert [len(page) for page in pages] == [3, 3, 3, 2]
    assert [item["Key"] for page in pages for item in page] == sorted(keys)
    assert {item["ETag"] for page in pages for item in page} == {
        f'"{s3.start_request(s3.head_object(f"{server.bucket}/a")).result()[1]}"'
    }


def test_a_created_object_is_ours_although_the_answer_was_lost(server: S3Server, proxy: FlakyProxy) -> None:
    proxy.faults = [S3Fault(lambda method, _: method == "PUT", "no_answer", times=1)]
    assert s3.put_new(f"{server.bucket}/lock", b"1")
    assert proxy.counts["PUT"] == 2
    proxy.faults = [S3Fault(lambda method, _: method == "PUT", "no_answer", times=1)]
    assert not s3.put_new(f"{server.bucket}/lock", b"1")


def test_a_conflict_of_two_creates_is_tried_again(server: S3Server, proxy: FlakyProxy) -> None:
    proxy.faults = [S3Fault(lambda method, _: method == "PUT", (409, "ConditionalRequestConflict"), times=2)]
    assert s3.put_new(f"{server.bucket}/lock", b"1")


def test_a_body_too_large_for_one_put_goes_in_parts(
    server: S3Server, proxy: FlakyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_MAX_PUT_BYTES", 5 * 2**20)
    s3.put(f"{server.bucket}/small", bytes(2**20))
    assert proxy.counts == {"PUT": 1}
    data = bytes(range(256)) * (10 * 2**12)
    s3.put(f"{server.bucket}/large", data)
    assert proxy.counts["POST"] == 2
    assert storage.read(server.location.join("large")) == data
