"""SOURCE: a folder, a file, a glob, a bucket prefix or a list of paths; and its plan, a Parquet file sorted by path."""

import os
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ser_core.errors import SourceError, UsageError
from ser_core.ordered import in_order
from ser_core.records import PLAN_SCHEMA
from ser_core.source.listing import (
    AUDIO_SUFFIXES,
    SLICE_ROWS,
    VIDEO_SUFFIXES,
    Choice,
    PlannedFile,
    Skipped,
    count_suffix,
    escape_path,
    list_objects,
    look_at,
    suffix_of,
    unescape_path,
    walk_files,
)
from ser_core.source.path_list import LIST_SUFFIXES, read_path_list
from ser_core.storage import Location, faults_of, one_line_faults

_S3_SCHEME = b"s3://"
_MAX_LOOKS_IN_FLIGHT = 64


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
        found = _kind_of(location)
        if found == "folder":
            return cls("folder", location, _checked_pattern(glob))
        if found is None and _has_magic(text):
            if glob is not None:
                raise UsageError(f"SOURCE {location} is a glob already; leave out --glob")
            root, pattern = _split_glob(location)
            if _kind_of(root) != "folder":
                raise SourceError(f"SOURCE {location}: there is no folder {root}")
            return cls("folder", root, pattern)
        if found is None:
            raise SourceError(f"SOURCE {location} does not exist; give a folder, file, glob, list or bucket prefix")
        if glob is not None:
            raise UsageError(f"SOURCE {location} is a single file; --glob goes with a folder or bucket prefix")
        folder, _, name = location.url.rpartition("/")
        return cls("list" if suffix_of(name) in LIST_SUFFIXES else "file", Location(folder or "/"), None, name)

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
        paths = read_path_list(self.root.join(self.name), suffix_of(self.name))
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


def _kind_of(location: Location) -> Literal["folder", "file"] | None:
    return _kind_of_s3(location) if location.is_s3 else _kind_of_local(location)


def _kind_of_local(location: Location) -> Literal["folder", "file"] | None:
    path = Path(location.path)
    with one_line_faults(location, "cannot be read", what="SOURCE", raises=SourceError):
        if path.is_dir():
            os.scandir(path).close()
            return "folder"
        if path.exists() and not path.is_file():
            raise SourceError(f"SOURCE {location} is neither a file nor a folder")
        return "file" if path.is_file() else None


def _kind_of_s3(location: Location) -> Literal["folder", "file"] | None:
    from ser_core.storage import list_pages

    with faults_of(location):
        first = next(list_pages(location.path, page_size=1))
        if location.key and first and first[0]["Key"] == location.key:
            return "file"
        return "folder" if not location.key or next(list_pages(f"{location.path}/", page_size=1)) else None


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


_MAX_SUFFIXES_SHOWN = 5


@dataclass(frozen=True)
class PlanSummary:
    """Counts of what the plan holds, and of what the source holds besides."""

    num_files: int
    num_bytes: int
    #: Number of planned files, and of others, by lower-case suffix without the dot; "" for none.
    suffixes: Mapping[str, int]
    other_suffixes: Mapping[str, int]
    num_hidden: int


def write_plan(source: Source, to: Path, *, exclude: Location | None) -> PlanSummary:
    """List a source into a local Parquet file (PLAN_SCHEMA), a row group a slice: memory does not grow with it.

    Raises:
        SourceError: nothing to score is found.
        ServiceError: the bucket or a file system failed as a whole, that of `to` too.
    """
    skipped = Skipped()
    suffixes: Counter[str] = Counter()
    num_files = num_bytes = 0
    with faults_of(Location(str(to.parent))), pq.ParquetWriter(to, PLAN_SCHEMA, compression="zstd") as writer:
        for table in source.list(exclude=exclude, skipped=skipped):
            writer.write_table(table)
            num_files += len(table)
            for path in table["path"].to_pylist():
                count_suffix(suffixes, path)
            num_bytes += pc.sum(pc.max_element_wise(table["size"], 0)).as_py()
    if num_files == 0:
        raise SourceError(_nothing_found(source, skipped))
    return PlanSummary(num_files, num_bytes, dict(suffixes), dict(skipped.other_suffixes), skipped.num_hidden)


def suffix_counts(counts: Mapping[str, int]) -> list[str]:
    """How many files there are of each suffix, in words, most first."""
    most_first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [f"{count} {'.' + suffix if suffix else 'without suffix'}" for suffix, count in most_first]


def _nothing_found(source: Source, skipped: Skipped) -> str:
    if source.kind == "list":
        return f"the list {source.describe()} holds no path"
    wanted = f"that matches '{source.pattern}'" if source.pattern else "with the suffix of audio or video"
    others = suffix_counts(skipped.other_suffixes)
    if len(others) > _MAX_SUFFIXES_SHOWN:
        others[_MAX_SUFFIXES_SHOWN:] = ["more"]
    if skipped.num_hidden:
        others.append(f"{skipped.num_hidden} hidden")
    hint = "; '**/' at the front of a pattern searches all folders" if source.pattern else "; --glob chooses others"
    return f"SOURCE {source.root} holds no file {wanted}; it holds {', '.join(others) or 'no file at all'}{hint}"
