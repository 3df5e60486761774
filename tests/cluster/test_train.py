"""What a training says that lost a part of Ray, and which news a signal wins over."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.train.v2.api.exceptions import WorkerGroupError
from ray.util.queue import Empty
from torch import distributed

from cluster.training import worker as train_worker
from cluster.training.train import TrainResources, follow, train
from ser_core.errors import InterruptedRunError, SerError
from ser_core.training.events import Event, FoldDone


def test_a_lost_queue_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class LostQueue:
        def __init__(self, **_: Any) -> None:
            pass

        def get(self, **_: Any) -> None:
            raise ActorUnavailableError("The actor is unavailable: RPC error: Socket closed", None)

    class Fit:
        is_over = threading.Event()

    monkeypatch.setattr("ray.util.queue.Queue", LostQueue)
    monkeypatch.setattr("cluster.training.train._fitting", lambda *_: Fit())
    with pytest.raises(SerError, match=r"its message queue was lost: ActorUnavailableError\)"):
        list(train(None, TrainResources(device="cpu", num_workers=1, cpus_per_worker=1.0)))  # type: ignore[arg-type]


def of_lost_peer(file: Path) -> RuntimeError:
    """What gloo says in one of two ranks when the other's connection closes."""
    groups: list[Any] = [None, None]

    def join(rank: int) -> None:
        store = distributed.FileStore(str(file), 2)
        groups[rank] = distributed.ProcessGroupGloo(store, rank, 2, timedelta(seconds=60))

    threads = [threading.Thread(target=join, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    waiting = groups[0].allreduce(torch.ones(1))
    groups[1] = None
    with pytest.raises(RuntimeError) as raised:
        waiting.wait()
    return raised.value


@pytest.mark.parametrize("others", [{}, {1: ActorDiedError()}])
def test_a_worker_that_lost_another_says_no_more_than_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: dict[int, Exception]
) -> None:
    """Which of them Ray asks first is chance, and what torch says of it is of sockets."""
    error = of_lost_peer(tmp_path / "meeting")
    with pytest.raises(train_worker.PeerLostError) as raised, train_worker.peers_named():
        raise error

    class Messages:
        def __init__(self, **_: Any) -> None:
            pass

        def get(self, **_: Any) -> None:
            raise Empty

    class Fit:
        is_over = threading.Event()
        error = WorkerGroupError("a worker failed", {0: raised.value} | others)

    Fit.is_over.set()
    monkeypatch.setattr("ray.util.queue.Queue", Messages)
    monkeypatch.setattr("cluster.training.train._fitting", lambda *_: Fit())
    expected = "worker 1: ActorDiedError" if others else "worker 0: PeerLostError"
    with pytest.raises(SerError, match=rf"^the training broke off \({expected}\); run the same command to go on$"):
        list(train(None, TrainResources(device="cpu", num_workers=2, cpus_per_worker=1.0)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SerError("Ray is gone: its raylet died"), r"^Ray is gone: its raylet died$"),
        (RuntimeError("nobody foresaw it"), r"^the training broke off \(nobody foresaw it\); run the same command"),
    ],
)
@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_signal_wins_over_what_it_ended(error: Exception, words: str, is_stopped: bool) -> None:
    """A signal to all processes may end a part of Ray while the command waits for it."""
    stop = threading.Event()
    seen: list[Event] = []

    def events() -> Iterator[Event | None]:
        yield FoldDone(0)
        yield None
        if is_stopped:
            stop.set()
        raise error

    with pytest.raises(SerError) as raised:
        follow(events(), seen.append, stop)
    if is_stopped:
        assert type(raised.value) is InterruptedRunError
        assert str(raised.value) == "stopped; every epoch that ended is saved; run the same command to go on"
    else:
        raised.match(words)
        assert seen == [FoldDone(0)]
