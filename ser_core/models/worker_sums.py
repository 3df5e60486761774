"""Sums over the workers of a training, wherever they run; alone, there is nothing to add."""

from typing import Any

import torch
from torch import Tensor, distributed


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
