"""Steps over time -> one vector a window.

Shape letters: B windows, S steps, H features.
"""

import torch
from torch import Tensor

#: Keeps the root's gradient finite where nothing moves.
_MIN_VARIANCE = 1e-6


def statistics(steps_SH: Tensor) -> Tensor:
    """Mean and standard deviation over the steps of (..., S, H): (..., 2H), in float32 or better."""
    mean_H = steps_SH.mean(dim=-2, dtype=torch.promote_types(steps_SH.dtype, torch.float32))
    variance_H = (steps_SH - mean_H.unsqueeze(-2)).square().mean(dim=-2)
    return torch.cat([mean_H, variance_H.clamp(min=_MIN_VARIANCE).sqrt()], dim=-1)


def attentive_statistics(steps_BSH: Tensor, scores_BS1: Tensor) -> Tensor:
    """Mean and standard deviation over the steps, weighted by the softmax of their scores: (B, 2H).

    Okabe et al. 2018 (arXiv 1803.10963).
    """
    weights_BS1 = scores_BS1.softmax(dim=1)
    mean_BH = (weights_BS1 * steps_BSH).sum(dim=1)
    variance_BH = (weights_BS1 * (steps_BSH - mean_BH.unsqueeze(1)).square()).sum(dim=1)
    return torch.cat([mean_BH, variance_BH.clamp(min=_MIN_VARIANCE).sqrt()], dim=1)
