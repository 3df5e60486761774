"""A corpus of one's own: a table as text with a row for each clip -> rows of a manifest."""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ser_core.corpora.manifest import rows_to_table
from ser_core.corpora.reading import BROKEN_ROW, NO_TEXT, UNREADABLE, FoundClips, LeftOutFile, is_text
from ser_core.corpora.words import COLUMNS, fact, label_of, no_label, speaker_id
from ser_core.errors import SourceError, UsageError, printable
from ser_core.settings import short
from ser_core.source import PATH_NAMES, NoListError, PlannedFile, Source, escape_path, open_table, suffix_of
from ser_core.storage import Location, one_line_faults, read
from ser_core.vocabulary import UNKNOWN_SPEAKER

REQUIRED = COLUMNS[:2]
_SUFFIXES = frozenset({"csv", "tsv", "psv", "txt"})
_MAX_NAMED = 8
_GENDERS = {"m": "male", "f": "female"}
_NAME_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")


@dataclass(frozen=True)
class _Row:
    """A row that is whole: its values as they are written, and where its clip is."""

    number: int
    values: dict[str, str]
    file: PlannedFile
    #: The clip's absolute path or URL.
    path: str


def read_csv(
    text: str,
    name: str | None,
    language: str | None,
    taken: frozenset[str],
    label_map: Mapping[str, str] | None = None,
    columns: Mapping[str, str] | None = None,
) -> FoundClips:
    """Read a table, local or s3://, with the columns path and emotion, and any other of COLUMNS.

    A row that cannot be used is left out. Where there is no column of speakers, all clips are of UNKNOWN_SPEAKER.

    Args:
        text: the file; relative paths in it are relative to its folder.
        name: the corpus's name; None: the file's, without its suffix. A speaker becomes `<name>-<speaker>`.
        language: the language of rows that name none.
        taken: names that other corpora have.
        label_map: words in lower case that the list has, and the labels that they mean.
        columns: names of COLUMNS, and those of the columns of the list, in lower case, that are meant.

    Raises:
        UsageError: it is no such file, or the name cannot be used.
        SourceError: it cannot be read, lacks a column, or holds no clip.
        ServiceError: the bucket or file system failed as a whole.
    """
    source = Source.parse(text)
    if source.kind != "list" or suffix_of(source.name) not in _SUFFIXES:
        raise UsageError(f"SOURCE {source.describe()}: give a .csv file with the columns {', '.join(REQUIRED)}")
    corpus = _checked_name(name or source.name.rpartition(".")[0].lower(), taken)
    clips: dict[str, dict[str, Any]] = {}
    left_out: list[LeftOutFile] = []
    words = label_map or {}
    rows = _read_rows(source.root.join(source.name), left_out, columns or {})
    for row in _look_at_all(source, rows):
        facts = {column: fact(value) for column, value in row.values.items()}
        reason = "the clip is in an earlier row too" if row.path in clips else _reason(row, facts, words)
        if reason is not None:
            left_out.append(LeftOutFile(row.path, reason, False, row.number))
            continue
        gender = facts["gender"] and facts["gender"].lower()
        clips[row.path] = facts | {
            "path": row.path,
            "corpus": corpus,
            "emotion": label_of(facts["emotion"] or "", words),
            "speaker": f"{corpus}-{speaker_id(facts['speaker'] or '')}",
            "gender": gender and _GENDERS.get(gender, gender),
            "language": facts["language"] or language,
            "statement": row.values["statement"].strip() or None,
        }
    left_out.sort(key=lambda file: file.row or 0)
    if not clips:
        why = f"; {printable(left_out[0].path)}: {left_out[0].reason}" if left_out else ""
        raise SourceError(f"SOURCE {source.describe()}: holds no clip{why}")
    return FoundClips(rows_to_table(list(clips.values())), tuple(left_out))


def _checked_name(name: str, taken: frozenset[str]) -> str:
    if not name or not _NAME_LETTERS.issuperset(name) or name[0] in "_.-":
        raise UsageError(
            f"'{printable(name)}' cannot name a corpus; give --name of letters a-z, digits, '-', '_' and '.'"
        )
    if name in taken:
        raise UsageError(f"'{name}' is another corpus; give this one a --name of its own")
    return name


def _read_rows(
    location: Location, left_out: list[LeftOutFile], columns: Mapping[str, str]
) -> list[tuple[int, dict[str, str]]]:
    """The number and the values of each row that is whole; what the file lacks is empty."""
    try:
        with one_line_faults(location, "cannot be read", what="SOURCE", raises=SourceError):
            data = read(location)
        table = open_table(io.BytesIO(data), (*PATH_NAMES, *COLUMNS, *columns.values()))
        index_of = _positions(table.names, table.index_of, columns)
    except NoListError as error:
        raise SourceError(f"SOURCE {location}: {error}") from error
    rows: list[tuple[int, dict[str, str]]] = []
    for row in table.rows:
        if not any(field.strip() for field in row.fields):
            continue
        if len(row.fields) < len(table.names) or any(row.fields[len(table.names) :]):
            left_out.append(LeftOutFile(f"row {row.number}", BROKEN_ROW, False, row.number))
            continue
        values = {column: "" if index is None else row.fields[index] for column, index in index_of.items()}
        if index_of["speaker"] is None:
            values["speaker"] = UNKNOWN_SPEAKER
        if table.is_padded:
            values["path"] = values["path"].strip()
        if not values["path"].strip():
            left_out.append(LeftOutFile(f"row {row.number}", "no path", False, row.number))
        else:
            rows.append((row.number, values))
    return rows


def _positions(
    names: Sequence[str], find: Callable[[str], int | None], columns: Mapping[str, str]
) -> dict[str, int | None]:
    """Where each of our columns is; None: nowhere.

    Raises:
        NoListError: one that is needed, or was said to be there, is not, or is there twice.
    """
    index_of: dict[str, int | None] = {}
    for column in COLUMNS:
        own = [column, *(PATH_NAMES if column == "path" else ())]
        wanted = [columns[column]] if column in columns else [name for name in own if name not in columns.values()]
        index_of[column] = next((index for name in wanted if (index := find(name)) is not None), None)
        if index_of[column] is None and (column in columns or column in REQUIRED):
            there = ", ".join(short(name) for name in names[:_MAX_NAMED])
            more = ", ..." if len(names) > _MAX_NAMED else ""
            which = "give one that is there" if column in columns else f"--columns 'NAME={column}' says which it is"
            raise NoListError(f"has no column '{columns.get(column, column)}', only {there}{more}; {which}")
    return index_of


def _look_at_all(source: Source, rows: list[tuple[int, dict[str, str]]]) -> list[_Row]:
    paths = [escape_path(values["path"].encode("utf-8", "surrogateescape")) for _, values in rows]
    found = source.look_at_all(paths)
    looked_at = []
    for (number, values), path, file in zip(rows, paths, found, strict=True):
        target = source.locate(path)
        absolute = f"s3://{target}" if isinstance(target, str) else os.fsdecode(target)
        looked_at.append(_Row(number, values, file, absolute))
    return looked_at


def _reason(row: _Row, facts: dict[str, str | None], words: Mapping[str, str]) -> str | None:
    """Why a row cannot be used, None if it can."""
    if not is_text(row.path):
        return NO_TEXT
    if any("\0" in value or not is_text(value) for value in row.values.values()):
        return f"{BROKEN_ROW}: it holds a NUL character, or is no UTF-8"
    if row.file.size < 0:
        return UNREADABLE
    if facts["emotion"] is None or facts["speaker"] is None:
        return f"no {'speaker' if facts['emotion'] else 'emotion'}"
    return no_label(facts["emotion"], words)
