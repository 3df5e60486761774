"""Notes on what loaders are at: in this process, and shared by the loaders of a run on Ray."""

import os
import signal
from collections.abc import Iterator

import psutil
import pytest
import ray

from cluster.ray_pipeline import SharedAttempts
from cluster.stages import Attempts
from tests.support.ray_cluster import on_ray


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(params=["in this process", on_ray()])
def attempts(request: pytest.FixtureRequest) -> Attempts:
    if request.param == "in this process":
        return Attempts()
    request.getfixturevalue("ray_here")
    return SharedAttempts()


def test_a_block_that_ended_may_come_again(attempts: Attempts) -> None:
    assert attempts.begin_block(["a", "b"])
    attempts.end_block(["a", "b"])
    assert attempts.begin_block(["a", "b"])


def test_a_block_that_did_not_end_is_known_by_each_of_its_files_however_they_are_cut(attempts: Attempts) -> None:
    assert attempts.begin_block(["a", "b", "c"])
    assert not attempts.begin_block(["a", "b", "c"])
    assert not attempts.begin_block(["c", "d"])
    assert not attempts.begin_block(["b"])
    assert attempts.begin_block(["e"])


def test_files_are_counted_by_themselves(attempts: Attempts) -> None:
    attempts.begin_block(["a", "b"])
    assert [attempts.begin_file("a") for _ in range(3)] == [1, 2, 3]
    assert attempts.begin_file("b") == 1
    attempts.end_file("b")
    attempts.end_block(["a", "b"])
    assert (attempts.begin_file("a"), attempts.begin_file("b")) == (4, 1)


def test_what_is_done_is_forgotten() -> None:
    attempts = Attempts()
    for number in range(100):
        attempts.begin_block([f"{number}"])
        attempts.begin_file(f"{number}")
        attempts.end_file(f"{number}")
        attempts.end_block([f"{number}"])
    assert not any(vars(attempts).values())


@pytest.mark.ray
def test_loaders_share_their_notes(ray_here: None) -> None:
    attempts = SharedAttempts()

    @ray.remote(num_cpus=0)
    def begin(notes: SharedAttempts) -> bool:
        return notes.begin_block(["a"])

    assert [ray.get(begin.remote(attempts)) for _ in range(2)] == [True, False]


@pytest.mark.ray
def test_a_lost_counter_counts_anew(ray_here: None) -> None:
    attempts = SharedAttempts()
    attempts.begin_block(["a"])
    counter = psutil.Process(ray.get(attempts._actor.__ray_call__.remote(lambda _: os.getpid())))
    assert counter.name() == "ray::Attempts"
    counter.send_signal(signal.SIGKILL)
    psutil.wait_procs([counter], timeout=20)
    assert attempts.begin_block(["a"])
    assert attempts.begin_file("a") == 1
