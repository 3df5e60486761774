"""Bytes that take long to make, cached in a folder of this user alone; whatever is wrong with it, they are made anew.

Each file begins with a digest of the rest, and takes its name only when it is whole: processes that make the same at
once each make a whole one, and the last one's stays.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

from ser_core.temporary import private_folder, user_cache_folder

#: So many bytes stay, of the files that were used last; one has about as many as its model in float32.
MAX_BYTES = 2**29
_DIGEST_BYTES = hashlib.sha256().digest_size


def cached(name: str, make: Callable[[], bytes]) -> bytes:
    """What `make` gives: from the cache if it is there and whole, else made, and cached where that can be.

    Args:
        name: of a file; other bytes must have another one.
        make: gives the bytes.
    """
    folder = _folder()
    if folder is None:
        return make()
    content = _read(folder / name)
    if content is None:
        content = make()
        # A full disk, or a folder that may not be written: then it is made each time.
        with suppress(OSError):
            _write(folder / name, content)
            _prune(folder)
    return content


def _folder() -> Path | None:
    """The folder; None: there is none that is this user's alone."""
    try:
        folder = user_cache_folder() / "graphs"
        private_folder(folder)
        return folder if folder.stat().st_uid == os.geteuid() else None
    except (OSError, RuntimeError):
        # RuntimeError: this user has no home.
        return None


def _read(file: Path) -> bytes | None:
    """What was cached; None: nothing, or it is damaged."""
    try:
        with file.open("rb") as opened:
            digest, content = opened.read(_DIGEST_BYTES), opened.read()
    except OSError:
        return None
    if hashlib.sha256(content).digest() != digest:
        return None
    with suppress(OSError):
        os.utime(file)
    return content


def _write(file: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=file.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(hashlib.sha256(content).digest())
            opened.write(content)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _prune(folder: Path) -> None:
    """Delete what was not used for longest; also what killed processes left unfinished."""
    facts = [(file, file.stat()) for file in folder.iterdir()]
    facts.sort(key=lambda fact: fact[1].st_mtime, reverse=True)
    for (file, _), num_bytes in zip(facts, accumulate(fact.st_size for _, fact in facts), strict=True):
        if num_bytes > MAX_BYTES:
            file.unlink(missing_ok=True)
