"""Trained weights to start from: a file, a URL or a published name, fetched once -> tensors by name.

Published are torchvision's, from its server, and those of repositories of a hub such as huggingface.co. What is fetched
is checked by its sha256: torchvision has its beginning in a file's name, a hub tells it before it sends a file.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import torch
from torch import Tensor, nn

from ser_core.encoding import json_bytes, read_json
from ser_core.errors import SourceError, UsageError, without_password
from ser_core.settings import is_http_url
from ser_core.vocabulary import HUB_SCHEME, PUBLISHED_WEIGHTS, is_published

#: torchvision's files have the first digits of their sha256 before the suffix (vgg16-397923af.pth).
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.\w+$")
_SHA256 = re.compile(r'"?([0-9a-f]{64})"?')
_TORCHVISION = "https://download.pytorch.org/models"
#: Where repositories are; `HF_ENDPOINT` names another, as Hugging Face's own programs have it.
_HUB = "https://huggingface.co"
_HUB_FILE = "model.safetensors"
_HUB_NAME = re.compile(
    r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?(/(?P<file>[\w.-]+(/[\w.-]+)*))?", re.ASCII
)
#: Under which of these names training programs put the tensors of a model, beside other things.
_GROUPS = ("state_dict", "model_state_dict", "model")
#: What the names of an encoder's tensors begin with, where there is a decoder too.
_ENCODER_PREFIXES = ("model.encoder.", "encoder.")
_TIMEOUT_SECONDS, _MAX_REDIRECTS = 30.0, 5


#: A local file, and where it came from.
Weights = tuple[Path, dict[str, str]]


def fetch_weights(place: str, folder: Path) -> Weights:
    """The local file of `--weights FILE|URL|NAME`; what is elsewhere is downloaded into `folder`, unless it is there.

    Beside it, where it came from, as a model tells: its file, and repository and revision where they are known.

    It is taken when its length is the one the server told, and the sha256 what the hub, or the file's name, says.

    Raises:
        UsageError: no such file or name; or it cannot be had, or is of another length or hash.
        ServiceError: the disk is full, or the like.
    """
    if place in PUBLISHED_WEIGHTS and not (meant := PUBLISHED_WEIGHTS[place]).startswith(HUB_SCHEME):
        file = _downloaded(place, f"{_TORCHVISION}/{meant}", folder)
        return file, {"repository": "torchvision", "file": meant}
    if is_published(place):
        return _from_hub(place, PUBLISHED_WEIGHTS.get(place, place), folder)
    if place.startswith(("http://", "https://")):
        path = urlsplit(place).path if is_http_url(place) else ""
        if not Path(path).name:
            raise UsageError(f"weights {place}: names no file; give the URL of one")
        return _downloaded(None, place, folder), {"file": Path(path).name}
    if not Path(place).is_file():
        raise UsageError(
            f"weights {place}: no such file; give a file, an http(s) URL, {HUB_SCHEME}owner/name, or one of "
            f"{', '.join(PUBLISHED_WEIGHTS)}"
        )
    return Path(place), {"file": Path(place).name}


def _downloaded(
    name: str | None, url: str, folder: Path, known_hash: str | None = None, known_as: str | None = None
) -> Path:
    # Only who downloads pays for importing what does it.
    from ser_core.storage import Download

    file = Path(urlsplit(url).path).name
    if known_hash is None and (hash_in_name := _HASH_IN_NAME.search(file)):
        known_hash = f"sha256:{hash_in_name[1]}"
    # Names such as model.safetensors are everybody's.
    final = folder / f"{_digits_of(known_as or url)}-{file}"
    with _named(name, url):
        Download(url=url, known_hash=known_hash).fetch(final)
    return final


def _from_hub(name: str, place: str, folder: Path) -> Weights:
    """A file of a repository; what it was is kept beside it, so that it is found without a network the next time."""
    from ser_core.storage import Location, put

    match = _HUB_NAME.fullmatch(place.removeprefix(HUB_SCHEME))
    if match is None:
        raise UsageError(f"weights {name}: give {HUB_SCHEME}owner/name, {HUB_SCHEME}owner/name@revision or with /file")
    source = {"repository": match["repository"], "file": match["file"] or _HUB_FILE}
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or _HUB
    asked = f"{match['repository']}/resolve/{match['revision'] or 'main'}/{source['file']}"
    # The same from whichever mirror it came.
    note = folder / f"{_digits_of(asked)}-source.json"
    sha256, revision = _noted(note) or _told_by_hub(name, f"{endpoint}/{asked}")
    found = f"{match['repository']}/resolve/{revision}/{source['file']}"
    file = _downloaded(name, f"{endpoint}/{found}", folder, f"sha256:{sha256}", known_as=found)
    if not note.exists():
        put(Location(str(note)), json_bytes(source | {"revision": revision, "sha256": sha256}))
    return file, source | {"revision": revision}


def _digits_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _noted(note: Path) -> tuple[str, str] | None:
    """What the hub told when the file was fetched; None: it was not, or nobody can read what is there."""
    try:
        match read_json(note.read_bytes()):
            case {"sha256": str(sha256), "revision": str(revision)}:
                return sha256, revision
    except (OSError, ValueError):
        pass
    return None


def _told_by_hub(name: str, url: str) -> tuple[str, str]:
    """The sha256 of a file and the commit that it is of, as the hub says before it sends it."""
    import requests

    for _ in range(_MAX_REDIRECTS):
        with _named(name, url):
            response = requests.head(url, allow_redirects=False, timeout=_TIMEOUT_SECONDS)
        to = response.headers.get("Location", "")
        # A repository with another name now; what leads to another server is the file, of which the hub has told.
        if not response.is_redirect or "X-Linked-ETag" in response.headers or urlsplit(to).netloc:
            break
        url = urljoin(url, to)
    where = f"weights {name}: {without_password(url)}"
    if response.status_code >= 400:
        raise UsageError(
            f"{where} answers {response.status_code} {response.reason}, so there is no such file, or it is not for "
            "everybody; give another name, or a file"
        )
    sha256 = _SHA256.fullmatch(response.headers.get("X-Linked-ETag", ""))
    commit = response.headers.get("X-Repo-Commit", "")
    if sha256 is None or not re.fullmatch(r"\w+", commit):
        raise UsageError(f"{where} does not tell its sha256 and its commit, so it cannot be checked; give a file")
    return sha256[1], commit


@contextmanager
def _named(name: str | None, url: str) -> Iterator[None]:
    """Turns what goes wrong on the way to a server into one line that says what was wanted, and another way."""
    try:
        yield
    except SourceError as error:
        raise UsageError(f"weights {name + ': ' if name else ''}{error}") from error
    except OSError as error:
        host, shown = urlsplit(url).netloc.rpartition("@")[2], without_password(url)
        raise UsageError(
            f"weights {name}: {host} cannot be reached ({type(error).__name__}); run again when it can, or fetch "
            f"{shown} elsewhere and give the file"
        ) from error


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
        raise UsageError(
            f"weights {file}: cannot be read as weights ({type(error).__name__}); give .safetensors, or a "
            "torch file of tensors alone, as torch.save(model.state_dict(), FILE) writes it"
        ) from error
    tensors = state if isinstance(state, dict) else {}
    for group in _GROUPS:
        if isinstance(inner := tensors.get(group), dict):
            tensors = inner
            break
    return {name: value for name, value in tensors.items() if isinstance(name, str) and isinstance(value, Tensor)}


def without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """An encoder's tensors alone, by their names within it; all of them, where nothing tells it from a decoder."""
    for prefix in _ENCODER_PREFIXES:
        if tensors := {name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)}:
            return tensors
    return state


def load_encoder(encoder: nn.Module, found: dict[str, Tensor], file: Path, published: str) -> None:
    """Give an encoder the tensors of its names; what else there is stays behind.

    Args:
        encoder: is loaded.
        found: tensors by name.
        file: where they are from.
        published: the name of weights that fit.

    Raises:
        UsageError: one is missing, has another shape, or holds what is no finite number.
    """
    for name, expected in encoder.state_dict().items():
        tensor = found.get(name)
        if tensor is None:
            raise UsageError(f"weights {file}: no encoder of {published} ('{name}' is missing)")
        if tensor.shape != expected.shape:
            raise UsageError(
                f"weights {file}: '{name}' is {tuple(tensor.shape)} instead of {tuple(expected.shape)}: give "
                f"{published}, or the sizes of this one as architecture settings"
            )
        if not tensor.is_floating_point() or not tensor.float().isfinite().all():
            raise UsageError(f"weights {file}: '{name}' holds values that are not finite numbers; give another file")
    encoder.load_state_dict({name: found[name] for name in encoder.state_dict()})
