"""Lists a folder or a bucket prefix: (path, size, version) of every wanted file, sorted by the bytes of `path`."""

import os
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ser_core.errors import SourceError
from ser_core.source.names import escape_path, is_hidden, suffix_of, unescape_path
from ser_core.storage import Location, faults_of, service_fault, version_of

#: Number of rows in a table, and of names of one folder that are Python objects at a time.
SLICE_ROWS = 50_000
#: Anything may follow a name's last dot; longer suffixes, and those after so many others, are counted together.
_MAX_SUFFIX_LENGTH = 16
_MAX_SUFFIXES = 1000
_OTHER = "(other)"
#: Why a file is left out.
NO_SUFFIX, NO_FILE = "not the suffix of a recording", "no regular file"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MICROSECOND, _LAST_MICROSECOND = (
    (time.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1) for time in (datetime.min, datetime.max)
)


class PlannedFile(NamedTuple):
    """A row of the plan. `version` is the etag, or "<size>-<mtime ns>"; "" and size -1 when it cannot be looked at."""

    path: str
    size: int
    version: str
    #: In microseconds since 1970 (UTC); None where it is not known.
    modified: int | None = None


def count_suffix(counts: Counter[str], path: str) -> None:
    """Count a path by its lower-case suffix without the dot, "" for none; too many or too long ones as "(other)"."""
    suffix = suffix_of(path)
    is_known = suffix in counts or len(counts) < _MAX_SUFFIXES
    counts[suffix if is_known and len(suffix) <= _MAX_SUFFIX_LENGTH else _OTHER] += 1


def microseconds_of(time: datetime | None) -> int | None:
    """A time as `PlannedFile.modified` has it."""
    return None if time is None else (time - _EPOCH) // timedelta(microseconds=1)


def _in_calendar(microseconds: int) -> int | None:
    """None for a time that no calendar has: a file system may hold any number."""
    return microseconds if _FIRST_MICROSECOND <= microseconds <= _LAST_MICROSECOND else None


@dataclass
class Skipped:
    """Counts of the files that a listing left out."""

    #: By why, and then by suffix (see `count_suffix`).
    suffixes: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    num_hidden: int = 0

    def count(self, path: str, why: str) -> None:
        """Count a file that is left out."""
        count_suffix(self.suffixes[why], path)

    def add(self, other: "Skipped") -> None:
        """Count what another listing left out."""
        self.num_hidden += other.num_hidden
        for why, counts in other.suffixes.items():
            self.suffixes[why].update(counts)


@dataclass(frozen=True)
class Choice:
    """Which files a listing wants."""

    #: Whether a path, relative to the listed folder, is wanted.
    wants: Callable[[str], bool]
    #: Why the others are left out.
    why: str = NO_SUFFIX
    #: Folders so deep below the listed one hold nothing that could be wanted; None: no limit.
    max_depth: int | None = None
    #: A folder that is left out with all that is below it.
    exclude: Location | None = None


def look_at(path: str, raw: bytes) -> PlannedFile | None:
    """A local file as a row of the plan, one that is missing or out of reach too; None if it is not a regular file."""
    try:
        status = os.stat(raw)  # noqa: PTH116 - bytes
    except (OSError, ValueError) as error:
        # ValueError: the list holds a name that no file can have.
        if service_fault(error):
            raise
        return PlannedFile(path, -1, "")
    if not stat.S_ISREG(status.st_mode):
        return None
    return PlannedFile(path, status.st_size, version_of(status), _in_calendar(status.st_mtime_ns // 1000))


def list_objects(location: Location, choice: Choice, skipped: Skipped) -> Iterator[PlannedFile]:
    """The wanted objects below a bucket prefix; empty "folder" keys are none.

    Raises:
        SourceError: the service does not list in key order, as S3's directory buckets do.
        ServiceError: no such bucket, access denied, unreachable.
    """
    from ser_core.storage import list_pages

    prefix = location.key + "/" if location.key else ""
    excluded = f"{choice.exclude.key}/" if choice.exclude and choice.exclude.bucket == location.bucket else None
    previous = ""
    with faults_of(location):
        for item in (item for page in list_pages(f"{location.path}/") for item in page):
            key = item["Key"]
            if (key.endswith("/") and item["Size"] == 0) or key == prefix or (excluded and key.startswith(excluded)):
                continue
            path = escape_path(key[len(prefix) :].encode())
            if path <= previous:
                raise SourceError(f"{location}: its keys are not listed in order; give a list of paths instead")
            previous = path
            if is_hidden(path):
                skipped.num_hidden += 1
            elif choice.wants(path):
                yield PlannedFile(path, item["Size"], item["ETag"].strip('"'), microseconds_of(item["LastModified"]))
            else:
                skipped.count(path, choice.why)


@dataclass
class _Folder:
    prefix: str
    #: Device and inode, of this folder and of those above it: a link back to one of them is a loop.
    identities: frozenset[tuple[int, int]]
    names: Iterator[str]


def walk_files(root: Location, choice: Choice, skipped: Skipped) -> Iterator[PlannedFile]:
    """The wanted files below a local folder.

    Links are followed, but not to a folder they are in. Sockets, pipes and devices count as other files. A folder
    that cannot be read is a row of its own (its path ends in "/", no version), so that it is no silent gap.
    """
    raw_root = os.fsencode(root.path) + b"/"
    excluded = _identity_of_excluded(choice.exclude)
    folders = [_Folder("", frozenset({_identity(raw_root)}), _sorted_names(raw_root))]
    while folders:
        folder = folders[-1]
        name = next(folder.names, None)
        if name is None:
            folders.pop()
            continue
        path = folder.prefix + name
        raw = raw_root + unescape_path(path)
        if not name.endswith("/"):
            yield from _judge(path, raw, choice, skipped)
            continue
        if choice.max_depth is not None and len(folders) > choice.max_depth:
            continue
        try:
            identity = _identity(raw)
            if identity != excluded and identity not in folder.identities:
                folders.append(_Folder(path, folder.identities | {identity}, _sorted_names(raw)))
        except FileNotFoundError:
            continue
        except OSError as error:
            if service_fault(error):
                raise
            if is_hidden(path):
                skipped.num_hidden += 1
            else:
                yield PlannedFile(path, -1, "")


def _judge(path: str, raw: bytes, choice: Choice, skipped: Skipped) -> Iterator[PlannedFile]:
    if is_hidden(path):
        skipped.num_hidden += 1
        return
    if not choice.wants(path):
        skipped.count(path, choice.why)
    elif row := look_at(path, raw):
        yield row
    else:
        skipped.count(path, NO_FILE)


def _identity(raw: bytes) -> tuple[int, int]:
    status = os.stat(raw)  # noqa: PTH116 - bytes
    return status.st_dev, status.st_ino


def _identity_of_excluded(exclude: Location | None) -> tuple[int, int] | None:
    if exclude is None or exclude.is_s3:
        return None
    try:
        return _identity(os.fsencode(exclude.path))
    except OSError:
        # An output that is not there yet cannot be met.
        return None


def _sorted_names(folder: bytes) -> Iterator[str]:
    """The names in a folder, sorted as all paths below it are: a folder's name ends in "/"."""
    chunks: list[pa.Array] = []
    names: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            names.append(escape_path(entry.name) + ("/" if _is_folder(entry) else ""))
            if len(names) == SLICE_ROWS:
                chunks.append(pa.array(names, pa.large_string()))
                names = []
    if not chunks:
        return iter(sorted(names))
    return iter_sorted(pa.chunked_array([*chunks, pa.array(names, pa.large_string())]))


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def iter_sorted(column: pa.ChunkedArray) -> Iterator[str]:
    """The texts of a column in the order of their bytes, few of them Python objects at a time."""
    order = pc.sort_indices(column)
    for start in range(0, len(order), SLICE_ROWS):
        yield from column.take(order.slice(start, SLICE_ROWS)).to_pylist()
