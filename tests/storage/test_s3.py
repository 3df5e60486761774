"""Credentials, endpoint and retries, against a real server behind a proxy that breaks answers."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest

from ser_core.errors import ServiceError, UsageError
from ser_core.storage import location as storage
from ser_core.storage import s3
from ser_core.storage.location import Location
from tests.conftest import S3Server
from tests.support.flaky_s3 import FlakyProxy, S3Fault, Way, clients_behind_proxy


@pytest.fixture
def proxy(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyProxy]:
    with clients_behind_proxy(moto_s3.endpoint_url, monkeypatch) as flaky:
        yield flaky


@pytest.mark.parametrize(
    "way", ["no_request", "no_answer", "half_a_body", (503, "SlowDown"), (500, "InternalError"), (429, "TooMany")]
)
def test_what_may_pass_is_tried_again(moto_s3: S3Server, proxy: FlakyProxy, way: Way | tuple[int, str]) -> None:
    file = moto_s3.location.join("a.wav")
    requests: dict[str, Callable[[], object]] = {
        "PUT": lambda: storage.put(file, b"0123456789" * 1000),
        "GET": lambda: storage.read(file),
        "GET ": lambda: storage.list_files(moto_s3.location),
        "HEAD": lambda: s3.start_request(s3.head_object(f"{file.bucket}/{file.key}")).result()[0],
        "DELETE": lambda: storage.delete(file),
    }
    answers = []
    for verb, request in requests.items():
        proxy.counts.clear()
        proxy.faults = [S3Fault(lambda *_: True, way, times=2)]
        answers.append(request())
        assert proxy.counts[verb.strip()] == 3 - 2 * (way == "half_a_body" and verb in {"PUT", "HEAD", "DELETE"})
    assert answers == [None, b"0123456789" * 1000, [("a.wav", 10_000)], 10_000, None]


@pytest.mark.parametrize("way", ["half_a_body", "short", "empty"])
def test_a_listing_that_is_cut_off_is_asked_for_again(
    moto_s3: S3Server, proxy: FlakyProxy, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number}.wav" for number in range(5)]
    for name in names:
        storage.put(moto_s3.location.join(name), b"1")
    cut = S3Fault(lambda method, path: method == "GET" and "list-type=2" in path, way, times=2)
    proxy.faults = [cut]
    pages = list(s3.list_pages(f"{moto_s3.bucket}/", page_size=2))
    assert [item["Key"] for page in pages for item in page] == names
    assert cut.times == 0
    monkeypatch.setenv("SER_S3_RETRY_SECONDS", "0.3")
    cut.times = 1_000
    with pytest.raises(ServiceError, match=f"^{moto_s3.location}: the service"):
        storage.list_files(moto_s3.location)
    assert cut.times > 980


@pytest.mark.parametrize("way", ["no_request", (503, "SlowDown")])
def test_what_does_not_pass_is_a_fault_after_the_limit(
    moto_s3: S3Server, proxy: FlakyProxy, way: Way | tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SER_S3_RETRY_SECONDS", "1")
    proxy.faults = [S3Fault(lambda *_: True, way)]
    started = time.monotonic()
    with pytest.raises(ServiceError, match=f"^{moto_s3.location}: the service"):
        storage.list_files(moto_s3.location)
    assert 0.5 < time.monotonic() - started < 10
    assert proxy.counts["GET"] > 2


def test_an_endpoint_that_is_not_there(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SER_S3_RETRY_SECONDS", "0.5")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3.forget()
    for act in (storage.read, storage.exists, storage.list_files, storage.delete):
        with pytest.raises(ServiceError, match="cannot be reached; check the network and AWS_ENDPOINT_URL"):
            act(moto_s3.location.join("a"))


@pytest.mark.parametrize("text", ["127.0.0.1:9000", "http://", "http://[", "http://a b"])
def test_an_endpoint_that_is_no_url(text: str, moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", text)
    s3.forget()
    with pytest.raises(ServiceError, match="AWS_ENDPOINT_URL must start with http:// or https://"):
        storage.list_files(moto_s3.location)


def test_what_cannot_pass_is_not_tried_again(moto_s3: S3Server, proxy: FlakyProxy) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read(moto_s3.location.join("missing"))
    assert proxy.counts == {"GET": 1}


@pytest.mark.parametrize("text", ["long", "5s", "nan", "inf", "-1"])
def test_the_retry_limit_must_be_a_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SER_S3_RETRY_SECONDS", text)
    with pytest.raises(
        UsageError, match=f"SER_S3_RETRY_SECONDS must be a number of seconds, 0 or more .* not '{text}'"
    ):
        s3.retry_seconds()


def test_access_is_anonymous_without_credentials(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    s3.forget()
    started = time.monotonic()
    for _ in range(1000):
        assert s3.filesystem().anon
    assert time.monotonic() - started < 1
    assert moto_s3.location.delta_options()["aws_skip_signature"] == "true"


def _write_profile(folder: Path, monkeypatch: pytest.MonkeyPatch, endpoint_url: str) -> None:
    """A profile whose credentials expire at once, so that every look gets new ones: key-1, key-2 ..."""
    expiry = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
    answer = {"Version": 1, "SecretAccessKey": "very-secret", "SessionToken": "very-token", "Expiration": expiry}
    script = folder / "credentials.py"
    script.write_text(
        f"import json, pathlib; file = pathlib.Path({str(folder / 'count')!r})\n"
        "count = int(file.read_text()) + 1 if file.exists() else 1; file.write_text(str(count))\n"
        f"print(json.dumps({answer!r} | {{'AccessKeyId': f'key-{{count}}'}}))\n"
    )
    config = folder / "config"
    config.write_text(
        f"[profile audio]\ncredential_process = {sys.executable} {script}\n"
        f"endpoint_url = {endpoint_url}\nregion = eu-test-1\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "audio")
    s3.forget()


def test_a_profile_serves_both_clients_and_is_renewed(
    moto_s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_profile(tmp_path, monkeypatch, moto_s3.endpoint_url)
    first = moto_s3.location.delta_options()
    assert first["aws_endpoint"] == moto_s3.endpoint_url
    assert first["aws_region"] == "eu-test-1"
    assert first["aws_session_token"] == "very-token"
    keys = {s3.filesystem().key for _ in range(3)} | {first["aws_access_key_id"]}
    assert len(keys) == 4
    storage.put(moto_s3.location.join("a"), b"1")
    assert storage.read(moto_s3.location.join("a")) == b"1"


def test_no_text_shows_credentials(moto_s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write_profile(tmp_path, monkeypatch, moto_s3.endpoint_url)
    with pytest.raises(ServiceError) as caught:
        storage.list_files(Location("s3://no-such-bucket/a"))
    shown = f"{caught.value} {caught.value!r} {moto_s3.location!r} {s3.filesystem()!r}"
    assert "very-" not in shown
    assert "key-" not in shown


@pytest.mark.parametrize("command", ["/no/such/program", "false", "echo no JSON", "echo {}"])
def test_a_profile_whose_program_gives_no_credentials(
    moto_s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    _write_profile(tmp_path, monkeypatch, moto_s3.endpoint_url)
    config = tmp_path / "config"
    config.write_text(config.read_text().replace("credential_process =", f"credential_process = {command} #"))
    with pytest.raises(ServiceError, match="credentials cannot be fetched; check the AWS profile"):
        storage.list_files(moto_s3.location)


def test_a_profile_that_is_not_there(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    s3.forget()
    with pytest.raises(ServiceError, match="the AWS profile named in AWS_PROFILE is not in the AWS config"):
        storage.list_files(moto_s3.location)


def _write_and_read_delta(location: Location) -> None:
    options = location.delta_options()
    for _ in range(2):
        deltalake.write_deltalake(location.url, pa.table({"a": [1]}), mode="append", storage_options=options)
    assert deltalake.DeltaTable(location.url, storage_options=options).version() == 1
    assert json.loads(storage.read(location.join("_delta_log", f"{1:020}.json")).splitlines()[-1])


@pytest.mark.parametrize("retry_seconds", ["90", "0", "0.25", "100000000"])
def test_deltalake_takes_the_options(moto_s3: S3Server, retry_seconds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SER_S3_RETRY_SECONDS", retry_seconds)
    _write_and_read_delta(moto_s3.location.join("table"))


@pytest.mark.heavy
def test_deltalake_takes_the_options_on_ceph(ceph_s3: S3Server) -> None:
    _write_and_read_delta(ceph_s3.location.join("table"))


@pytest.mark.heavy
@pytest.mark.parametrize(("away", "back"), [("stop", "start"), ("pause", "continue")])
def test_deltalake_waits_for_the_service_too(ceph_s3: S3Server, away: str, back: str) -> None:
    location = ceph_s3.location.join("table")
    _write_and_read_delta(location)
    ceph_s3.gateway(away)
    threading.Timer(8, ceph_s3.gateway, [back]).start()
    deltalake.write_deltalake(
        location.url, pa.table({"a": [1]}), mode="append", storage_options=location.delta_options()
    )
    assert deltalake.DeltaTable(location.url, storage_options=location.delta_options()).version() == 2
