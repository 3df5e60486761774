"""`ser submit` to a cluster of one machine that asks for a token."""

import os
from pathlib import Path
from typing import Any

import pytest

import ser_core
from cluster.submit import follow
from ser_core.errors import SerError
from tests.support.archive import expected_keys, keys, write_archive
from tests.support.cli import assert_one_line, finish, predictions, ser, ser_here, start
from tests.support.dropping_proxy import DroppingProxy
from tests.support.processes import first_line, free_port
from tests.support.ray_cluster import RayCluster

BUNDLED = Path(ser_core.__file__).parent / "bundled" / "compact"


def test_a_job_is_followed_over_dropped_connections_to_its_exit_code(cluster: RayCluster, tmp_path: Path) -> None:
    seconds_of = write_archive(tmp_path / "in", 6)
    with DroppingProxy(int(cluster.dashboard.rpartition(":")[2])) as proxy:
        arguments = ["score", tmp_path / "in", tmp_path / "out", "--engine", "local"]
        process = start("submit", "--address", f"http://127.0.0.1:{proxy.port}", *arguments, **cluster.token)
        first = first_line(process)
        proxy.drop_all(after_log_of="weights under")
        answer = finish(process)
    assert answer.code == 0, answer.err + answer.out
    assert first.startswith("raysubmit_")
    assert proxy.num_dropped > 0
    assert answer.out.count("weights under") == 1
    assert "6 files: 6 scored" in answer.out
    assert keys(predictions(tmp_path / "out")) == expected_keys(seconds_of)


@pytest.mark.heavy
def test_paths_are_this_machines_and_the_named_cluster_is_taken(cluster: RayCluster, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "words.wav").write_text("no sound")
    (tmp_path / "score.yaml").write_text(f"model: {os.path.relpath(BUNDLED, tmp_path)}\n")
    # Would lead Ray elsewhere if --address did not win.
    elsewhere = {"RAY_ADDRESS": f"http://127.0.0.1:{free_port()}"}
    address = cluster.dashboard.removeprefix("http://")
    arguments = ["score", "--channels", "each", "in", "out", "--config", "score.yaml"]
    answer = ser("submit", "--address", address, *arguments, cwd=tmp_path, **cluster.token, **elsewhere)
    assert answer.code == 3, answer.err + answer.out
    assert (tmp_path / "out" / "run.json").exists()
    assert answer.err == ""


class LostDashboard:
    """Answers nothing."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def get_job_status(self, _: str) -> Any:
        raise self._error


@pytest.mark.parametrize("error", [ConnectionError("refused"), RuntimeError("Request failed with status code 502")])
def test_a_lost_dashboard_ends_the_following_with_what_to_do(error: Exception) -> None:
    client: Any = LostDashboard(error)
    words = "ray job logs --address http://127.0.0.1:8265 --follow raysubmit_1"
    with pytest.raises(SerError, match=words):
        follow(client, "raysubmit_1", "http://127.0.0.1:8265", patience_seconds=0.1)


REMOTE = "http://10.0.0.1:8265"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["score", "/a", "s3://c/d"], ["/a is a path of this machine", REMOTE]),
        (["score", "--channels", "each", "s3://a/b", "results"], ["results is a path of this machine"]),
        (["score", "s3://a/b", "s3://c/d", "--model", "mine"], ["mine is a path of this machine", "bundled model"]),
        (["score", "s3://a/b", "s3://c/d", "--config", "{config}"], ["score.yaml is a path of this machine"]),
        (["score", "s3://a/b", "s3://c/d", "--cpus", "none"], ["--cpus"]),
        (["score", "s3://a/b", "s3://c/d", "--cpus", "0"], ["--cpus"]),
        (["score", "s3://a/b", "s3://c/d", "--restart", "--dry-run"], ["--restart"]),
        (["score", "s3://a/b"], ["OUTPUT"]),
        (["score", "ftp://a/b", "s3://c/d"], ["ftp://"]),
    ],
)
def test_a_mistake_is_found_before_anything_is_sent(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    config = tmp_path / "score.yaml"
    config.write_text("channels: each\n")
    typed = [argument.format(config=config) for argument in arguments]
    assert_one_line(ser_here("submit", "--address", REMOTE, *typed), 2, *words)


@pytest.mark.parametrize("address", ["ray://127.0.0.1:1", "http://", "http://[::1", "http://127.0.0.1:99999"])
def test_an_address_that_is_no_dashboards_is_one_line(address: str) -> None:
    assert_one_line(ser_here("submit", "--address", address, "score", "/a", "/b"), 2, address, "http://127.0.0.1:8265")


def test_without_the_token_one_line_says_what_to_set(cluster: RayCluster, tmp_path: Path) -> None:
    submit = ("submit", "--address", cluster.dashboard, "score", "/a", "/b")
    tokens = ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 32})
    for process in [start(*submit, HOME=str(tmp_path), **token) for token in tokens]:
        assert_one_line(finish(process), 1, cluster.dashboard, "RAY_AUTH_TOKEN")


def test_where_no_dashboard_answers_one_line_says_so() -> None:
    for scheme in ("http://", ""):
        answer = ser_here("submit", "--address", f"{scheme}127.0.0.1:{free_port()}", "score", "/a", "/b")
        assert_one_line(answer, 1, "no Ray dashboard answers")
