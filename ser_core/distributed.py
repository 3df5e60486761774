"""The processes that train one model together: who they are, and what they send one another.

Alone, nothing is sent. Together they are torch's default process group, which must take CPU tensors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from ser_core.errors import SerError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ProcessGroup:
    """One worker's rank among those of a training; their collectives, which all of them must call."""

    rank: int = 0
    size: int = 1
    #: Rank among the workers of the same machine, who share its caches.
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_rank_0(self) -> bool:
        """Whether this worker writes what all have found."""
        return self.rank == 0

    def shard_of(self, num_items: int) -> slice:
        """This worker's part of the items that all divide: consecutive, and as large as the others' but for one."""
        start, end = (num_items * rank // self.size for rank in (self.rank, self.rank + 1))
        return slice(start, end)

    def all_reduce(self, value: Tensor) -> Tensor:
        """The sum of everyone's CPU tensor, in its place."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value

    def broadcast(self, compute: Callable[[], T]) -> T:
        """What `compute` gives on rank 0, the only worker that calls it, on every worker.

        Raises:
            SerError: `compute` raised one, which every worker then raises: none waits for what rank 0 no longer does.
        """
        if self.size == 1:
            return compute()
        sent: list[Any] = [None, None]
        if self.is_rank_0:
            try:
                sent[0] = compute()
            except SerError as error:
                sent[1] = error
        distributed.broadcast_object_list(sent, 0, device=torch.device("cpu"))
        if sent[1] is not None:
            raise sent[1]
        return sent[0]  # type: ignore[no-any-return]

    def together(self, work: Callable[[], None]) -> None:
        """Do `work` on every worker; returns when all have done it.

        Raises:
            SerError: `work` raised one on some worker; every worker then raises that of the lowest rank.
        """
        if self.size == 1:
            work()
            return
        own: SerError | None = None
        try:
            work()
        except SerError as error:
            own = error
        errors: list[SerError | None] = [None] * self.size
        distributed.all_gather_object(errors, own)
        if first := next(filter(None, errors), None):
            raise first

    def barrier(self) -> None:
        """Wait until all workers have come here."""
        self.all_reduce(torch.zeros(1))


ALONE = ProcessGroup()


def world_size() -> int:
    """How many processes train one model together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def all_reduce_sum(value: Tensor) -> Tensor:
    """The sum of what all workers give, which must be of one shape; every worker must take part."""
    if world_size() == 1:
        return value
    summed: Tensor = _Sum.apply(value)
    return summed


class _Sum(torch.autograd.Function):
    """What depends on the sum in any worker comes back as its gradient in every one."""

    @staticmethod
    def forward(_context: Any, value: Tensor) -> Tensor:
        summed = value.clone()
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].clone()
        distributed.all_reduce(summed)
        return summed
