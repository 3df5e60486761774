"""The linear part of a model that no step moves: it is fitted to its minimum before all else learns.

Shape letters: B windows, P features, C labels.
"""

import torch
from torch import Tensor, nn


class Regression(nn.Module):
    """Features (B, P) -> logits (B, C), in float32 whatever the rest is computed in; 0 until it is fitted."""

    weight_CP: Tensor
    bias_C: Tensor

    def __init__(self, num_features: int, num_labels: int) -> None:
        super().__init__()
        # No parameters: an optimizer's small steps do not come near the minimum.
        self.register_buffer("weight_CP", torch.zeros(num_labels, num_features))
        self.register_buffer("bias_C", torch.zeros(num_labels))

    def set(self, weight_CP: Tensor, bias_C: Tensor) -> None:
        """What was fitted."""
        self.weight_CP.copy_(weight_CP)
        self.bias_C.copy_(bias_C)

    def forward(self, features_BP: Tensor) -> Tensor:
        with torch.autocast(features_BP.device.type, enabled=False):
            return nn.functional.linear(features_BP.to(self.weight_CP.dtype), self.weight_CP, self.bias_C)
