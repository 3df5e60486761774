"""Storage that is full, or takes the credentials no more, under way: one line, no file failed, and it goes on later."""

import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from deltalake import DeltaTable

from ser_core.storage import s3
from ser_core.storage.location import Location
from tests.conftest import S3Server
from tests.support.archive import expected_keys, keys, write_archive
from tests.support.cli import Answer, assert_one_line, files, finish, predictions, ser, ser_here, start
from tests.support.flaky_s3 import FlakyProxy, S3Fault
from tests.support.run_control import num_committed, wait_for

OFTEN = ("--commit-seconds", "0.2", "--cpus", "1")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("archive") / "in"
    return folder, write_archive(folder, 120)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "ser-test", str(disk)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here ({mounted.stderr.strip()}): a full disk is not tried")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True, timeout=60)


def fill(disk: Path) -> Path:
    """Leave no byte free; returns the file that took them."""
    ballast = disk / "ballast"
    # A write at the end is cut to what there is room for; the next one is refused.
    with ballast.open("wb", buffering=0) as stream, suppress(OSError):
        while stream.write(bytes(65_536)):
            pass
    assert not os.statvfs(disk).f_bavail
    return ballast


def test_a_disk_that_fills_up_stops_the_run_which_goes_on_when_there_is_room(
    archive: tuple[Path, dict[str, float]], small_disk: Path
) -> None:
    source, seconds_of = archive
    output = small_disk / "out"
    command = ["score", str(source), str(output), *OFTEN]
    process = start(*command)
    wait_for(lambda: num_committed(output) > 0, process)
    ballast = fill(small_disk)
    assert_one_line(finish(process), 1, str(output), "the disk is full", "the same command goes on")
    rows = files(output)
    assert 0 < rows.num_rows < len(seconds_of)
    assert set(rows["status"].to_pylist()) == {"scored"}
    assert {path for path, _, _ in keys(predictions(output))} == set(rows["path"].to_pylist())

    assert_one_line(ser_here(*command), 1, str(output), "the disk is full")
    ballast.unlink()
    answer = ser_here(*command)
    assert answer.code == 0, answer.err
    assert keys(predictions(output)) == expected_keys(seconds_of)
    assert files(output)["path"].to_pylist() == sorted(seconds_of)
    for name in ("predictions", "files"):
        live = {Path(part).name for part in DeltaTable(output / name).file_uris()}
        assert {part.name for part in (output / name).rglob("*.parquet") if part.parent.name != "_delta_log"} == live


def test_a_disk_that_is_full_from_the_start_is_one_line(
    archive: tuple[Path, dict[str, float]], small_disk: Path
) -> None:
    fill(small_disk)
    output = small_disk / "out"
    assert_one_line(ser_here("score", archive[0], output), 1, str(output), "the disk is full")


def wait_until_under_way(process: subprocess.Popen[str], output: Location) -> None:
    """Until the run has committed some files; it has more to do."""
    wait_for(lambda: num_committed(output.url, output.delta_options()) > 0, process)


def assert_stopped(answer: Answer, output: Location, num_files: int) -> None:
    """The run ended for want of credentials, with some files scored and none failed."""
    assert_one_line(answer, 1, "credentials", "the same command goes on")
    rows = files(output.url, output.delta_options())
    assert 0 < rows.num_rows < num_files
    assert set(rows["status"].to_pylist()) == {"scored"}


def assert_exact(output: Location, seconds_of: dict[str, float]) -> None:
    assert keys(predictions(output.url, output.delta_options())) == expected_keys(seconds_of)
    rows = files(output.url, output.delta_options())
    assert rows["path"].to_pylist() == sorted(seconds_of)
    assert set(rows["status"].to_pylist()) == {"scored"}


@pytest.mark.heavy
def test_credentials_that_expire_stop_the_run_which_goes_on_with_new_ones(
    archive: tuple[Path, dict[str, float]], moto_s3: S3Server
) -> None:
    folder, seconds_of = archive
    output = moto_s3.location.join("out")
    with FlakyProxy(moto_s3.endpoint_url) as proxy:
        process = start("score", folder, output.url, *OFTEN, AWS_ENDPOINT_URL=proxy.endpoint_url)
        wait_until_under_way(process, output)
        proxy.faults.append(S3Fault(lambda *_: True, (403, "ExpiredToken")))
        assert_stopped(finish(process), output, len(seconds_of))
    answer = ser_here("score", folder, output.url)
    assert answer.code == 0, answer.err
    assert_exact(output, seconds_of)


@pytest.mark.heavy
def test_credentials_for_the_source_that_expire_fail_no_file(
    archive: tuple[Path, dict[str, float]], moto_s3: S3Server, tmp_path: Path
) -> None:
    folder, seconds_of = archive
    source, output = moto_s3.location.join("in"), Location(str(tmp_path / "out"))
    s3.filesystem().put(f"{folder}/", f"{source.path}/", recursive=True)
    num_read = itertools.count()

    def is_late(method: str, path: str) -> bool:
        """Files are read ahead of what is committed."""
        return method == "GET" and "/in/" in path and next(num_read) >= len(seconds_of) // 2

    with FlakyProxy(moto_s3.endpoint_url) as proxy:
        proxy.faults.append(S3Fault(is_late, (403, "ExpiredToken")))
        answer = ser("score", source.url, output.url, *OFTEN, AWS_ENDPOINT_URL=proxy.endpoint_url)
    assert_stopped(answer, output, len(seconds_of))
    answer = ser("score", source.url, output.url)
    assert answer.code == 0, answer.err
    assert_exact(output, seconds_of)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("revoke", "restore"),
    [
        (
            ["key", "rm", "--access-key=test-access"],
            ["key", "create", "--access-key=test-access", "--secret-key=test-secret"],
        ),
        (["user", "suspend"], ["user", "enable"]),
    ],
)
def test_credentials_that_are_revoked_stop_the_run_which_goes_on_when_they_are_back(
    archive: tuple[Path, dict[str, float]], ceph_s3: S3Server, revoke: list[str], restore: list[str]
) -> None:
    folder, seconds_of = archive
    source, output = ceph_s3.location.join("in"), ceph_s3.location.join("out")
    s3.filesystem().put(f"{folder}/", f"{source.path}/", recursive=True)
    process = start("score", source.url, output.url, *OFTEN)
    wait_until_under_way(process, output)
    administer(ceph_s3, revoke)
    try:
        answer = finish(process)
    finally:
        administer(ceph_s3, restore)
    assert_stopped(answer, output, len(seconds_of))
    answer = ser("score", source.url, output.url)
    assert answer.code == 0, answer.err
    assert_exact(output, seconds_of)


def administer(server: S3Server, command: list[str]) -> None:
    if server.folder is None:
        pytest.skip("the S3 server is not started by these tests: its users cannot be changed")
    environment = os.environ | {"CEPH_CONF": str(server.folder / "ceph.conf")}
    words = ["radosgw-admin", "-n", "client.admin", *command, "--uid=test"]
    subprocess.run(words, check=True, capture_output=True, env=environment, timeout=120)
