"""Runs `ser` as if on another machine: `python -m tests.support.as_host HOST [.../ser] ARGUMENTS`."""

import sys
from functools import partialmethod

import pytest

from ser_core.storage.lock import Lock


def lock_as(host: str, patch: pytest.MonkeyPatch) -> None:
    """Every lock that this process takes from now on is of that host."""
    patch.setattr(Lock, "__init__", partialmethod(Lock.__init__, host=host))


if __name__ == "__main__":
    from jobs.cli import main

    lock_as(sys.argv[1], pytest.MonkeyPatch())
    del sys.argv[1:3]
    main()
