"""A corpus of one's own: a CSV file with a row for each clip -> rows of a manifest."""

import io
import os
import re
from typing import Any

import pyarrow as pa
from pyarrow import csv

from ser_core.corpora.manifest import rows_to_table
from ser_core.corpora.reading import NO_TEXT, UNREADABLE, FoundClips, LeftOutFile, is_text, iter_files
from ser_core.errors import SourceError, UsageError, one_line, printable
from ser_core.source import Skipped, Source, escape_path
from ser_core.storage import Location, one_line_faults, read
from ser_core.vocabulary import LABELS

REQUIRED = ("path", "emotion", "speaker")
OPTIONAL = ("gender", "language", "statement")
#: Words that mean one of the common labels.
SYNONYMS = {
    "calmness": "calm",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "anger": "angry",
    "fear": "fearful",
    "disgusted": "disgust",
    "surprise": "surprised",
}
_GENDERS = {"m": "male", "f": "female"}
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


def read_csv(text: str, name: str | None, language: str | None, taken: frozenset[str]) -> FoundClips:
    """Read a CSV file, local or s3://, with the columns path, emotion, speaker and any of OPTIONAL.

    Args:
        text: the file; relative paths in it are relative to its folder.
        name: the corpus's name; None: the file's, without its suffix. A speaker becomes `<name>-<speaker>`.
        language: the language of rows that name none.
        taken: names that other corpora have.

    Raises:
        UsageError: it is no .csv file, or the name cannot be used.
        SourceError: it cannot be read, lacks a column, or holds no clip.
        ServiceError: the bucket or file system failed as a whole.
    """
    source = Source.parse(text)
    if source.kind != "list" or not source.name.lower().endswith(".csv"):
        raise UsageError(f"SOURCE {source.describe()}: give a .csv file with the columns {', '.join(REQUIRED)}")
    corpus = _checked_name(name or source.name[: -len(".csv")].lower(), taken)
    table = _read_columns(source.root.join(source.name))
    size_of = dict(iter_files(source, Skipped()))
    rows: list[dict[str, Any]] = []
    left_out: list[LeftOutFile] = []
    for number, record in enumerate(table.to_pylist(), start=1):
        facts = {column: (value or "").strip() or None for column, value in record.items() if column != "path"}
        path, reason = _checked_row(source, size_of, record["path"] or "", facts)
        if reason is not None:
            left_out.append(LeftOutFile(path or f"row {number}", reason, False))
            continue
        emotion = str(facts["emotion"]).lower()
        gender = facts["gender"] and facts["gender"].lower()
        rows.append(
            facts
            | {"path": path, "corpus": corpus, "emotion": SYNONYMS.get(emotion, emotion)}
            | {"speaker": f"{corpus}-{facts['speaker']}", "gender": gender and _GENDERS.get(gender, gender)}
            | {"language": facts["language"] or language}
        )
    if not rows:
        why = f"; {printable(left_out[0].path)}: {left_out[0].reason}" if left_out else ""
        raise SourceError(f"SOURCE {source.describe()}: holds no clip{why}")
    return FoundClips(rows_to_table(rows), tuple(left_out))


def _checked_name(name: str, taken: frozenset[str]) -> str:
    if _NAME.fullmatch(name) is None:
        raise UsageError(
            f"'{printable(name)}' cannot name a corpus; give --name of letters a-z, digits, '-', '_' and '.'"
        )
    if name in taken:
        raise UsageError(f"'{name}' is another corpus; give this one a --name of its own")
    return name


def _read_columns(location: Location) -> pa.Table:
    """REQUIRED and OPTIONAL as texts; what the file lacks is null."""
    wanted = [*REQUIRED, *OPTIONAL]
    convert = csv.ConvertOptions(column_types=dict.fromkeys(wanted, pa.string()))
    try:
        with one_line_faults(location, "cannot be read", what="SOURCE", raises=SourceError):
            data = read(location)
        parse = csv.ParseOptions(newlines_in_values=True)
        table = csv.read_csv(io.BytesIO(data), parse_options=parse, convert_options=convert)
    except pa.ArrowException as error:
        raise SourceError(f"SOURCE {location}: {one_line(error)}") from error
    for column in wanted:
        count = table.column_names.count(column)
        if count > 1:
            raise SourceError(f"SOURCE {location}: the column '{column}' is there twice; leave one")
        if count == 0 and column in REQUIRED:
            raise SourceError(f"SOURCE {location}: has no column '{column}'; it needs {', '.join(REQUIRED)}")
    return pa.table(
        {name: table[name] if name in table.column_names else pa.nulls(len(table), pa.string()) for name in wanted}
    )


def _checked_row(
    source: Source, size_of: dict[str, int], path: str, facts: dict[str, str | None]
) -> tuple[str | None, str | None]:
    """The clip's absolute path, and why the row cannot be used, None if it can."""
    if not path.strip():
        return None, "no path"
    target = source.locate(escape_path(path.encode()))
    absolute = f"s3://{target}" if isinstance(target, str) else os.fsdecode(target)
    if not is_text(absolute):
        return absolute, NO_TEXT
    if size_of.get(absolute, -1) < 0:
        return absolute, UNREADABLE
    emotion, speaker = facts["emotion"], facts["speaker"]
    if emotion is None or speaker is None:
        return absolute, f"no {'speaker' if emotion else 'emotion'}"
    if SYNONYMS.get(emotion.lower(), emotion.lower()) not in LABELS:
        return absolute, f"emotion '{emotion}', which has no common label"
    return absolute, None
