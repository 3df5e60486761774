"""What a training says that lost a part of Ray, and which news a signal wins over."""

import threading
from contextlib import nullcontext
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError

from cluster.train import TrainResources, train
from ser_core.errors import InterruptedRunError, SerError


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_signal_wins_over_the_queue_that_it_ended(monkeypatch: pytest.MonkeyPatch, is_stopped: bool) -> None:
    """A signal to all processes may end the queue while the command waits for it."""
    stop = threading.Event()

    class LostQueue:
        def __init__(self, **_: Any) -> None:
            pass

        def get(self, **_: Any) -> None:
            if is_stopped:
                stop.set()
            raise ActorUnavailableError("The actor is unavailable: RPC error: Socket closed", None)

    class Fit:
        is_over = threading.Event()

    monkeypatch.setattr("ray.util.queue.Queue", LostQueue)
    monkeypatch.setattr("cluster.train._fitting", lambda *_: nullcontext(Fit()))
    resources = TrainResources(device="cpu", num_workers=1, cpus_per_worker=1.0)
    with pytest.raises(SerError) as raised:
        train(None, resources, lambda _: None, stop)  # type: ignore[arg-type]
    if is_stopped:
        assert type(raised.value) is InterruptedRunError
        assert str(raised.value) == "stopped; every epoch that ended is saved; run the same command to go on"
    else:
        assert "its message queue was lost: ActorUnavailableError)" in str(raised.value)
