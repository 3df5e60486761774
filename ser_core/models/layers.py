"""Layers that several architectures share: pooling over time, normalisation over all workers, a fitted regression.

Shape letters: B windows, C labels, D channels, F mel bands, H or P features, S steps.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ser_core.distributed import all_reduce_sum, world_size

#: Keeps the root's gradient finite where nothing moves.
_MIN_VARIANCE = 1e-6
_MOMENTUM = 0.1
_VARIANCE_EPSILON = 1e-6


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


def as_read(values: Tensor) -> Tensor:
    """What a linear layer reads of values: under autocast they are rounded here once, and not a second time by float16.

    For embeddings, outside of training; no prediction changes.
    """
    device = values.device.type
    if not torch.is_autocast_enabled(device):
        return values
    return values.to(torch.get_autocast_dtype(device)).to(values.dtype)


class BatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d`, but while several workers train, the statistics are of all their windows together.

    So two workers with a part of the batch each learn what one with the whole batch would; the parts may differ in
    size. Then every worker must take part in every step. Alone, and in evaluation mode, it is `nn.BatchNorm2d`.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, maps_BDFS: Tensor) -> Tensor:
        if not (self.training and world_size() > 1):
            return super().forward(maps_BDFS)
        # Under autocast maps are bf16, in which sums are no good.
        values_BDFS = maps_BDFS.to(self.running_mean.dtype)
        count = values_BDFS.new_full((1,), values_BDFS.numel() // values_BDFS.shape[1])
        sums = all_reduce_sum(torch.cat([values_BDFS.sum(dim=(0, 2, 3)), count]))
        mean_D, count = sums[:-1] / sums[-1], sums[-1]
        # Sums of squares would lose what a mean far from zero takes.
        deviation_BDFS = values_BDFS - mean_D[:, None, None]
        variance_D = all_reduce_sum(deviation_BDFS.square().sum(dim=(0, 2, 3))) / count
        self._track(mean_D.detach(), variance_D.detach() * count / (count - 1))
        scale_D = self.weight * (variance_D + self.eps).rsqrt()
        normed_BDFS: Tensor = deviation_BDFS * scale_D[:, None, None] + self.bias[:, None, None]
        return normed_BDFS.to(maps_BDFS.dtype)

    def _track(self, mean_D: Tensor, unbiased_variance_D: Tensor) -> None:
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean_D, self.momentum)
        self.running_var.lerp_(unbiased_variance_D, self.momentum)


def fold_batch_norms(model: nn.Module) -> None:
    """Put batch normalisations that follow a convolution into its weights, for evaluation alone.

    What a model says changes by rounding. `compact` takes a tenth less time in float32, in bf16 a few percent.
    """
    for layers in model.modules():
        if not isinstance(layers, nn.Sequential):
            continue
        for index, (first, second) in enumerate(pairwise(list(layers))):
            if isinstance(first, nn.Conv2d) and isinstance(second, BatchNorm):
                layers[index], layers[index + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
        for layer in layers:
            if isinstance(layer, nn.ReLU):
                layer.inplace = True


class Standardise(nn.Module):
    """Features (B, P) less their running mean, over their running deviation: about mean 0 and deviation 1 each.

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
        return (features_BP - self.mean_P) * (self.variance_P + _VARIANCE_EPSILON).rsqrt()

    def _track(self, features_BP: Tensor) -> None:
        sums = all_reduce_sum(torch.cat([features_BP.sum(dim=0), features_BP.new_tensor([len(features_BP)])]))
        mean_P, count = sums[:-1] / sums[-1], sums[-1]
        squares_P = all_reduce_sum((features_BP - mean_P).square().sum(dim=0))
        self.num_batches += 1
        momentum = (1.0 / self.num_batches).clamp(min=_MOMENTUM).to(mean_P)
        self.mean_P.lerp_(mean_P, momentum)
        # A single window has no deviation.
        self.variance_P.lerp_(squares_P / (count - 1).clamp(min=1.0), momentum * (count > 1))
