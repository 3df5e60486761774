"""How a weights file holds a network's tensors, and what of them the network computes with.

fp16: parameters as float16. int8: the matrices that no training changes as `NAME`, int8, and `NAME.scale`, float32, one
number a row; all other parameters as float16. Nothing computes in int8: a network gets the products, in float32.

Shape letters: R rows of a matrix (its first dimension, the outputs), X all its other dimensions.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ser_core.settings import WeightsDtype

_SCALE = ".scale"
_MAX_INT = 127
#: Rows whose scale would be smaller become zeros: below it float32 is no longer exact.
_LEAST_SCALE = 2.0**-100


def quantise(matrix_RX: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix as int8 (R, X) and the scale (R,) of each row, float32, which makes its largest value 127 or -127.

    Scales have the eight significant bits of bfloat16. So each product has fifteen and is exact in float32, and a
    matrix of products comes to the same integers and scales again.
    """
    largest_R = matrix_RX.float().abs().flatten(1).amax(dim=1)
    scale_R = (largest_R / _MAX_INT).bfloat16().float()
    # Of nothing but zeros any scale is right.
    scale_R = scale_R.where(scale_R >= _LEAST_SCALE, 1.0)
    return (matrix_RX / _as_column(scale_R, matrix_RX)).round().to(torch.int8), scale_R


def dequantise(integers_RX: Tensor, scale_R: Tensor) -> Tensor:
    """The matrix (R, X) that these are, float32."""
    return integers_RX.float() * _as_column(scale_R.float(), integers_RX)


def _as_column(scale_R: Tensor, matrix_RX: Tensor) -> Tensor:
    return scale_R.reshape(-1, *[1] * (matrix_RX.dim() - 1))


def to_stored(model: nn.Module, weights_dtype: WeightsDtype, frozen_matrices: frozenset[str]) -> dict[str, Tensor]:
    """The tensors of a network as a weights file holds them, on its device; `frozen_matrices` are their names."""
    # Buffers stay as they are: the variances of batch normalisation may be beyond float16.
    halved = {name for name, value in model.named_parameters() if weights_dtype != "fp32" and value.is_floating_point()}
    stored = {}
    for name, value in model.state_dict().items():
        if weights_dtype == "int8" and name in frozen_matrices:
            stored[name], stored[name + _SCALE] = _empty(value) if value.is_meta else quantise(value)
        else:
            stored[name] = value.half() if name in halved else value
    return stored


def _empty(matrix_RX: Tensor) -> tuple[Tensor, Tensor]:
    """Of what `quantise` gives of a matrix without values, the types and shapes.

    To compute without values torch imports its compiler: a second, and 150 MB.
    """
    shape, device = matrix_RX.shape, matrix_RX.device
    return torch.empty(shape, dtype=torch.int8, device=device), torch.empty(shape[:1], device=device)


def of_stored(stored: Mapping[str, Tensor], name: str) -> Tensor:
    """The tensor of a network that a weights file holds under a name."""
    scale_R = stored.get(name + _SCALE)
    return stored[name] if scale_R is None else dequantise(stored[name], scale_R)
