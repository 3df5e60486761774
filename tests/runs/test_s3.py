"""`ser score` from a bucket into a bucket: moto's server in the ordinary suite, a real one in the heavy one."""

import json
import os
import subprocess
import time
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from ser_core.storage.location import Location, list_files, put, read
from tests.conftest import S3Server
from tests.support.archive import assert_same_predictions, expected_keys, keys, num_windows, write_archive, write_clip
from tests.support.cli import assert_one_line, finish, predictions, ser, ser_here, start
from tests.support.run_control import kill_at_five_moments, num_committed, wait_for


def upload(folder: Path, to: Location) -> None:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            put(to.join(str(file.relative_to(folder))), file.read_bytes())


def rows(output: Location) -> pa.Table:
    return predictions(output.url, output.delta_options())


def assert_complete(output: Location, expected: pa.Table) -> None:
    """The answers are the expected ones, and no part lies in the bucket that the tables do not name."""
    assert_same_predictions(rows(output), expected)
    assert json.loads(read(output.join("run.json")))["state"] == "complete"
    for name in ("predictions", "files"):
        table = DeltaTable(output.join(name).url, storage_options=output.delta_options())
        live = {uri.rsplit("/", 1)[-1] for uri in table.file_uris()}
        lying = [path for path, _ in list_files(output.join(name)) if not path.startswith("_delta_log/")]
        assert {path.rsplit("/", 1)[-1] for path in lying} == live


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("archive")
    return folder, write_archive(folder, 24)


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.heavy])])
def test_a_bucket_is_scored_into_a_bucket_and_again(
    request: pytest.FixtureRequest,
    engine: str,
    moto_s3: S3Server,
    archive: tuple[Path, dict[str, float]],
    tmp_path: Path,
) -> None:
    run = ser_here if engine == "local" else request.getfixturevalue("cluster").ser
    folder, seconds_of = archive
    seconds_of = dict(seconds_of)
    source, output = moto_s3.location.join("in"), moto_s3.location.join("out")
    upload(folder, source)
    put(Location(f"{source}/a/"), b"")
    command = ("score", source.url, output.url, "--output-mode", "json", "--cpus", "1")
    answer = run(*command, "--verbose")
    assert answer.code == 0, answer.err
    assert keys(rows(output)) == expected_keys(seconds_of)
    written = [answer.out, answer.err, *(read(output.join(path)).decode("latin-1") for path, _ in list_files(output))]
    assert not any(os.environ["AWS_SECRET_ACCESS_KEY"] in text for text in written)

    again = ser_here(*command)
    assert (again.code, again.data["skipped"], again.data["windows"]) == (0, 24, 0)

    write_clip(tmp_path / "in" / "new.wav", 4.0, 1)
    write_clip(tmp_path / "in" / sorted(seconds_of)[0], 7.0, 2)
    seconds_of |= {"new.wav": 4.0, sorted(seconds_of)[0]: 7.0}
    upload(tmp_path / "in", source)
    grown = run(*command)
    assert (grown.code, grown.data["skipped"], grown.data["windows"]) == (0, 23, num_windows(4.0) + num_windows(7.0))
    assert keys(rows(output)) == expected_keys(seconds_of)
    assert ser_here("verify", output.url).code == 0


def test_a_missing_bucket_is_one_line(moto_s3: S3Server, tmp_path: Path) -> None:
    assert_one_line(ser_here("score", "s3://no-such-bucket/in", tmp_path / "out"), 1, "no-such-bucket")
    write_clip(tmp_path / "in" / "a.wav", 1.0, 0)
    assert_one_line(ser_here("score", tmp_path / "in", "s3://no-such-bucket/out"), 1, "no-such-bucket")


def test_an_endpoint_where_nobody_answers_is_one_line(moto_s3: S3Server, tmp_path: Path) -> None:
    answer = ser_here(
        "score", moto_s3.location.url, tmp_path / "out", AWS_ENDPOINT_URL="http://127.0.0.1:9", SER_S3_RETRY_SECONDS="2"
    )
    assert_one_line(answer, 1, moto_s3.bucket)


@pytest.mark.heavy
def test_wrong_credentials_are_one_line_without_them(ceph_s3: S3Server, tmp_path: Path) -> None:
    write_clip(tmp_path / "in" / "a.wav", 1.0, 0)
    wrong = {"AWS_SECRET_ACCESS_KEY": "wrong-secret-of-mine"}
    for source, output in ((ceph_s3.location.url, tmp_path / "out"), (tmp_path / "in", ceph_s3.location.join("o").url)):
        answer = ser("score", source, output, **wrong)
        assert_one_line(answer, 1, ceph_s3.bucket)
        assert "wrong-secret-of-mine" not in answer.err


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pa.Table]:
    """A larger archive and the answers of an undisturbed local run."""
    folder = tmp_path_factory.mktemp("large")
    write_archive(folder / "in", 120)
    answer = ser_here("score", folder / "in", folder / "out")
    assert answer.code == 0, answer.err
    return folder / "in", predictions(folder / "out")


def begin(source: Location, output: Location) -> subprocess.Popen[str]:
    """A run that has committed some files."""
    process = start("score", source.url, output.url, "--commit-seconds", "0.5")
    wait_for(lambda: num_committed(output.url, output.delta_options()) > 0, process)
    return process


@pytest.mark.heavy
def test_a_run_over_s3_killed_at_five_moments_goes_on(ceph_s3: S3Server, large: tuple[Path, pa.Table]) -> None:
    folder, expected = large
    source, output = ceph_s3.location.join("in"), ceph_s3.location.join("out")
    upload(folder, source)
    kill_at_five_moments(source.url, output.url)
    answer = ser_here("score", source.url, output.url)
    assert answer.code == 0, answer.err
    assert_complete(output, expected)


@pytest.mark.heavy
@pytest.mark.parametrize(("away", "back", "seconds"), [("stop", "start", 3), ("pause", "continue", 10)])
def test_a_gateway_that_goes_away_and_comes_back_costs_nothing(
    ceph_s3: S3Server, large: tuple[Path, pa.Table], away: str, back: str, seconds: float
) -> None:
    folder, expected = large
    source, output = ceph_s3.location.join("in"), ceph_s3.location.join("out")
    upload(folder, source)
    process = begin(source, output)
    ceph_s3.gateway(away)
    time.sleep(seconds)
    ceph_s3.gateway(back)
    answer = finish(process)
    assert answer.code == 0, answer.err
    assert_complete(output, expected)
