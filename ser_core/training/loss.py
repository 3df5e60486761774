"""How wrong logits are.

Shape letters: B windows, K classifiers, C labels.
"""

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from ser_core.training.config import Distillation
from ser_core.training.data import Batch


def loss_of_windows(logits: Tensor, batch: Batch, distillation: Distillation) -> Tensor:
    """Of each window (B,), the cross-entropy of its target, and of what the teachers said where there are any.

    Args:
        logits: (B, C), or of several classifiers (B, K, C): each is judged by itself, and their mean is the loss.
        batch: what was heard.
        distillation: how the teachers count.
    """
    answers = logits.unbind(dim=1) if logits.dim() == 3 else (logits,)
    return torch.stack([_loss(logits_BC, batch, distillation) for logits_BC in answers]).mean(dim=0)


def _loss(logits_BC: Tensor, batch: Batch, distillation: Distillation) -> Tensor:
    loss_B = cross_entropy(logits_BC, batch.target_BC, batch.absent_BC)
    if batch.teacher_BC is None:
        return loss_B
    temperature, weight = distillation.temperature, distillation.weight
    # Gradients shrink by the square of the temperature (Hinton et al. 2015, arXiv 1503.02531, section 2).
    taught_B = temperature**2 * divergence(logits_BC / temperature, batch.teacher_BC)
    return (1 - weight) * loss_B + weight * taught_B


def cross_entropy(logits_BC: Tensor, target_BC: Tensor, absent_BC: Tensor) -> Tensor:
    """Of each window (B,), over the labels that are not absent."""
    log_BC = log_softmax(logits_BC.masked_fill(absent_BC, float("-inf")), dim=1)
    return -(target_BC * log_BC.masked_fill(absent_BC, 0.0)).sum(dim=1)


def divergence(logits_BC: Tensor, target_BC: Tensor) -> Tensor:
    """Of each window (B,), Kullback and Leibler's, of the answer from the target (probabilities)."""
    gap_BC = target_BC.clamp(min=1e-12).log() - log_softmax(logits_BC, dim=1)
    return (target_BC * gap_BC).sum(dim=1)
