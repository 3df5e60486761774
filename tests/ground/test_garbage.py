"""When Python looks for garbage."""

import gc
import weakref

from ser_core.garbage import loading, set_aside


class Own:
    """Points at itself."""

    def __init__(self) -> None:
        self.me = self


def test_nobody_looks_while_modules_are_loaded() -> None:
    with loading():
        assert not gc.isenabled()
        with loading():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_is_set_aside_is_looked_through_again_afterwards() -> None:
    before = Own()
    earlier = weakref.ref(before)
    with set_aside():
        made = weakref.ref(Own())
        del before
        gc.collect()
        assert made() is None
        assert earlier() is not None
    gc.collect()
    assert earlier() is None
