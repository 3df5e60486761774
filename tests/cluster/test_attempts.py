import os
import signal
from collections.abc import Iterator

import psutil
import pytest
import ray

from cluster.attempts import AttemptNotes, Attempts, SharedAttempts


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(params=["in this process", "shared"])
def attempts(request: pytest.FixtureRequest, ray_here: None) -> AttemptNotes:
    return Attempts() if request.param == "in this process" else SharedAttempts()


def test_a_block_that_ended_may_come_again(attempts: AttemptNotes) -> None:
    assert attempts.begin_block(["a", "b"])
    attempts.end_block(["a", "b"])
    assert attempts.begin_block(["a", "b"])


def test_a_block_that_did_not_end_is_known_by_each_of_its_files_however_they_are_cut(attempts: AttemptNotes) -> None:
    assert attempts.begin_block(["a", "b", "c"])
    assert not attempts.begin_block(["a", "b", "c"])
    assert not attempts.begin_block(["c", "d"])
    assert not attempts.begin_block(["b"])
    assert attempts.begin_block(["e"])


def test_files_are_counted_by_themselves(attempts: AttemptNotes) -> None:
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


def test_loaders_share_their_notes(ray_here: None) -> None:
    attempts = SharedAttempts()

    @ray.remote(num_cpus=0)
    def begin(notes: SharedAttempts) -> bool:
        return notes.begin_block(["a"])

    assert [ray.get(begin.remote(attempts)) for _ in range(2)] == [True, False]


def test_a_lost_counter_counts_anew(ray_here: None) -> None:
    attempts = SharedAttempts()
    attempts.begin_block(["a"])
    [counter] = [
        child for child in psutil.Process().children(recursive=True) if child.name() == "ray::Attempts"
        and child.pid == ray.get(attempts._actor.__ray_call__.remote(lambda _: os.getpid()))
    ]  # fmt: skip
    counter.send_signal(signal.SIGKILL)
    counter.wait(20)
    assert attempts.begin_block(["a"])
    assert attempts.begin_file("a") == 1
