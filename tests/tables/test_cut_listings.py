"""A run whose output is in a bucket, where listings of the tables' logs are cut off now and then."""

import random

import pytest

from tests.conftest import S3Server
from tests.support.cli import assert_one_line, ser_here
from tests.support.flaky_s3 import S3Fault, Way, clients_behind_proxy


@pytest.mark.heavy
@pytest.mark.parametrize("way", ["half_a_body", "short", "empty"])
def test_listings_that_are_cut_off_are_asked_for_again(
    moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    dice = random.Random(3)

    def one_in_six(method: str, path: str) -> bool:
        return method == "GET" and "list-type=2" in path and dice.randrange(6) == 0

    fault = S3Fault(one_in_six, way, times=1_000)
    with clients_behind_proxy(moto_s3.endpoint_url, monkeypatch, [fault]):
        answer = ser_here("score", "examples/calm-woman.flac", f"{moto_s3.location}/out")
        assert answer.code == 0, answer.err
        assert fault.times < 998


def test_listings_that_are_always_cut_off_end_the_run_in_one_line(
    moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ser_here("score", "examples/calm-woman.flac", f"{moto_s3.location}/out").code == 0
    monkeypatch.setenv("SER_S3_RETRY_SECONDS", "0.3")
    fault = S3Fault(lambda method, path: method == "GET" and "delta_log" in path and "list-type" in path, "half_a_body")
    with clients_behind_proxy(moto_s3.endpoint_url, monkeypatch, [fault]):
        answer = ser_here("score", "examples/calm-woman.flac", f"{moto_s3.location}/out")
    assert_one_line(answer, 1, f"{moto_s3.location}/out", "the service's answers are cut off; check the network")
