"""Results in order, and bounds on what is begun."""

from concurrent.futures import Future
from itertools import islice

from ser_core.ordered import in_order


class _Work:
    """Futures that finish only when they are waited for; notes how much is begun at most."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.most = 0
        self.futures: list[Future[int]] = []

    def submit(self, item: int) -> "Future[int]":
        self.begun.append(item)
        work = self

        class Lazy(Future[int]):
            def result(self, timeout: float | None = None) -> int:
                work.most = max(work.most, len(work.begun))
                work.begun.remove(item)
                return item

        self.futures.append(Lazy())
        return self.futures[-1]


def test_order_and_number_in_flight() -> None:
    work = _Work()
    assert list(in_order(range(100), work.submit, max_in_flight=7)) == list(range(100))
    assert work.most == 7


def test_weight_in_flight() -> None:
    work = _Work()
    results = in_order([1, 1, 50, 1, 1, 1, 1, 1], work.submit, max_in_flight=64, weigh=lambda item: item, max_weight=3)
    assert list(results) == [1, 1, 50, 1, 1, 1, 1, 1]
    assert work.most == 3


def test_items_are_taken_only_as_needed() -> None:
    work = _Work()
    items = iter(range(1000))
    assert list(islice(in_order(items, work.submit, max_in_flight=4), 3)) == [0, 1, 2]
    assert next(items) < 10


def test_what_is_begun_is_cancelled() -> None:
    work = _Work()
    results = in_order(range(10), work.submit, max_in_flight=4)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert all(future.cancelled() for future in work.futures[1:])
