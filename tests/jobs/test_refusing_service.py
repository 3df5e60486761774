"""An S3 service that refuses what it is asked, or answers nonsense: one line, whichever verb asks."""

from pathlib import Path

import pytest

from ser_core import storage
from ser_core.storage import s3
from tests.conftest import S3Server
from tests.support.cli import assert_one_line, ser_here
from tests.support.flaky_s3 import S3Fault, clients_behind_proxy

COMMANDS = {
    "score a bucket": ["score", "{bucket}", "{tmp}/out"],
    "score an object": ["score", "{bucket}/a.wav", "{tmp}/out"],
    "score a list there": ["score", "{bucket}/list.txt", "{tmp}/out"],
    "score to a bucket": ["score", "examples", "{bucket}/out"],
    "model": ["models", "{bucket}/model"],
    "model of a run": ["score", "examples", "{tmp}/of-a-run", "--model", "{bucket}/model"],
    "model of a few": ["predict", "{tmp}/a.wav", "--model", "{bucket}/model"],
    "corpus": ["corpus", "ravdess", "{bucket}", "{tmp}/a.parquet"],
    "corpus csv": ["corpus", "csv", "{bucket}/a.csv", "{tmp}/a.parquet"],
    "manifest": ["evaluate", "compact", "{bucket}/a.parquet", "{tmp}/report"],
    "train": ["train", "{bucket}/a.parquet", "{tmp}/model"],
}


@pytest.mark.parametrize("status", [301, 400, 405, 409, 412])
def test_a_status_that_nobody_expects_is_one_line(
    moto_s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    with clients_behind_proxy(moto_s3.endpoint_url, monkeypatch, [S3Fault(lambda *_: True, (status, "NeverHeardOf"))]):
        for arguments in COMMANDS.values():
            answer = ser_here(*[word.format(bucket=moto_s3.location, tmp=tmp_path) for word in arguments])
            assert_one_line(answer, 1, str(moto_s3.location))
            assert "traceback" not in answer.err
            # The service's own words, and botocore's, say nothing to a person.
            assert not [words for words in ("An error occurred", "NeverHeardOf", "GetObject") if words in answer.err]
            assert str(status) in answer.err or "set AWS_DEFAULT_REGION" in answer.err


@pytest.mark.parametrize("name", ["SER_S3_RETRY_SECONDS", "SER_LOCK_BEAT_SECONDS", "SER_ZENODO_URL"])
@pytest.mark.parametrize("value", ["soon", "1e300", "-1", "\x1b[2J"])
def test_a_variable_of_the_environment_that_cannot_be_used_is_one_line_before_anything_is_done(
    moto_s3: S3Server, tmp_path: Path, name: str, value: str
) -> None:
    s3.forget()
    command = ["score", "examples", moto_s3.location.join("out").url]
    if name == "SER_ZENODO_URL":
        command = ["corpus", "ravdess", "--download", str(tmp_path / "out")]
    answer = ser_here(*command, **{name: value})
    s3.forget()
    assert_one_line(answer, 2, name)
    assert "\x1b" not in answer.err
    assert storage.list_files(moto_s3.location) == []
    assert not (tmp_path / "out").exists()
