"""Many small waits at once, results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    items: Iterable[Item],
    submit: Callable[[Item], Future[Result]],
    *,
    max_in_flight: int,
    weigh: Callable[[Item], int] = lambda _: 0,
    max_weight: int = 0,
) -> Iterator[Result]:
    """The results of `submit` in the order of the items, started ahead of the one that is waited for.

    At most `max_in_flight` are begun and not taken, and they weigh at most `max_weight` together, unless one alone
    weighs more. What is begun is cancelled when the caller stops early.
    """
    begun: deque[tuple[Future[Result], int]] = deque()
    total_weight = 0
    try:
        for item in items:
            weight = weigh(item)
            while begun and (len(begun) >= max_in_flight or total_weight + weight > max_weight):
                future, taken = begun.popleft()
                yield future.result()
                total_weight -= taken
            begun.append((submit(item), weight))
            total_weight += weight
        while begun:
            yield begun.popleft()[0].result()
    finally:
        for future, _ in begun:
            future.cancel()
