"""What a training says that lost a part of Ray, and which news a signal wins over."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError

from cluster.train import TrainResources, follow, train
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
    monkeypatch.setattr("cluster.train._fitting", lambda *_: Fit())
    with pytest.raises(SerError, match=r"its message queue was lost: ActorUnavailableError\)"):
        list(train(None, TrainResources(device="cpu", num_workers=1, cpus_per_worker=1.0)))  # type: ignore[arg-type]


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
