"""Features of unlike scales -> about mean 0 and deviation 1, by constants that are learned while a model trains.

Shape letters: B windows, P features.
"""

import torch
from torch import Tensor, nn

from ser_core.distributed import all_reduce_sum

_MOMENTUM = 0.1
_EPSILON = 1e-6


class Standardise(nn.Module):
    """Features (B, P) less their running mean, over their running deviation.

    In training every batch (of all workers) first moves the two, the earliest ones more; no gradient goes through
    them. Unlike batch normalisation it takes a batch of one window, and does the same in training as in scoring.
    """

    mean_P: Tensor
    variance_P: Tensor
    num_batches: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("mean_P", torch.zeros(num_features))
        self.register_buffer("variance_P", torch.ones(num_features))
        self.register_buffer("num_batches", torch.tensor(0))

    def forward(self, features_BP: Tensor) -> Tensor:
        features_BP = features_BP.to(self.mean_P.dtype)
        if self.training:
            self._track(features_BP.detach())
        return (features_BP - self.mean_P) * (self.variance_P + _EPSILON).rsqrt()

    def _track(self, features_BP: Tensor) -> None:
        sums = all_reduce_sum(torch.cat([features_BP.sum(dim=0), features_BP.new_tensor([len(features_BP)])]))
        mean_P, count = sums[:-1] / sums[-1], sums[-1]
        squares_P = all_reduce_sum((features_BP - mean_P).square().sum(dim=0))
        self.num_batches += 1
        momentum = (1.0 / self.num_batches).clamp(min=_MOMENTUM).to(mean_P)
        self.mean_P.lerp_(mean_P, momentum)
        # A single window has no deviation.
        self.variance_P.lerp_(squares_P / (count - 1).clamp(min=1.0), momentum * (count > 1))
