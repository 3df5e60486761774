"""The processes that train one model together: who they are, and what they tell one another.

Alone, nothing is sent. Together they are torch's default process group, which must take CPU tensors.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed


@dataclass(frozen=True, kw_only=True)
class Team:
    """One worker's place among the workers of a training."""

    rank: int = 0
    size: int = 1
    #: Among the workers of the same machine, who share its caches.
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_leader(self) -> bool:
        """Whether this one writes what all have found."""
        return self.rank == 0

    def share_of(self, num_items: int) -> slice:
        """This worker's part of what all divide: consecutive, and as large as the others' but for one."""
        start, end = (num_items * rank // self.size for rank in (self.rank, self.rank + 1))
        return slice(start, end)

    def sum_up(self, value: Tensor) -> Tensor:
        """The sum of everyone's CPU tensor, in its place."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value

    def wait(self) -> None:
        """Until all have come here."""
        self.sum_up(torch.zeros(1))

    def from_leader(self, data: bytes | None) -> bytes | None:
        """What the leader has; what the others give is not looked at."""
        if self.size == 1:
            return data
        size = torch.tensor([-1 if data is None or not self.is_leader else len(data)])
        distributed.broadcast(size, 0)
        if size.item() < 0:
            return None
        content = torch.frombuffer(bytearray(data or b"-"), dtype=torch.uint8)
        if not self.is_leader:
            content = torch.empty(int(size.item()), dtype=torch.uint8)
        distributed.broadcast(content, 0)
        return content.numpy().tobytes()


ALONE = Team()


def num_workers() -> int:
    """How many processes train one model together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def total(value: Tensor) -> Tensor:
    """The sum of what all workers give, which must be of one shape; every worker must take part."""
    if num_workers() == 1:
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
