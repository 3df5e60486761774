"""Trained weights to start from: a file, or a URL that is downloaded once, resumed when broken off, and verified."""

import hashlib
import re
import time
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from ser_core.errors import UsageError

_CHUNK_BYTES = 2**20
_TIMEOUT_SECONDS = 30.0
_TRIES = 5
_PAUSE_SECONDS = 0.5
#: As torchvision names its files: the first digits of the sha256 stand before the suffix (vgg16-397923af.pth).
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.\w+$")


def fetch_weights(file_or_url: str, folder: Path) -> Path:
    """The local file of `--weights FILE|URL`; a URL is downloaded into `folder` unless it is there already.

    A download goes to `<name>.part` and continues from what is there. It gets its name when its length is the one
    the server told, and, where the name holds a hash, the sha256 begins with it.

    Raises:
        UsageError: no such file; or the URL cannot be had, or gave something of another length or hash.
    """
    if not file_or_url.startswith(("http://", "https://")):
        if not Path(file_or_url).is_file():
            raise UsageError(f"--weights {file_or_url}: no such file; give a file or an http(s) URL")
        return Path(file_or_url)
    final = folder / Path(urlsplit(file_or_url).path).name
    if final.is_file():
        return final
    folder.mkdir(parents=True, exist_ok=True)
    part = final.with_name(final.name + ".part")
    for attempt in range(1, _TRIES + 1):
        try:
            _download(file_or_url, part)
            break
        except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
            refused = isinstance(error, HTTPError) and error.code < 500
            if refused or attempt == _TRIES:
                raise UsageError(f"--weights {file_or_url}: cannot be downloaded ({error})") from error
            time.sleep(_PAUSE_SECONDS * attempt)
    _verify_hash(file_or_url, part)
    part.replace(final)
    return final


def _download(url: str, part: Path) -> None:
    """Append what is missing; ConnectionError when the server ends early."""
    start = part.stat().st_size if part.exists() else 0
    try:
        response: HTTPResponse = urlopen(Request(url, headers={"Range": f"bytes={start}-"}), timeout=_TIMEOUT_SECONDS)
    except HTTPError as error:
        if error.code == 416 and error.headers["Content-Range"] == f"bytes */{start}":
            return
        if error.code == 416:
            # The file there is another one by now: begin again.
            part.unlink()
            raise ConnectionError("the file changed while it was downloaded") from error
        raise
    with response, part.open("ab" if response.status == 206 else "wb") as file:
        if response.length is None:
            raise UsageError(f"--weights {url}: the server does not tell the file's length, so it cannot be verified")
        total = file.tell() + response.length
        while chunk := response.read(_CHUNK_BYTES):
            file.write(chunk)
        if file.tell() != total:
            raise ConnectionError(f"it ended after {file.tell()} of {total} bytes")


def _verify_hash(url: str, part: Path) -> None:
    match = _HASH_IN_NAME.search(urlsplit(url).path)
    if match is None:
        return
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(match[1]):
        part.unlink()
        raise UsageError(f"--weights {url}: the file's sha256 does not begin with {match[1]} as its name says")
