"""The processes that train one model together: who they are, and what they tell one another.

Alone, nothing is sent. Together they are torch's default process group, which must take CPU tensors.
"""

from dataclasses import dataclass

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
