"""Batch normalisation over the batches of all workers of a training; on CPUs too, where torch's own refuses.

Shape letters: B windows, D channels, F mel bands, S steps.
"""

import torch
from torch import Tensor, nn

from ser_core.distributed import all_reduce_sum, world_size


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
