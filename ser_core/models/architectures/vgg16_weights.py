"""A file of VGG16's weights -> its convolutions, for pictures whose mean is 0 and whose deviation is 1.

There are two sorts of ImageNet weights. torchvision's classification weights want colours from 0 to 1 less ImageNet's
mean, over its deviation. The original ones (Simonyan & Zisserman 2014, arXiv 1409.1556; Keras and torchvision's
IMAGENET1K_FEATURES have them) want colours from 0 to 255 less ImageNet's mean.

A normalised log-mel z is shown as the picture whose colour is ImageNet's mean plus z times ImageNet's deviation. To the
first sort that is z; to the second 255 x deviation x z. A ReLU and a maximum let a positive factor through, so in the
place of the input the biases are scaled here: the network gives what it gave, over the factor. Hence what a model
stores takes z, wherever its weights came from.
"""

import re
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ser_core.errors import UsageError
from ser_core.models.pretrained import read_checkpoint

WeightsInput = Literal["auto", "standardised", "caffe"]
#: The place of each convolution among VGG16's layers, as torchvision numbers them; channels in and out of each.
CONVOLUTIONS = {
    0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256),
    17: (256, 512), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512),
}  # fmt: skip
#: Number of layers up to the end of each block; its last one halves both sides.
BLOCK_ENDS = (5, 10, 17, 24, 31)
#: ImageNet's deviation of red, green and blue, of 255.
_DEVIATION_255 = (58.395, 57.12, 57.375)
#: The first biases of the published weights, by what these want.
_FIRST_BIASES: dict[WeightsInput, tuple[float, ...]] = {
    "standardised": (0.4034, 0.3778, 0.4644, -0.3228),
    "caffe": (0.7344, 0.0934, 0.0677, 0.8862),
}
#: As far as half precision, bf16 too, and some tuning may be off.
_TOLERANCE = 5e-3
_NUMBERED = re.compile(r"(?:features\.)?(\d+)\.(weight|bias)")
_ADVICE = "give VGG16's convolutions as torchvision names them (features.0.weight ... features.28.bias)"


def read_features(file: Path, num_blocks: int, weights_input: WeightsInput) -> dict[str, Tensor]:
    """The convolutions of the first blocks, by their names among torchvision's `features` (`0.weight`), in float32.

    Args:
        file: .safetensors, or a torch file, of which nothing is executed; a classifier in it is left out.
        num_blocks: number of blocks that are needed.
        weights_input: which pictures they want; auto: known by the first biases of the published weights.

    Raises:
        UsageError: the file cannot be read, is of another layout or network, lacks a layer, or wants unknown pictures.
    """
    where = f"weights {file}"
    state = _features_of(where, read_checkpoint(file))
    wanted = {index: channels for index, channels in CONVOLUTIONS.items() if index < BLOCK_ENDS[num_blocks - 1]}
    for index, (channels_in, channels_out) in wanted.items():
        for name, shape in (("weight", (channels_out, channels_in, 3, 3)), ("bias", (channels_out,))):
            _check(where, f"{index}.{name}", state, shape)
    found = {name: value.float() for name, value in state.items() if int(name.partition(".")[0]) in wanted}
    return standardised(found, _input_of(where, found["0.bias"]) if weights_input == "auto" else weights_input)


def standardised(features: dict[str, Tensor], weights_input: WeightsInput) -> dict[str, Tensor]:
    """The same network, for pictures of mean 0 and deviation 1."""
    if weights_input == "standardised":
        return features
    deviation_3 = torch.tensor(_DEVIATION_255)
    factor = deviation_3.mean()
    scaled = {name: value / factor if name.endswith("bias") else value for name, value in features.items()}
    scaled["0.weight"] = features["0.weight"] * (deviation_3 / factor)[:, None, None]
    return scaled


def _features_of(where: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of VGG16's layers, by place and kind; a classifier's are left out."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        match = _NUMBERED.fullmatch(name)
        if match and int(match[1]) < BLOCK_ENDS[-1]:
            found[f"{int(match[1])}.{match[2]}"] = value
    if "0.weight" not in found:
        first = f"has '{min(state)}'" if state else "has no tensors by name"
        raise UsageError(f"{where}: {first} and no 'features.0.weight'; {_ADVICE}")
    if strange := sorted(name for name in found if int(name.partition(".")[0]) not in CONVOLUTIONS):
        raise UsageError(
            f"{where}: are of another network: 'features.{strange[0]}' is no layer of VGG16 without batch "
            f"normalisation; {_ADVICE}"
        )
    return found


def _check(where: str, name: str, state: dict[str, Tensor], shape: tuple[int, ...]) -> None:
    value = state.get(name)
    if value is None:
        raise UsageError(f"{where}: 'features.{name}' is missing; {_ADVICE}")
    if tuple(value.shape) != shape:
        raise UsageError(f"{where}: 'features.{name}' is {tuple(value.shape)} instead of {shape}; {_ADVICE}")
    if not value.is_floating_point() or not value.float().isfinite().all():
        raise UsageError(f"{where}: 'features.{name}' holds values that are not finite numbers; {_ADVICE}")


def _input_of(where: str, bias: Tensor) -> WeightsInput:
    for weights_input, published in _FIRST_BIASES.items():
        if torch.allclose(bias[: len(published)], torch.tensor(published), rtol=0, atol=_TOLERANCE):
            return weights_input
    raise UsageError(
        f"{where}: are VGG16's, but none of ImageNet's published ones, so it is not known which pictures they "
        "want; say so in architecture_settings: weights_input: standardised (RGB from 0 to 1 less the mean, over the "
        "deviation) or caffe (from 0 to 255 less the mean)"
    )
