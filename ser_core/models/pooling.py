"""Steps over time -> one vector a window.

Shape letters: B windows, S steps, H features.
"""

import torch
from torch import Tensor

#: Keeps the root's gradient finite where nothing moves.
_MIN_VARIANCE = 1e-6


def weighted_statistics(steps_SH: Tensor, weights_S1: Tensor) -> Tensor:
    """Mean and standard deviation over the steps of (..., S, H), in float32 or better: (..., 2H).

    Args:
        steps_SH: the steps.
        weights_S1: what each counts, (..., S, 1) or what goes with `steps_SH`; at least one is above 0.
    """
    # Not under autocast: a variance is a small difference of large numbers.
    with torch.autocast(steps_SH.device.type, enabled=False):
        steps_SH = steps_SH.to(torch.promote_types(steps_SH.dtype, torch.float32))
        weights_S1 = weights_S1.to(steps_SH.dtype)
        weights_1S = (weights_S1 / weights_S1.sum(dim=-2, keepdim=True)).transpose(-1, -2)
        mean_H = (weights_1S @ steps_SH).squeeze(-2)
        variance_H = (weights_1S @ steps_SH.square()).squeeze(-2) - mean_H.square()
        return torch.cat([mean_H, variance_H.clamp(min=_MIN_VARIANCE).sqrt()], dim=-1)


def attentive_statistics(steps_BSH: Tensor, scores_BS1: Tensor) -> Tensor:
    """Mean and standard deviation over the steps, weighted by the softmax of their scores: (B, 2H).

    Okabe et al. 2018 (arXiv 1803.10963).
    """
    return weighted_statistics(steps_BSH, scores_BS1.softmax(dim=1))
