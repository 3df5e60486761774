"""What every architecture offers to training and scoring, so that neither asks which one it holds.

Shape letters: B windows, F mel bands, T mel frames, E values of an embedding, P features, K classifiers, C labels.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ser_core.audio import MelSettings
from ser_core.errors import UsageError
from ser_core.models.artifact_config import CodeOrigin
from ser_core.models.stored import of_stored, to_stored
from ser_core.settings import Settings, WeightsDtype


class Regression(nn.Module):
    """The linear part of a model that no training step moves: it is fitted to its minimum before all else learns.

    Features (B, P) -> logits (B, C), in float32 whatever the rest is computed in; 0 until it is fitted.
    """

    weight_CP: Tensor
    bias_C: Tensor

    def __init__(self, num_features: int, num_labels: int) -> None:
        super().__init__()
        # No parameters: an optimizer's small steps do not come near the minimum.
        self.register_buffer("weight_CP", torch.zeros(num_labels, num_features))
        self.register_buffer("bias_C", torch.zeros(num_labels))

    def set(self, weight_CP: Tensor, bias_C: Tensor) -> None:
        """Take the fitted weights."""
        self.weight_CP.copy_(weight_CP)
        self.bias_C.copy_(bias_C)

    def forward(self, features_BP: Tensor) -> Tensor:
        with torch.autocast(features_BP.device.type, enabled=False):
            return nn.functional.linear(features_BP.to(self.weight_CP.dtype), self.weight_CP, self.bias_C)


class SpeechModel(nn.Module):
    """Normalised log-mel (B, F, T) -> logits (B, C), in two halves: frozen layers, and what learns.

    The frozen layers' output does not change while a model trains, so a training may cache it and skip them:
    `forward(mel) == forward_encoded(encode_frozen(mel))`.

    Where what learns comes to one vector a window, its pooled statistics, it is in two halves again, and the vector is
    the window's embedding: `forward_encoded(encoded) == classify_embedded(embed_encoded(encoded))`. A model has either
    these two or a `forward_encoded` of its own; then it has no embeddings, and all else works.
    """

    #: The modules that `classify_embedded` reads with, by name, and the settings that change nothing before them: two
    #: models that are alike in all else give the same embeddings.
    HEAD_MODULES: ClassVar[frozenset[str]] = frozenset()
    HEAD_SETTINGS: ClassVar[frozenset[str]] = frozenset()

    def __init__(self) -> None:
        super().__init__()
        #: A linear part that is fitted to its minimum before all else learns; None: there is none.
        self.regression: Regression | None = None

    @property
    def has_frozen_layers(self) -> bool:
        """Whether `encode_frozen` does any work that is worth caching."""
        return False

    @property
    def frozen_matrices(self) -> frozenset[str]:
        """Names of the parameters of two dimensions that no training changes: those that want no gradient.

        A convolution's have more: they are few, and what they are rounded by all that follows hears.
        """
        return frozenset(
            name
            for name, value in self.named_parameters()
            if not value.requires_grad and value.dim() == 2 and value.numel() and value.is_floating_point()
        )

    @property
    def has_second_encoder(self) -> bool:
        """Whether there are two encoders, each of which starts from weights of its own."""
        return False

    @property
    def encoding_key(self) -> str:
        """Names what changes the output of the frozen layers beside their weights."""
        return ""

    def forward(self, mel_BFT: Tensor) -> Tensor:
        """Logits (B, C) of normalised log-mel windows of any T >= 1."""
        return self.forward_encoded(self.encode_frozen(mel_BFT))

    def encode_frozen(self, mel_BFT: Tensor) -> Tensor:
        """The output (B, ...) of the frozen layers, without gradient; the mel itself where nothing is frozen.

        It may be cached as float16: `forward_encoded` takes it back.
        """
        return mel_BFT

    def forward_encoded(self, encoded: Tensor) -> Tensor:
        """Logits (B, C) from the output of `encode_frozen`, as it was or in float16.

        In training (B, K, C) where there are K classifiers.
        """
        return self.classify_embedded(self.embed_encoded(encoded))

    @property
    def has_embeddings(self) -> bool:
        """Whether there are `embed_encoded` and `classify_embedded`."""
        return type(self).embed_encoded is not SpeechModel.embed_encoded

    def embed_encoded(self, encoded: Tensor) -> Tensor:
        """The embeddings (B, E) of windows, in float32, from the output of `encode_frozen`."""
        raise NotImplementedError

    def classify_embedded(self, embedding_BE: Tensor) -> Tensor:
        """Logits (B, C) from embeddings, as they were or rounded to float16; in training as `forward_encoded`."""
        raise NotImplementedError

    def regression_features(self, encoded: Tensor) -> Tensor:
        """What `regression` reads (B, P), from the output of `encode_frozen`; nothing that learns changes it."""
        raise NotImplementedError

    def embedded_features(self, embedding_BE: Tensor) -> Tensor:
        """The same from embeddings, where there are any."""
        raise NotImplementedError

    def regression_views(self, encoded: Tensor) -> list[Tensor]:
        """What `regression` is fitted to: the windows of `encoded` in one or several views, each (B, P)."""
        return [self.regression_features(encoded)]

    def encoder_layers(self) -> list[list[nn.Parameter]]:
        """The learning parameters that may start from trained ones, and then want small steps; from the input on.

        Every other learning parameter is of the head.
        """
        return []

    def parameter_groups(
        self, learning_rate: float, encoder_learning_rate: float, layer_rate_decay: float = 1.0
    ) -> list[dict[str, Any]]:
        """What an optimizer of torch takes: the head at one rate, the encoder at others; empty groups left out.

        The encoder's last layer learns at its rate, every layer before it at `layer_rate_decay` times that of the next
        (Howard & Ruder 2018, arXiv 1801.06146, section 3.2).
        """
        layers = self.encoder_layers()
        of_encoder = {id(parameter) for layer in layers for parameter in layer}
        head = [value for value in self.parameters() if value.requires_grad and id(value) not in of_encoder]
        groups = [{"params": head, "lr": learning_rate}]
        for depth, layer in enumerate(layers):
            rate = encoder_learning_rate * layer_rate_decay ** (len(layers) - 1 - depth)
            groups.append({"params": layer, "lr": rate})
        return [group for group in groups if group["params"]]

    def stored_tensors(self, weights_dtype: WeightsDtype) -> dict[str, Tensor]:
        """The tensors as a weights file holds them; of a model on `meta`, as it must hold them."""
        return to_stored(self, weights_dtype, self.frozen_matrices)

    @torch.no_grad()
    def round_frozen(self, weights_dtype: WeightsDtype) -> None:
        """Round what no training changes as it will be stored, so that what is measured is what is stored."""
        stored = self.stored_tensors(weights_dtype)
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                parameter.copy_(of_stored(stored, name))

    def load_weights(self, file: Path) -> None:
        """Start the encoder from trained weights.

        Raises:
            UsageError: the file does not hold them, or the architecture has none to start from.
        """
        raise UsageError(f"weights {file}: this architecture starts from scratch; leave it out")


@dataclasses.dataclass(frozen=True)
class Architecture:
    """How a model of one kind is made: its settings, and a builder taking (settings, num_mels, num_labels)."""

    settings: type[Settings]
    build: Callable[[Any, int, int], SpeechModel]
    #: The log-mel of a new model, where the settings do not say.
    mel: MelSettings
    #: Where its code came from; None: it is this program's. Whoever defines one leaves it out.
    origin: CodeOrigin | None = None
