"""SOURCE: a folder, a file, a glob, a bucket prefix or a list of paths; and its plan, a Parquet file sorted by path."""

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, Self

import pyarrow as pa

from ser_core.errors import SourceError, UsageError
from ser_core.ordered import in_order
from ser_core.records import PLAN_SCHEMA
from ser_core.source.listing import (
    SLICE_ROWS,
    Choice,
    PlannedFile,
    Skipped,
    list_objects,
    look_at,
    walk_files,
)
from ser_core.source.names import AUDIO_SUFFIXES, VIDEO_SUFFIXES, escape_path, suffix_of, unescape_path
from ser_core.source.path_list import LIST_SUFFIXES, list_kind, read_path_list
from ser_core.storage import Location, faults_of, one_line_faults

_S3_SCHEME = b"s3://"
_MAX_LOOKS_IN_FLIGHT = 64
#: What people have lists in, or archives, that this program does not read; any other file may be a recording.
_FOREIGN_SUFFIXES = frozenset(
    {
        "xls", "xlsx", "ods", "zip", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar", "xml", "yaml", "yml", "html", "pdf",
        "doc", "docx", "ark", "arrow", "feather", "orc", "avro", "pkl", "npy", "npz", "h5", "hdf5", "db", "sqlite",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Small and picklable: the nodes get it to open files by the `path` of their rows.

    `--glob` patterns are fsspec's (fsspec.utils.glob_translate): `*` and `?` within a folder, `**` for any folders,
    matched against the whole path relative to the root.
    """

    kind: Literal["folder", "file", "list"]
    #: The folder that paths are relative to.
    root: Location
    #: The glob that a folder's files must match; None: their suffix decides.
    pattern: str | None = None
    #: The name of a file or a list in the root.
    name: str = ""

    @classmethod
    def parse(cls, text: str, glob: str | None = None) -> Self:
        """Find out what SOURCE is, without listing it.

        Raises:
            SourceError: there is no such file, folder or prefix.
            UsageError: a glob that cannot be used, or not together with this SOURCE.
            ServiceError: the bucket is missing or cannot be reached with these credentials.
        """
        location = Location.parse(text)
        found = _kind_of_s3(location, is_prefix=text.endswith("/")) if location.is_s3 else _kind_of_local(location)
        if found == "folder":
            return cls("folder", location, _checked_pattern(glob))
        if found is None and _has_magic(text):
            if glob is not None:
                raise UsageError(f"SOURCE {location} is a glob already; leave out --glob")
            root, pattern = _split_glob(location)
            if (_kind_of_s3(root, is_prefix=True) if root.is_s3 else _kind_of_local(root)) != "folder":
                raise SourceError(f"SOURCE {location}: there is no folder {root}")
            return cls("folder", root, pattern)
        if found is None:
            shown = f"{location}/" if location.is_s3 and text.endswith("/") else location
            raise SourceError(f"SOURCE {shown} does not exist; give a folder, file, glob, list or bucket prefix")
        if glob is not None:
            raise UsageError(f"SOURCE {location} is a single file; --glob goes with a folder or bucket prefix")
        folder, _, name = location.url.rpartition("/")
        kind: Literal["file", "list"] = "list" if list_kind(name) else "file"
        if kind == "file" and suffix_of(name) in _FOREIGN_SUFFIXES:
            lists = ", ".join(f".{suffix}" for suffix in sorted(LIST_SUFFIXES))
            raise SourceError(f"SOURCE {location} is neither a recording nor a list that is read ({lists})")
        return cls(kind, Location(folder or "/"), None, name)

    def describe(self) -> str:
        """The same text for the same source, however it was typed."""
        return str(self.root.join(part) if (part := self.pattern or self.name) else self.root)

    def list(self, *, exclude: Location | None, skipped: Skipped) -> Iterator[pa.Table]:
        """Slices of the plan (PLAN_SCHEMA), sorted by path over all of them, each path once; fills `skipped`.

        `exclude` (the output) and what is below it is left out of folders and prefixes.
        """
        rows = iter(self._rows(exclude, skipped))
        while chunk := list(islice(rows, SLICE_ROWS)):
            yield pa.Table.from_arrays([pa.array(column) for column in zip(*chunk, strict=True)], schema=PLAN_SCHEMA)

    def locate(self, path: str) -> str | bytes:
        """Where a row's path is: the raw bytes of a local path, or "bucket/key"."""
        raw = unescape_path(path)
        if self.kind == "list" and raw.startswith(_S3_SCHEME):
            return raw.removeprefix(_S3_SCHEME).decode("utf-8", "replace")
        if self.root.is_s3 and not (self.kind == "list" and raw.startswith(b"/")):
            relative = raw.decode("utf-8", "replace")
            if self.kind == "list" and not {".", ".."}.isdisjoint(relative.split("/")):
                relative = posixpath.normpath(relative)
            return f"{self.root.path}/{relative}"
        return os.path.join(os.fsencode(self.root.path), raw)  # noqa: PTH118 - bytes

    def _rows(self, exclude: Location | None, skipped: Skipped) -> Iterable[PlannedFile]:
        with faults_of(self.root):
            if self.kind == "folder":
                depth = None if self.pattern is None or "**" in self.pattern else self.pattern.count("/")
                choice = Choice(_chooser(self.pattern), depth, exclude)
                yield from (list_objects if self.root.is_s3 else walk_files)(self.root, choice, skipped)
            elif self.kind == "file":
                yield self.look(escape_path(os.fsencode(self.name))).result()
            else:
                yield from self._listed()

    def _listed(self) -> Iterator[PlannedFile]:
        """The rows of a list's paths. A wrong one is a row; where none can be found, their bucket must at least exist.

        So a bucket that is gone or misspelt in every line stops the run, before the rows of an earlier one are given
        up for as many failed ones.
        """
        paths = read_path_list(self.root.join(self.name))
        is_any_found, lost = False, ""
        for file in in_order(paths, self.look, max_in_flight=_MAX_LOOKS_IN_FLIGHT):
            is_any_found = is_any_found or file.version != ""
            target = "" if is_any_found or lost else self.locate(file.path)
            lost = lost or (target if isinstance(target, str) else "")
            yield file
        if lost and not is_any_found:
            from ser_core.storage import list_pages

            bucket = lost.partition("/")[0]
            # One that may not be listed is there.
            with faults_of(Location(f"s3://{bucket}")), suppress(PermissionError):
                next(list_pages(f"{bucket}/", page_size=1))

    def look(self, path: str) -> "Future[PlannedFile]":
        """A row of the plan for a path, of a file that is missing or out of reach too."""
        target = self.locate(path)
        if isinstance(target, str):
            from ser_core.storage import start_request

            return start_request(_look_at_object(path, target))
        done: Future[PlannedFile] = Future()
        done.set_result(look_at(path, target) or PlannedFile(path, -1, ""))
        return done


async def _look_at_object(path: str, target: str) -> PlannedFile:
    from ser_core.storage import look_at_object

    return PlannedFile(path, *await look_at_object(target))


def _kind_of_local(location: Location) -> Literal["folder", "file"] | None:
    path = Path(location.path)
    with one_line_faults(location, "cannot be read", what="SOURCE", raises=SourceError):
        if path.is_dir():
            os.scandir(path).close()
            return "folder"
        if path.exists() and not path.is_file():
            raise SourceError(f"SOURCE {location} is neither a file nor a folder")
        return "file" if path.is_file() else None


def _kind_of_s3(location: Location, *, is_prefix: bool) -> Literal["folder", "file"] | None:
    """An object of the prefix's own name, as some programs put there, hides nothing of what lies below."""
    from ser_core.storage import list_pages

    with faults_of(location):
        below = [] if location.key and is_prefix else next(list_pages(location.path, page_size=1))
        is_object = bool(location.key and below and below[0]["Key"] == location.key)
        if not location.key:
            return "folder"
        is_folder = bool(next(list_pages(f"{location.path}/", page_size=1)))
        if is_object and is_folder and below[0]["Size"]:
            raise SourceError(f"SOURCE {location} is an object and a prefix; put / at its end for what lies below it")
        return "folder" if is_folder else "file" if is_object else None


def _has_magic(text: str) -> bool:
    return any(letter in text for letter in "*?[")


def _split_glob(location: Location) -> tuple[Location, str]:
    parts = location.url.split("/")
    first = next(index for index, part in enumerate(parts) if _has_magic(part))
    root = "/".join(parts[:first])
    return Location(root or "/"), _checked_pattern("/".join(parts[first:])) or ""


def _checked_pattern(pattern: str | None) -> str | None:
    if pattern is None:
        return None
    if not pattern or pattern.startswith("/"):
        raise UsageError(f"--glob '{pattern}' must be relative to SOURCE, as '**/*.wav'")
    try:
        _chooser(pattern)
    except (ValueError, re.error) as error:
        raise UsageError(f"--glob '{pattern}' cannot be used: {error}") from error
    return pattern


def _chooser(pattern: str | None) -> Callable[[str], bool]:
    if pattern is None:
        suffixes = frozenset(AUDIO_SUFFIXES + VIDEO_SUFFIXES)
        return lambda path: suffix_of(path) in suffixes
    from fsspec.utils import glob_translate

    matches = re.compile(glob_translate(pattern)).match
    return lambda path: matches(os.fsdecode(unescape_path(path))) is not None
