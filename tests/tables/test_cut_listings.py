"""A run whose output is in a bucket, where listings of the tables' logs are cut off now and then."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from ser_core.tables.checks.verification import verify
from tests.conftest import S3Server
from tests.support.cli import assert_one_line, ser_here
from tests.support.flaky_s3 import S3Fault, Way, clients_behind_proxy

TABLES = ("predictions", "embeddings", "files")


@pytest.mark.heavy
@pytest.mark.parametrize("way", ["half_a_body", "short", "empty"])
def test_listings_that_are_cut_off_are_asked_for_again(
    moto_s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    num_listings: Counter[str] = Counter()

    def one_in_four(method: str, path: str) -> bool:
        if method != "GET" or "list-type=2" not in path:
            return False
        table = next((name for name in TABLES if name in path), "")
        num_listings[table] += 1
        return num_listings[table] % 4 == 1

    output = moto_s3.location.join("out")
    source = tmp_path / "in"
    source.mkdir()
    with clients_behind_proxy(moto_s3.endpoint_url, monkeypatch, [S3Fault(one_in_four, way)]):
        # The second run takes rows away, joins parts and deletes what it has replaced.
        for new in ({"a": "calm-woman", "b": "sad-woman"}, {"a": "angry-woman", "c": "happy-woman"}):
            for name, example in new.items():
                shutil.copyfile(f"examples/{example}.flac", source / f"{name}.flac")
            answer = ser_here("score", source, str(output), "--embeddings")
            assert answer.code == 0, answer.err
        assert min(num_listings[table] for table in TABLES) > 4, num_listings
        verified = verify(output)
    assert verified.findings == ()
    assert (verified.files, verified.windows) == (3, 3)


def test_listings_that_are_always_cut_off_end_the_run_in_one_line(
    moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ser_here("score", "examples/calm-woman.flac", f"{moto_s3.location}/out").code == 0
    monkeypatch.setenv("SER_S3_RETRY_SECONDS", "0.3")
    fault = S3Fault(lambda method, path: method == "GET" and "delta_log" in path and "list-type" in path, "half_a_body")
    with clients_behind_proxy(moto_s3.endpoint_url, monkeypatch, [fault]):
        answer = ser_here("score", "examples/calm-woman.flac", f"{moto_s3.location}/out")
    assert_one_line(answer, 1, f"{moto_s3.location}/out", "the service's answers are cut off; check the network")
