"""Downloads a file once, and unpacks it: resumed when broken off, verified, under its name only when it is whole.

A zip file is not trusted: nothing outside of the folder, no links, no more than was agreed.
"""

import hashlib
import re
import shutil
import ssl
import stat
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from filelock import FileLock, Timeout

from ser_core.errors import OutputError, SourceError
from ser_core.storage.faults import service_fault
from ser_core.storage.location import Location, faults_of

_CHUNK_BYTES = 2**20
_TIMEOUT_SECONDS = 30.0
_LOCK_SECONDS = 3600.0
#: In a row, each of which brought less than a chunk.
_TRIES = 5
_PAUSE_SECONDS = 0.5
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")

#: Is told the bytes that are here, and all there will be (None: not known).
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Checksum:
    """What a file's digest begins with."""

    #: As hashlib calls it.
    algorithm: str
    hex_digits: str

    def fits(self, file: Path) -> bool:
        with file.open("rb") as content:
            return hashlib.file_digest(content, self.algorithm).hexdigest().startswith(self.hex_digits)


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file to have."""

    url: str
    #: None: a server that tells the length is believed.
    checksum: Checksum | None = None
    max_bytes: int = 2**40
    progress: Progress = lambda _done, _total: None

    @property
    def shown(self) -> str:
        """The URL without what may be secret in it."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def fetch(self, final: Path) -> None:
        """Have the file at `final`; what is there already is verified and kept.

        A download goes to `<name>.part` and continues from what is there. Of several processes that want one file, one
        downloads it and the others wait.

        Raises:
            SourceError: the file cannot be had, or is another one than it should be.
            OutputError: the folder cannot be written.
            ServiceError: the disk is full, or the like.
        """
        with faults_of(Location(str(final.parent))):
            try:
                final.parent.mkdir(parents=True, exist_ok=True)
                lock_file = final.with_name(f".{final.name}.lock")
                with FileLock(lock_file, timeout=_LOCK_SECONDS):
                    self._fetch(final)
                    # Whoever waited for it, and whoever makes a new one, finds the file.
                    lock_file.unlink(missing_ok=True)
            except Timeout as error:
                raise SourceError(f"{final}: another process is downloading it and does not end; end it") from error
            except OSError as error:
                if service_fault(error):
                    raise
                raise OutputError(f"{final.parent}: cannot be written ({error.strerror}); name another") from error

    def _fetch(self, final: Path) -> None:
        if final.exists():
            if self.checksum and not self.checksum.fits(final):
                raise SourceError(f"{final}: {self._wrong()}; move it away, then run again")
            return
        part = final.with_name(final.name + ".part")
        self._complete(part)
        if self.checksum and not self.checksum.fits(part):
            part.unlink()
            raise SourceError(f"{self.shown}: {self._wrong()}; what was downloaded is deleted")
        part.replace(final)

    def _complete(self, part: Path) -> None:
        """Try until all is there, or until trying brings no more."""
        tries, most = 0, _size(part)
        while True:
            try:
                self._append(part)
                return
            except (URLError, HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
                tries = 1 if _size(part) >= most + _CHUNK_BYTES else tries + 1
                most = max(most, _size(part))
                refused = isinstance(error, HTTPError) and error.code < 500
                if refused or tries == _TRIES:
                    raise SourceError(f"{self.shown}: cannot be downloaded ({error}); run again to go on") from error
                time.sleep(_PAUSE_SECONDS * tries)

    def _wrong(self) -> str:
        return f"its {self.checksum.algorithm} does not begin with {self.checksum.hex_digits}" if self.checksum else ""

    def _append(self, part: Path) -> None:
        """Append what is missing; ConnectionError when the server ends early."""
        start = _size(part)
        try:
            request = Request(self.url, headers={"Range": f"bytes={start}-"})
            response: HTTPResponse = urlopen(request, timeout=_TIMEOUT_SECONDS)
        except HTTPError as error:
            if error.code != 416:
                raise
            if error.headers["Content-Range"] == f"bytes */{start}":
                return
            # The file there is another one by now: begin again.
            part.unlink()
            raise ConnectionError("the file changed while it was downloaded") from error
        with response:
            is_rest = response.status == 206
            told = _CONTENT_RANGE.fullmatch(response.headers["Content-Range"] or "")
            if is_rest and told and int(told[1]) != start:
                part.unlink(missing_ok=True)
                raise ConnectionError(f"it answered with bytes from {told[1]} instead of {start}")
            if response.length is None and self.checksum is None:
                raise SourceError(f"{self.shown}: the server does not tell the file's length, so it cannot be verified")
            done = start if is_rest else 0
            total = None if response.length is None else done + response.length
            self._copy(response, part, done, total, is_rest)

    def _copy(self, response: HTTPResponse, part: Path, done: int, total: int | None, is_rest: bool) -> None:
        with part.open("ab" if is_rest else "wb") as file:
            # What has arrived is on disk at once, so that a kill loses none of it.
            while chunk := response.read1(_CHUNK_BYTES):
                done += len(chunk)
                if done > self.max_bytes:
                    file.close()
                    part.unlink()
                    raise SourceError(f"{self.shown}: is larger than {self.max_bytes} bytes, so it is another file")
                file.write(chunk)
                file.flush()
                self.progress(done, total)
        if total is not None and done != total:
            raise ConnectionError(f"it ended after {done} of {total} bytes")


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def unpack(archive: Path, folder: Path, *, max_files: int, max_bytes: int) -> int:
    """Unpack all files below `folder`; one that is there already with its size is kept. Returns how many there are.

    Every name is checked before anything is written, and a file gets its name when it is whole: after a kill the same
    call goes on.

    Raises:
        SourceError: it is no zip file or damaged; a name leads out of the folder; it holds a link; it is larger than
            agreed.
        OutputError: the folder cannot be written.
        ServiceError: the disk is full, or the like.
    """
    with faults_of(Location(str(folder))):
        try:
            with zipfile.ZipFile(archive) as opened:
                members = [member for member in opened.infolist() if not member.is_dir()]
                _check(archive, folder, members, max_files, max_bytes)
                for member in members:
                    _extract(opened, member, folder / member.filename)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise SourceError(f"{archive}: cannot be unpacked ({error}); delete it, then run again") from error
        except OSError as error:
            if service_fault(error):
                raise
            raise OutputError(f"{folder}: cannot be written ({error.strerror}); name another folder") from error
    return len(members)


def _check(archive: Path, folder: Path, members: list[zipfile.ZipInfo], max_files: int, max_bytes: int) -> None:
    if len(members) > max_files or sum(member.file_size for member in members) > max_bytes:
        raise SourceError(f"{archive}: holds more than {max_files} files or {max_bytes} bytes, so it is another file")
    if len({member.filename for member in members}) < len(members):
        raise SourceError(f"{archive}: holds two files of one name, so it is another file")
    for member in members:
        if (why := _fault_of(folder, member)) is not None:
            raise SourceError(f"{archive}: '{member.filename}' {why}; nothing was unpacked")


def _fault_of(folder: Path, member: zipfile.ZipInfo) -> str | None:
    parts = PurePosixPath(member.filename).parts
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in {0, stat.S_IFREG}:
        return "is no plain file"
    if member.filename.startswith("/") or "\\" in member.filename or ".." in parts:
        return "leads out of the folder"
    # A link that is in the folder already may lead out too.
    if not (folder / member.filename).resolve().is_relative_to(folder.resolve()):
        return "leads out of the folder"
    return None


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, final: Path) -> None:
    if final.is_file() and final.stat().st_size == member.file_size:
        return
    final.parent.mkdir(parents=True, exist_ok=True)
    part = final.with_name(f".{final.name}.part")
    part.unlink(missing_ok=True)
    # zipfile gives no more bytes than the member's own size says, and checks their CRC.
    with opened.open(member) as packed, part.open("xb") as file:
        shutil.copyfileobj(packed, file)
    part.replace(final)
