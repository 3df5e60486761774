"""Downloads a file once, and unpacks it: resumed when broken off, verified, under its name only when it is whole.

A zip file is not trusted: nothing outside of the folder, no links, no more than was agreed.
"""

import shutil
import stat
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import requests
import urllib3
from filelock import FileLock, Timeout
from pooch.hashes import file_hash, hash_algorithm
from requests.adapters import HTTPAdapter

from ser_core.errors import SourceError
from ser_core.storage.location import Location, one_line_faults

_CHUNK_BYTES = 2**20
_TIMEOUT_SECONDS = 30.0
_LOCK_SECONDS = 3600.0
#: How often one request is sent, and how many responses in a row may end early that bring less than a chunk.
_TRIES = 5
_PAUSE_SECONDS = 0.5
#: The longest pause, even where a server asks for a longer one.
_LONGEST_PAUSE_SECONDS = 300
_BUSY_STATUSES = (429, 500, 502, 503, 504)

#: A callback that gets the bytes that have arrived, and how many there will be (None: not known).
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file on a server, and how it is known to be the right one."""

    url: str
    #: The beginning of its hash, as "md5:bc69"; None: the length that the server names must do.
    known_hash: str | None = None
    #: A larger file is another file.
    max_bytes: int = 2**40
    progress: Progress = lambda _done, _total: None

    @property
    def shown(self) -> str:
        """The URL without what may be secret in it."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def fetch(self, final: Path) -> None:
        """Download the file to `final`; one that is there already is verified and stays.

        A download goes to `<name>.part` and continues from what is there, as long as the server has the same version
        of the file. Where several processes want one file, one downloads it and the others wait.

        Raises:
            SourceError: the file cannot be had, or is another one than it should be.
            OutputError: the folder cannot be written.
            ServiceError: the disk is full, or the like.
        """
        lock_file = final.with_name(f".{final.name}.lock")
        try:
            with one_line_faults(Location(str(final.parent)), "cannot be written", "name another", passes=Timeout):
                final.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(lock_file, timeout=_LOCK_SECONDS):
                    self._fetch(final)
                    # Whoever waited for it, and whoever makes a new one, finds the file.
                    lock_file.unlink(missing_ok=True)
        except Timeout as error:
            raise SourceError(f"{final}: another process is downloading it and does not end; end it") from error

    def _fetch(self, final: Path) -> None:
        if final.exists():
            if not self._is_right(final):
                raise SourceError(f"{final}: {self._wrong()}; move it away, then run again")
            return
        part = _Part(final)
        self._complete(part)
        if part.may_be_mixed and not self._is_right(part.file):
            part.delete()
            self._complete(part)
        if not self._is_right(part.file):
            part.delete()
            raise SourceError(f"{self.shown}: {self._wrong()}; what was downloaded is deleted")
        part.file.replace(final)
        part.delete()

    def _is_right(self, file: Path) -> bool:
        if self.known_hash is None:
            return True
        digest = str(file_hash(file, hash_algorithm(self.known_hash)))
        return digest.startswith(self.known_hash.partition(":")[2])

    def _wrong(self) -> str:
        algorithm, _, digits = str(self.known_hash).partition(":")
        return f"its {algorithm} does not begin with {digits}"

    def _complete(self, part: "_Part") -> None:
        """Ask for what is missing until all is there, or until asking brings no more."""
        tries, most = 0, part.size()
        with _session() as session:
            while (why := self._append(part, session)) is not None:
                tries = 1 if part.size() >= most + _CHUNK_BYTES else tries + 1
                most = max(most, part.size())
                if tries == _TRIES:
                    raise self._failure(why)
                time.sleep(_PAUSE_SECONDS * tries)

    def _failure(self, why: str) -> SourceError:
        return SourceError(f"{self.shown}: cannot be downloaded ({why}); run again to go on")

    def _append(self, part: "_Part", session: requests.Session) -> str | None:
        """Append what one response brings; None if the file is whole now, else why it is not.

        Raises:
            SourceError: the server refuses, or cannot be reached however often it was tried.
        """
        headers = part.request_headers(is_verified=self.known_hash is not None)
        try:
            response = session.get(self.url, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS)
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise self._failure(_root_of(error)) from error
        with response:
            if response.status_code == 416:
                if response.headers.get("Content-Range") == f"bytes */{part.size()}":
                    return None
                part.delete()
                return "the file changed while it was downloaded"
            if not response.ok:
                raise self._failure(f"{response.status_code} {response.reason}")
            if not part.take(response):
                return "the server answered with other bytes than it was asked for"
            if response.raw.length_remaining is None and self.known_hash is None:
                raise SourceError(f"{self.shown}: the server does not tell the file's length, so it cannot be verified")
            return self._copy(response.raw, part)

    def _copy(self, body: urllib3.HTTPResponse, part: "_Part") -> str | None:
        done = part.size()
        total = None if body.length_remaining is None else done + body.length_remaining
        with part.file.open("ab") as file:
            try:
                # What has arrived is on disk at once, so that a kill loses none of it.
                while chunk := body.read1(_CHUNK_BYTES, decode_content=False):
                    done += len(chunk)
                    if done > self.max_bytes:
                        part.delete()
                        raise SourceError(f"{self.shown}: is larger than {self.max_bytes} bytes, so it is another file")
                    file.write(chunk)
                    file.flush()
                    self.progress(done, total)
            except urllib3.exceptions.HTTPError as error:
                return _root_of(error) if total is None else f"it ended after {done} of {total} bytes"
        return None


class _Part:
    """The part of a file that has arrived, and the version that the server gave the file then."""

    def __init__(self, final: Path) -> None:
        self.file = final.with_name(final.name + ".part")
        self._version_file = final.with_name(final.name + ".part.version")
        #: Whether a server that names no versions continued it, so that only the hash can show what it is.
        self.may_be_mixed = False

    def size(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    def delete(self) -> None:
        self.file.unlink(missing_ok=True)
        self._version_file.unlink(missing_ok=True)

    def request_headers(self, *, is_verified: bool) -> dict[str, str]:
        """The headers that ask for the rest of this version, or for the whole file if the server has another.

        A part without a version is deleted, unless the whole file is verified by its hash.
        """
        version = self._version()
        if self.file.exists() and not version and not is_verified:
            self.delete()
        # In a compressed body, ranges would count other bytes.
        headers = {"Accept-Encoding": "identity"}
        if size := self.size():
            headers |= {"Range": f"bytes={size}-"} | ({"If-Range": version} if version else {})
        return headers

    def take(self, response: requests.Response) -> bool:
        """Whether a response's body goes on from the part; for a whole file, the part begins anew."""
        version = _version_of(response)
        if response.status_code != 206:
            self.delete()
            self._version_file.write_text(version, encoding="latin-1")
            return True
        is_rest = response.headers.get("Content-Range", "").startswith(f"bytes {self.size()}-")
        if not is_rest or (version and self._version() and version != self._version()):
            self.delete()
            return False
        self.may_be_mixed = self.may_be_mixed or not self._version()
        return True

    def _version(self) -> str:
        return self._version_file.read_text(encoding="latin-1").strip() if self._version_file.exists() else ""


def _version_of(response: requests.Response) -> str:
    """The version for If-Range: a strong ETag, or else the date of the last change."""
    etag = response.headers.get("ETag", "")
    return str(etag if etag.startswith('"') else response.headers.get("Last-Modified", ""))


def _session() -> requests.Session:
    """A session that repeats a request while the server is busy or away, after the pause that it asks for."""
    session = requests.Session()
    retry = urllib3.Retry(
        total=_TRIES - 1,
        backoff_factor=_PAUSE_SECONDS,
        status_forcelist=_BUSY_STATUSES,
        raise_on_status=False,
        retry_after_max=_LONGEST_PAUSE_SECONDS,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def _root_of(error: BaseException) -> str:
    """The root cause of an error; the error's own text may show secrets in the URL."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    if isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError):
        return type(error).__name__
    return getattr(error, "strerror", None) or str(error)


def unpack(archive: Path, folder: Path, *, max_files: int, max_bytes: int) -> int:
    """Unpack all files below `folder`, but for those that are there already in their size; returns the number of files.

    Every name is checked before anything is written, and a file gets its name when it is whole: after a kill the same
    call goes on.

    Raises:
        SourceError: it is no zip file or damaged; a name leads out of the folder; it holds a link; it is larger than
            agreed.
        OutputError: the folder cannot be written.
        ServiceError: the disk is full, or the like.
    """
    try:
        with (
            one_line_faults(Location(str(folder)), "cannot be written", "name another folder"),
            zipfile.ZipFile(archive) as opened,
        ):
            members = [member for member in opened.infolist() if not member.is_dir()]
            _check(archive, folder, members, max_files, max_bytes)
            for member in members:
                _extract(opened, member, folder / member.filename)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceError(f"{archive}: cannot be unpacked ({error}); delete it, then run again") from error
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
    # zipfile gives no more bytes than the member's size, and checks their CRC.
    with opened.open(member) as packed, part.open("xb") as file:
        shutil.copyfileobj(packed, file)
    part.replace(final)
