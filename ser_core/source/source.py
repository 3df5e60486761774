"""SOURCE: a folder, a file, a glob, a bucket prefix or a list of paths; and its plan, a Parquet file sorted by path."""

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Literal, Self

import pyarrow as pa

from ser_core.errors import SourceError, UsageError
from ser_core.ordered import in_order
from ser_core.records import PLAN_SCHEMA
from ser_core.source.containers import chosen_members, expand, is_container, merged, named_containers, without
from ser_core.source.kinds import kind_of
from ser_core.source.listing import (
    NO_SUFFIX,
    SLICE_ROWS,
    Choice,
    PlannedFile,
    Skipped,
    iter_sorted,
    list_objects,
    look_at,
    microseconds_of,
    walk_files,
)
from ser_core.source.members import CONTAINER_SUFFIXES
from ser_core.source.names import AUDIO_SUFFIXES, VIDEO_SUFFIXES, escape_path, suffix_of, unescape_path
from ser_core.source.path_list import FOREIGN_SUFFIXES, LIST_SUFFIXES, is_collection, read_path_list
from ser_core.storage import Location, faults_of

_S3_SCHEME = b"s3://"
_MAX_LOOKS = 64


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
        found = kind_of(location, is_prefix=text.endswith("/"))
        if found == "folder":
            return cls("folder", location, _checked_pattern(glob))
        if found is None and has_magic(text):
            if glob is not None:
                raise UsageError(f"SOURCE {location} is a glob already; leave out --glob")
            root, pattern = _split_glob(location)
            if kind_of(root, is_prefix=True) != "folder":
                raise SourceError(f"SOURCE {location}: there is no folder {root}")
            return cls("folder", root, pattern)
        if found is None:
            shown = f"{location}/" if location.is_s3 and text.endswith("/") else location
            raise SourceError(f"SOURCE {shown} does not exist; give a folder, file, glob, list or bucket prefix")
        if glob is not None:
            raise UsageError(f"SOURCE {location} is a single file; --glob goes with a folder or bucket prefix")
        folder, _, name = location.url.rpartition("/")
        if suffix_of(name) in FOREIGN_SUFFIXES and not is_collection(name):
            lists = ", ".join(f".{suffix}" for suffix in sorted(LIST_SUFFIXES | CONTAINER_SUFFIXES))
            raise SourceError(f"SOURCE {location} is neither a recording nor a list that is read ({lists})")
        return cls("list" if is_collection(name) else "file", Location(folder or "/"), None, name)

    def describe(self) -> str:
        """The same text for the same source, however it was typed."""
        return str(self.root.join(part) if (part := self.pattern or self.name) else self.root)

    def list(self, *, exclude: Location | None, skipped: Skipped) -> Iterator[pa.Table]:
        """Slices of the plan (PLAN_SCHEMA), sorted by path over all of them, each path once; fills `skipped`.

        `exclude` (the output) and what is below it is left out of folders and prefixes.
        """
        rows = iter(self._rows(exclude, skipped))
        while chunk := list(islice(rows, SLICE_ROWS)):
            columns = zip(zip(*chunk, strict=True), PLAN_SCHEMA.types, strict=True)
            yield pa.Table.from_arrays([pa.array(column, kind) for column, kind in columns], schema=PLAN_SCHEMA)

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
                choice = Choice(_chooser(self.pattern), _why_not(self.pattern), depth, exclude)
                files = (list_objects if self.root.is_s3 else walk_files)(self.root, choice, skipped)
                is_of_containers = self.pattern is not None and suffix_of(self.pattern) in CONTAINER_SUFFIXES
                yield from self._expanded(files, skipped) if is_of_containers else files
            elif self.kind == "file":
                yield self.look(escape_path(os.fsencode(self.name))).result()
            else:
                yield from self._listed(skipped)

    def _expanded(self, files: Iterable[PlannedFile], skipped: Skipped) -> Iterator[PlannedFile]:
        """Members in the place of containers, which all but the files are that cannot be read."""
        found = list(files)
        tables = self._expand([file for file in found if file.version], skipped)
        return merged(iter([file for file in found if not file.version]), list(tables))

    def _expand(self, containers: Sequence[PlannedFile], skipped: Skipped) -> Iterator[pa.Table]:
        return expand(containers, lambda file: self.locate(file.path), _chooser(None), skipped)

    def _listed(self, skipped: Skipped) -> Iterator[PlannedFile]:
        """The rows of a list's paths, and of the members of containers that it names."""
        paths = self._paths()
        named = named_containers(paths)
        found = [file for file in self.look_at_all(named.to_pylist()) if file.version]
        tables = [
            chosen_members(file.path, table, paths)
            for file, table in zip(found, self._expand(found, skipped), strict=True)
        ]
        rest = without(
            paths, [pa.array([file.path for file in found], pa.large_string()), *(t["path"] for t in tables)]
        )
        return merged(self._looked_at(iter_sorted(rest)), tables)

    def _paths(self) -> pa.ChunkedArray:
        """What the list holds; of a container its own name alone."""
        location = self.root.join(self.name)
        name = escape_path(os.fsencode(self.name))
        if suffix_of(name) in CONTAINER_SUFFIXES and is_container(
            self.look(name).result(), self.locate(name), location
        ):
            return pa.chunked_array([[name]], pa.large_string())
        return read_path_list(location)

    def _looked_at(self, paths: Iterable[str]) -> Iterator[PlannedFile]:
        """The rows of paths. A wrong one is a row; where none can be found, their bucket must at least exist.

        So a bucket that is gone or misspelt in every line stops the run, before the rows of an earlier one are given
        up for as many failed ones.
        """
        is_any_found, lost = False, ""
        for file in self.look_at_all(paths):
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

    def look_at_all(self, paths: Iterable[str]) -> Iterator[PlannedFile]:
        """The rows of paths, in their order, looked at many at once."""
        return in_order(paths, self.look, max_in_flight=_MAX_LOOKS)

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

    size, version, modified = await look_at_object(target)
    return PlannedFile(path, size, version, microseconds_of(modified))


def has_magic(text: str) -> bool:
    """Whether a text is a glob, where there is no file of this name."""
    return any(letter in text for letter in "*?[")


def _split_glob(location: Location) -> tuple[Location, str]:
    parts = location.url.split("/")
    first = next(index for index, part in enumerate(parts) if has_magic(part))
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


def _why_not(pattern: str | None) -> str:
    return NO_SUFFIX if pattern is None else f"not matched by '{pattern}'"


def _chooser(pattern: str | None) -> Callable[[str], bool]:
    if pattern is None:
        suffixes = frozenset(AUDIO_SUFFIXES + VIDEO_SUFFIXES)
        return lambda path: suffix_of(path) in suffixes
    from fsspec.utils import glob_translate

    matches = re.compile(glob_translate(pattern)).match
    return lambda path: matches(os.fsdecode(unescape_path(path))) is not None
