"""When Python looks for objects that only point at each other: it takes a tenth of a second each time, with torch."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Import modules in here: what they make stays, and nobody looks through it meanwhile."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def set_aside() -> Iterator[None]:
    """Nothing that was there before is looked through in here."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
