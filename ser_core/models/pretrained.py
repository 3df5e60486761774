"""Trained weights to start from: a file, or a URL that is downloaded once -> tensors by name."""

import hashlib
import re
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import Tensor

from ser_core.errors import SourceError, UsageError
from ser_core.settings import is_http_url

#: torchvision's files have the first digits of their sha256 before the suffix (vgg16-397923af.pth).
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.\w+$")


def fetch_weights(file_or_url: str, folder: Path) -> Path:
    """The local file of `--weights FILE|URL`; a URL is downloaded into `folder` unless it is there already.

    It is taken when its length is the one the server told, and, where the name holds a hash, the sha256 begins with
    it.

    Raises:
        UsageError: no such file; or the URL cannot be had, or gave something of another length or hash.
        ServiceError: the disk is full, or the like.
    """
    # Only who downloads pays for importing what does it.
    from ser_core.storage import Download

    if not file_or_url.startswith(("http://", "https://")):
        if not Path(file_or_url).is_file():
            raise UsageError(f"weights {file_or_url}: no such file; give a file or an http(s) URL")
        return Path(file_or_url)
    path = urlsplit(file_or_url).path if is_http_url(file_or_url) else ""
    if not Path(path).name:
        raise UsageError(f"weights {file_or_url}: names no file; give the URL of one")
    # Names such as model.safetensors are everybody's.
    final = folder / f"{hashlib.sha256(file_or_url.encode()).hexdigest()[:12]}-{Path(path).name}"
    hash_in_name = _HASH_IN_NAME.search(path)
    known_hash = f"sha256:{hash_in_name[1]}" if hash_in_name else None
    try:
        Download(url=file_or_url, known_hash=known_hash).fetch(final)
    except SourceError as error:
        raise UsageError(f"weights {error}") from error
    return final


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
    except (
        OSError, SafetensorError, UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError,
        AttributeError, AssertionError, MemoryError,
    ) as error:  # fmt: skip
        # What torch makes of a damaged file may be any of these.
        raise UsageError(f"weights {file}: cannot be read as weights ({type(error).__name__})") from error
    tensors = state if isinstance(state, dict) else {}
    return {name: value for name, value in tensors.items() if isinstance(name, str) and isinstance(value, Tensor)}
