"""What a model's tensors say: whether they are those of its architecture, and which encoder they make."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ser_core.errors import ArtifactError
from ser_core.models.artifact_config import ArtifactConfig
from ser_core.models.registry import chosen_settings

if TYPE_CHECKING:
    from torch import Tensor

    from ser_core.models.base import SpeechModel


def fault_of_tensors(tensors: "Mapping[str, Tensor]", expected: "Mapping[str, Tensor]") -> str | None:
    """Which tensor of a file is wrong, and what with it, beside those that the architecture has; None: none is."""
    for name in sorted(expected.keys() | tensors.keys()):
        if fault := _fault(tensors.get(name), expected.get(name)):
            return f"tensor '{name}' {fault}"
    return None


def _fault(tensor: "Tensor | None", expected: "Tensor | None") -> str | None:
    if expected is None:
        return "is unknown"
    if tensor is None:
        return "is missing"
    if tensor.shape != expected.shape:
        return f"is {tuple(tensor.shape)} instead of {tuple(expected.shape)}"
    dtype, wanted = (str(one.dtype).removeprefix("torch.") for one in (tensor, expected))
    if (dtype == "int8") != (wanted == "int8"):
        return f"is {dtype} instead of {wanted}"
    if tensor.is_floating_point() != expected.is_floating_point() or not tensor.isfinite().all():
        return "holds values that are not finite numbers"
    return None


@dataclass(frozen=True)
class Encoder:
    """What computes a model's embeddings: heads may be exchanged where it is the same."""

    #: Architecture and a hash over all that changes an embedding: `compact-0123456789ab`.
    identity: str
    #: Number of values of an embedding.
    num_values: int

    @classmethod
    def of(cls, config: ArtifactConfig, model: "SpeechModel", filterbank_FK: "Tensor") -> Self:
        """That of a model with these settings and features."""
        import torch

        settings = chosen_settings(config.architecture, config.architecture_settings)
        settings = {name: value for name, value in settings.items() if name not in model.HEAD_SETTINGS}
        code = config.code and config.code.to_dict()
        said = {"architecture": config.architecture, "code": code, "settings": settings}
        # Outputs name it: where a later version has more settings, it must stay what it was.
        said["mel"] = config.mel.model_dump(mode="json", exclude_defaults=True)
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
        for name, tensor in sorted((model.state_dict() | {"filterbank_FK": filterbank_FK}).items()):
            if name.partition(".")[0] not in model.HEAD_MODULES:
                digest.update(f"{name} {tuple(tensor.shape)}".encode() + tensor.contiguous().numpy().tobytes())
        with torch.inference_mode():
            embedding_BE = model.embed_encoded(model.encode_frozen(torch.zeros(1, config.mel.num_rows, 32)))
        return cls(f"{config.architecture}-{digest.hexdigest()[:12]}", embedding_BE.shape[1])


def require_embeddings(model_name: str, architecture: str, model: "SpeechModel") -> None:
    """Refuse a model whose architecture gives no embeddings.

    Raises:
        ArtifactError: it does not.
    """
    if not model.has_embeddings:
        raise ArtifactError(
            f"model '{model_name}' gives no embeddings: architecture '{architecture}' is not in two halves; use "
            "another model, or leave embeddings out"
        )
