"""The state of a training as one file: tensors and plain facts, in safetensors' format; nothing in it is executed.

One file is one write, so that whoever is killed at any moment leaves the old one or the new one.
"""

import json
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ser_core.errors import ArtifactError

_FACTS = "facts"
_LENGTH_BYTES = 8


@dataclass(frozen=True)
class State:
    """Tensors by name, and what JSON can hold."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin so, without it."""
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}

    def to_bytes(self) -> bytes:
        """A safetensors file; the facts are in its metadata."""
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in self.tensors.items()}
        return save(tensors, {_FACTS: json.dumps(self.facts)})

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> "State":
        """Raises ArtifactError, naming `where`, when it is no such file."""
        try:
            tensors = load(data)
            header_bytes = int.from_bytes(data[:_LENGTH_BYTES], "little")
            header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + header_bytes])
            return cls(tensors, json.loads(header["__metadata__"][_FACTS]))
        except (SafetensorError, ValueError, KeyError) as error:
            raise ArtifactError(f"{where}: is no checkpoint of this program; begin anew with --restart") from error
