"""What one commit to one table is: whose it is, what it changes, and how deltalake is told."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.transaction import AddAction, RemoveAction

from ser_core.tables.log_files import PREDECESSOR, TOKEN
from ser_core.tables.parts import Part

#: The application transactions of a stamp.
_OWNER, _COMMIT = "ser/owner", "ser/commit"


@dataclass(frozen=True)
class Stamp:
    """What every commit carries: the number of the run that owns the table, and the number of the commit."""

    owner: int
    commit: int

    @classmethod
    def of(cls, table: DeltaTable) -> Self:
        """What the newest commit of a table carried; 0 where nobody has written yet."""
        return cls(table.transaction_version(_OWNER) or 0, table.transaction_version(_COMMIT) or 0)


@dataclass(frozen=True)
class Change:
    """Parts that come and parts that go, at once; `moves_rows` only: the same rows in other parts."""

    adds: tuple[Part, ...] = ()
    removes: tuple[Part, ...] = ()
    moves_rows: bool = False

    @classmethod
    def between(cls, now: Sequence[Part], then: Sequence[Part]) -> Self:
        """What turns the parts of now into other ones."""
        paths_now, paths_then = ({part.path for part in parts} for parts in (now, then))
        return cls(
            adds=tuple(part for part in then if part.path not in paths_now),
            removes=tuple(part for part in now if part.path not in paths_then),
        )

    def to_actions(self, partition_column: str) -> list[AddAction | RemoveAction]:
        """What deltalake commits it by, as of now."""
        now_ms = int(time.time() * 1000)
        return [
            *(
                AddAction(
                    part.path,
                    part.num_bytes,
                    {partition_column: part.partition},
                    now_ms,
                    not self.moves_rows,
                    part.stats,
                )
                for part in self.adds
            ),
            *(
                RemoveAction(part.path, not self.moves_rows, now_ms, part.num_bytes, {partition_column: part.partition})
                for part in self.removes
            ),
        ]


class OutrunError(Exception):
    """Someone else committed since the state was looked at."""


def commit_properties(stamp: Stamp, token: str, predecessor: str, *others: Transaction) -> CommitProperties:
    """A commit that becomes the next version or nothing, and says whose it is and which entry it follows."""
    return CommitProperties(
        custom_metadata={TOKEN: token, PREDECESSOR: predecessor},
        max_commit_retries=0,
        app_transactions=[Transaction(_OWNER, stamp.owner), Transaction(_COMMIT, stamp.commit), *others],
    )
