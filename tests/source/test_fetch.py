"""Many files at once, in order; each ends as bytes or as a reason, and only a fault of the service stops it."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from ser_core import storage
from ser_core.errors import ServiceError
from ser_core.faults import Fault
from ser_core.source import fetch
from ser_core.source.fetch import fetch_all
from ser_core.source.listing import Skipped
from ser_core.source.source import Source
from ser_core.storage import s3
from ser_core.storage.location import Location
from tests.conftest import S3Server
from tests.support.flaky_s3 import S3Fault, clients_behind_proxy

PLACES = ["folder", "moto", pytest.param("ceph", marks=pytest.mark.heavy)]


@pytest.fixture(params=PLACES)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "folder":
        return Location(str(tmp_path))
    found: Location = request.getfixturevalue(f"{request.param}_s3").location
    return found


def _body(number: int) -> bytes:
    return f"{number} ".encode() * (number * 37 % 500)


def _fill(root: Location, count: int) -> tuple[Source, list[tuple[str, int, str]]]:
    for number in range(count):
        storage.put(root.join(f"f {number:03}.wav"), _body(number))
    source = Source.parse(root.url, None)
    rows = [row for table in source.list(exclude=None, skipped=Skipped()) for row in table.to_pylist()]
    return source, [(row["path"], row["size"], row["version"]) for row in rows]


@pytest.mark.parametrize("concurrency", [1, 64])
def test_bytes_come_in_the_order_of_the_rows(root: Location, concurrency: int) -> None:
    source, rows = _fill(root, 40)
    shuffled = rows[::-1] + rows[:3]
    expected = [_body(int(path[2:5])) for path, _, _ in shuffled]
    assert list(fetch_all(source, shuffled, concurrency=concurrency)) == expected
    assert list(fetch_all(source, [], concurrency=concurrency)) == []


def test_each_failure_has_its_reason_and_spoils_no_other(root: Location) -> None:
    source, rows = _fill(root, 6)
    storage.put(root.join("f 001.wav"), b"changed")
    storage.delete(root.join("f 002.wav"))
    rows[3] = (rows[3][0], -1, "")
    rows.append(("never there.wav", -1, ""))
    results = list(fetch_all(source, rows))
    reasons = [result.reason if isinstance(result, Fault) else result for result in results]
    assert reasons == [_body(0), "changed", "not_found", "changed", _body(4), _body(5), "not_found"]
    assert [result.retryable for result in results if isinstance(result, Fault)] == [True, False, True, False]


def test_local_things_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling.wav").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "list.txt").write_text("folder\ndangling.wav\npipe.wav\n")
    source = Source.parse(str(tmp_path / "list.txt"), None)
    rows = [(path, -1, "") for path in ("folder", "dangling.wav", "pipe.wav")]
    results = [result for result in fetch_all(source, rows) if isinstance(result, Fault)]
    assert [result.reason for result in results] == ["unreadable", "not_found", "unreadable"]
    assert "folder" in results[0].detail


_FETCH_AS_NOBODY = """
import os, sys
from ser_core.source.fetch import fetch_all
from ser_core.source.source import Source
from ser_core.storage.location import Location
os.setuid(65534) if os.getuid() == 0 else None
source = Source("folder", Location(sys.argv[1]))
print([result.reason for result in fetch_all(source, [("a.wav", 1, "1-1"), ("closed/", -1, ""), ("closed/b", 1, "")])])
"""


def test_what_may_not_be_read_is_a_permission_failure() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        Path(folder, "a.wav").touch(0o000)
        Path(folder, "closed").mkdir(0o000)
        done = subprocess.run(
            [sys.executable, "-c", _FETCH_AS_NOBODY, folder], capture_output=True, text=True, check=True, timeout=120
        )
    assert done.stdout.strip() == "['permission', 'permission', 'permission']"


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(bytes(50_000_000))
    source, rows = Source.parse(str(tmp_path), None), []
    for table in source.list(exclude=None, skipped=Skipped()):
        rows = [(row["path"], row["size"], row["version"]) for row in table.to_pylist()]
    changing = threading.Event()

    def change() -> None:
        with file.open("r+b") as writer:
            while not changing.is_set():
                writer.seek(0)
                writer.write(b"x")
                writer.flush()

    writer = threading.Thread(target=change)
    writer.start()
    try:
        (result,) = fetch_all(source, rows)
    finally:
        changing.set()
        writer.join(120)
    assert isinstance(result, Fault)
    assert result.reason == "changed"


def test_what_is_fetched_ahead_is_bounded(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    source, rows = _fill(moto_s3.location, 30)
    begun = []
    fetch_object = fetch._fetch_object

    def note(target: str, version: str, *, is_listed: bool) -> Coroutine[Any, Any, bytes | Fault]:
        begun.append(target)
        return fetch_object(target, version, is_listed=is_listed)

    monkeypatch.setattr(fetch, "_fetch_object", note)
    results = fetch_all(source, [(path, 10, version) for path, _, version in rows], concurrency=64, max_bytes=50)
    next(results)
    assert len(begun) == 5
    begun.clear()
    results = fetch_all(source, rows, concurrency=7, max_bytes=10**9)
    next(results)
    assert len(begun) == 7


def test_many_in_flight_survive_throttling(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    source, rows = _fill(moto_s3.location, 60)
    ways = [(503, "SlowDown"), "no_request", "half_a_body", "no_answer"]
    faults = [S3Fault(lambda *_: True, way, times=20) for way in ways]  # type: ignore[arg-type]
    with clients_behind_proxy(moto_s3.endpoint_url, monkeypatch, faults):
        assert list(fetch_all(source, rows)) == [_body(number) for number in range(60)]


def test_a_fault_of_the_service_stops_all(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    source, rows = _fill(moto_s3.location, 30)
    faults = [S3Fault(lambda _, path: "020.wav" in path, (400, "ExpiredToken"))]
    with clients_behind_proxy(moto_s3.endpoint_url, monkeypatch, faults):
        results = fetch_all(source, rows, concurrency=4)
        assert [next(results) for _ in range(20)] == [_body(number) for number in range(20)]
        with pytest.raises(ServiceError, match=f"^{moto_s3.location}: the credentials have expired; renew them$"):
            next(results)


@pytest.fixture
def gateway(ceph_s3: S3Server) -> Iterator[S3Server]:
    yield ceph_s3
    if ceph_s3.folder is not None:
        ceph_s3.gateway("continue")


def _fetch_while(server: S3Server, away: str, back: str, away_seconds: float) -> None:
    """Fetch, list and write all the time while the gateway goes away and comes back."""
    source, rows = _fill(server.location, 40)
    back_at = threading.Timer(away_seconds, server.gateway, [back])
    server.gateway(away)
    started = time.monotonic()
    back_at.start()
    writers = [
        threading.Thread(target=storage.put, args=(server.location.join(f"new-{number}"), b"1")) for number in range(4)
    ]
    for writer in writers:
        writer.start()
    assert list(fetch_all(source, rows)) == [_body(number) for number in range(40)]
    assert time.monotonic() - started >= away_seconds * 0.9
    assert storage.put_new(server.location.join("lock"), b"1")
    for writer in writers:
        writer.join(120)
    assert {f"new-{number}" for number in range(4)} <= {name for name, _ in storage.list_files(server.location)}
    back_at.join(120)


@pytest.mark.heavy
def test_a_gateway_that_is_restarted_is_waited_for(gateway: S3Server) -> None:
    _fetch_while(gateway, "stop", "start", 15)


@pytest.mark.heavy
def test_a_gateway_that_stands_still_is_waited_for(gateway: S3Server) -> None:
    _fetch_while(gateway, "pause", "continue", 10)


@pytest.mark.heavy
def test_a_gateway_that_stays_away_is_a_fault(gateway: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    source, rows = _fill(gateway.location, 5)
    monkeypatch.setenv("SER_S3_RETRY_SECONDS", "3")
    gateway.gateway("stop")
    try:
        with pytest.raises(ServiceError, match="the service cannot be reached"):
            list(fetch_all(source, rows))
    finally:
        gateway.gateway("start")


@pytest.mark.heavy
def test_a_credential_that_becomes_wrong_is_a_fault(ceph_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    source, rows = _fill(ceph_s3.location, 5)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    s3.forget()
    with pytest.raises(ServiceError, match=f"^{ceph_s3.location}: the secret key is wrong; check the credentials$"):
        list(fetch_all(source, rows))
