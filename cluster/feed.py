"""What comes from elsewhere, read in a thread: whoever waits for it can commit, and hear of signals, meanwhile."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ser_core.errors import SerError, one_line

_POLL_SECONDS = 0.2
#: Comes after the last item.
END = object()


class FeedError(Exception):
    """What comes broke off."""


@contextmanager
def feed(items: Iterator[Any]) -> Iterator[Callable[[float], Any]]:
    """Read `items` in a thread.

    Yields:
        A function of a time in seconds that gives the next item, None if there was none in that time, or END; it
        raises FeedError if they broke off, and what says itself what to do as it is.
    """
    waiting: queue.Queue[Any] = queue.Queue(maxsize=2)
    closed = threading.Event()

    def put(item: object) -> None:
        while not closed.is_set():
            try:
                waiting.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return

    def read() -> None:
        try:
            for item in items:
                put(item)
                if closed.is_set():
                    return
            put(END)
        except BaseException as error:
            put(error)

    def next_item(seconds: float) -> Any:
        try:
            item = waiting.get(timeout=seconds)
        except queue.Empty:
            return None
        if isinstance(item, SerError):
            raise item
        if isinstance(item, BaseException):
            raise FeedError(one_line(item)) from item
        return item

    threading.Thread(target=read, name="feed", daemon=True).start()
    try:
        yield next_item
    finally:
        closed.set()
