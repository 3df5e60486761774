"""What a model knows of the speech that it was trained on, so that it can tell how far other speech lies from it.

Shape letters: P features, R components, D training corpora, C labels.
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

    from ser_core.models.base import SpeechModel

_PREFIX = "reference."
_NAMES = ("components_PR", "means_DR", "class_logits_CC", "unseen_distance")
Floats = npt.NDArray[np.floating]


@dataclasses.dataclass(frozen=True)
class Reference:
    """What a model knows of the speech that it was trained on, all float32."""

    #: Features -> whitened principal components of what varies within the training corpora.
    components_PR: Floats
    #: The mean components of each corpus.
    means_DR: Floats
    #: The mean logits of each label's windows; each row's mean is 0.
    class_logits_CC: Floats
    #: Mean distance of a speaker from the others of his corpus.
    unseen_distance: float

    def distance(self, mean_R: Floats, num_files: int) -> float:
        """The distance of an archive's mean from the nearest corpus, less what chance makes of so few files."""
        squares_DR = np.square(mean_R - self.means_DR)
        return max(0.0, float(squares_DR.mean(axis=1).min()) - 1.0 / num_files)

    def to_tensors(self) -> "dict[str, Tensor]":
        """As a model's weights file holds it."""
        import torch

        tensors = {_PREFIX + name: torch.as_tensor(getattr(self, name), dtype=torch.float32) for name in _NAMES}
        # They are by far the largest; the means are taken with what is left of them.
        tensors[_PREFIX + "components_PR"] = tensors[_PREFIX + "components_PR"].half()
        return tensors

    @classmethod
    def of_tensors(cls, tensors: "Mapping[str, Tensor]") -> Self | None:
        """What a weights file holds; None where there is none."""
        if _PREFIX + _NAMES[0] not in tensors:
            return None
        components_PR, means_DR, class_logits_CC, unseen_distance = (
            tensors[_PREFIX + name].float().numpy() for name in _NAMES
        )
        return cls(components_PR, means_DR, class_logits_CC, float(unseen_distance))


def expected_tensors(tensors: "Mapping[str, Tensor]", model: "SpeechModel", num_labels: int) -> "dict[str, Tensor]":
    """Tensors of the types and shapes that a reference among these must have; none where there is none.

    How many components and corpora there are is for the file to say.
    """
    import torch

    if not any(name.startswith(_PREFIX) for name in tensors):
        return {}
    num_features = 0 if model.regression is None else model.regression.weight_CP.shape[1]
    means_DR = tensors.get(_PREFIX + "means_DR", torch.empty(1, 1))
    num_corpora, num_components = means_DR.shape if means_DR.dim() == 2 and means_DR.numel() else (1, 1)
    shapes: tuple[tuple[int, ...], ...] = (
        (num_features, num_components), (num_corpora, num_components), (num_labels, num_labels), (),
    )  # fmt: skip
    return {_PREFIX + name: torch.empty(shape) for name, shape in zip(_NAMES, shapes, strict=True)}
