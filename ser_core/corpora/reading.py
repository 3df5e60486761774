"""A folder or bucket with a corpus's files -> rows of a manifest, and the files that were left out, with reasons."""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from ser_core.corpora.manifest import MANIFEST_SCHEMA, rows_to_table
from ser_core.corpora.names import ClipName, Corpus, LeftOut
from ser_core.errors import SourceError, printable
from ser_core.source import AUDIO_SUFFIXES, Skipped, Source, is_member, suffix_of

UNREADABLE = "cannot be read, or is not there"
NO_TEXT = "the path is no UTF-8"
BROKEN_ROW = "the row is broken"
_EXAMPLES_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class LeftOutFile:
    """A file (or, where its path ends in "/", a folder) that gives no row."""

    path: str
    #: The same words for every file with the same reason.
    reason: str
    #: Whether it is known what the file is, so that a count is enough for a person.
    is_expected: bool
    #: Of a list: the number of its row, from 1 below the header.
    row: int | None = None

    @property
    def is_unread(self) -> bool:
        """Whether it is left out for what is wrong with it, not for what it is."""
        return self.reason in {UNREADABLE, NO_TEXT} or self.reason.startswith(BROKEN_ROW)


@dataclasses.dataclass(frozen=True)
class FoundClips:
    """The clips that were found in a source, and what else is in it."""

    #: MANIFEST_SCHEMA.
    table: pa.Table
    left_out: tuple[LeftOutFile, ...]
    #: Number of hidden files of a folder, which are not looked at.
    num_hidden: int = 0


def read_corpus(corpus: Corpus, text: str) -> FoundClips:
    """List a folder, bucket prefix, glob, file or list of paths, and read every name in it.

    Raises:
        SourceError: there is no such source, or no clip of this corpus in it.
        ServiceError: the bucket or file system failed as a whole.
    """
    source = Source.parse(text)
    if source.kind == "folder" and source.pattern is None:
        source = dataclasses.replace(source, pattern="**")
    skipped = Skipped()
    rows: list[dict[str, Any]] = []
    left_out: list[LeftOutFile] = []
    path_of: dict[tuple[str, str], str] = {}
    for path, size in iter_files(source, skipped):
        found = LeftOut(UNREADABLE) if size < 0 else _named(corpus, path)
        if isinstance(found, ClipName) and (found.speaker, found.clip) in path_of:
            found = LeftOut("another copy of a clip")
        if isinstance(found, ClipName):
            path_of[found.speaker, found.clip] = path
            facts = dataclasses.asdict(found)
            rows.append({"path": path, "corpus": corpus.name} | {name: facts[name] for name in _FACTS})
        else:
            is_known = found is not None and found.reason not in {UNREADABLE, NO_TEXT}
            reason = found.reason if found else f"not named as {corpus.name} names its clips ({corpus.example})"
            left_out.append(LeftOutFile(path, reason, is_known))
    if not rows:
        raise SourceError(_nothing_found(corpus, source, left_out))
    return FoundClips(rows_to_table(rows), tuple(left_out), skipped.num_hidden)


_FACTS = [name for name in MANIFEST_SCHEMA.names if name not in {"path", "corpus"}]


def iter_files(source: Source, skipped: Skipped) -> Iterator[tuple[str, int]]:
    """Every file's absolute path or URL, and its size, -1 where it cannot be looked at."""
    for table in source.list(exclude=None, skipped=skipped):
        for path, size, version in zip(*(table[name].to_pylist() for name in ("path", "size", "version")), strict=True):
            if is_member(version):
                raise SourceError(f"SOURCE {source.describe()}: holds clips in an archive or a table; unpack it")
            target = source.locate(path)
            yield (f"s3://{target}" if isinstance(target, str) else os.fsdecode(target)), size


def is_text(path: str) -> bool:
    """Whether a path is UTF-8, as it must be in a manifest."""
    return not any("\udc80" <= letter <= "\udcff" for letter in path)


def _named(corpus: Corpus, path: str) -> ClipName | LeftOut | None:
    if not is_text(path):
        return LeftOut(NO_TEXT)
    found = corpus.parse(path)
    suffix = suffix_of(path)
    if suffix in AUDIO_SUFFIXES or isinstance(found, LeftOut):
        return found
    return LeftOut(f"not audio (.{suffix})" if suffix else "not audio (no suffix)")


def _nothing_found(corpus: Corpus, source: Source, left_out: list[LeftOutFile]) -> str:
    names = [printable(file.path) for file in left_out[:_EXAMPLES_SHOWN]]
    holds = f"it holds {', '.join(names)}{' ...' if len(left_out) > len(names) else ''}" if names else "it is empty"
    return f"SOURCE {source.root}: no clip of {corpus.name} ({corpus.example}) is there; {holds}"
