"""Published weights in a file of safetensors or torch -> tensors by name."""

from pathlib import Path

import torch
from torch import Tensor

from ser_core.errors import UsageError


def read_checkpoint(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a torch file (.pt, .pth, .bin), of which nothing is executed.

    Raises:
        UsageError: the file cannot be read, or is neither.
    """
    from pickle import UnpicklingError

    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, UnpicklingError, RuntimeError, EOFError) as error:
        raise UsageError(f"--weights {file}: cannot be read as weights ({type(error).__name__})") from error
    tensors = state if isinstance(state, dict) else {}
    return {name: value for name, value in tensors.items() if isinstance(name, str) and isinstance(value, Tensor)}
