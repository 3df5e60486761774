"""Comes between the tables and everything they touch, so that a test can break in before and after each operation."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from deltalake import DeltaTable
from deltalake.table import TableAlterer

from ser_core import storage
from ser_core.storage import local as local_files

WRITES = (
    (storage, "put"),
    (storage, "put_new"),
    (storage, "delete"),
    # A kill here leaves the temporary file.
    (local_files, "_write_temporary"),
    (DeltaTable, "create"),
    (DeltaTable, "create_write_transaction"),
    (TableAlterer, "set_table_description"),
    (TableAlterer, "add_columns"),
)
READS = (
    (storage, "read"),
    (storage, "list_files"),
    (DeltaTable, "update_incremental"),
    (DeltaTable, "__init__"),
)


class Killed(BaseException):
    """Stands for a kill: no handler of errors sees it."""


class InjectedError(Exception):
    """Stands for an error of one operation."""


class Interposer:
    """Numbers the points before and after each operation, and calls `at_point` there."""

    def __init__(self, at_point: Callable[[int, str], None]) -> None:
        self.num_points = 0
        self._at_point = at_point
        self._is_inside = False

    @contextmanager
    def active(self, *operations: tuple[Any, str]) -> Iterator[None]:
        """Come between for as long as this is open."""
        with pytest.MonkeyPatch.context() as patch:
            for owner, name in operations:
                patch.setattr(owner, name, self._between(owner, name))
            yield

    def _between(self, owner: Any, name: str) -> Any:
        original = getattr(owner, name)

        @functools.wraps(original)
        def operation(*args: Any, **kwargs: Any) -> Any:
            self._reach(f"before {name}")
            result = original(*args, **kwargs)
            self._reach(f"after {name}")
            return result

        return operation

    def _reach(self, name: str) -> None:
        # What a test does at a point may itself touch tables.
        if self._is_inside:
            return
        self._is_inside = True
        try:
            point = self.num_points
            self.num_points += 1
            self._at_point(point, name)
        finally:
            self._is_inside = False
