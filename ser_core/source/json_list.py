"""Reads the paths of JSON lists: an object or a text a line, or one array of them, as NeMo and Lhotse write them."""

import json
import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import IO, Any

from ser_core.encoding import read_json
from ser_core.source.text_table import NoListError, iter_lines, open_text

#: The names that columns and keys of paths have, the first that is there counts.
PATH_NAMES = (
    "path", "audio_filepath", "audio_path", "audio_file", "filepath", "file_path", "file_name", "filename", "wav_path",
    "audio", "wav",
)  # fmt: skip
#: Where Lhotse's manifests have more objects, or lists of them.
_INNER_NAMES = ("recording", "sources", "cut", "tracks")
#: A longer entry of an array is none.
_MAX_ENTRY_LENGTH = 2**24
#: Lines that are read at a time, as an array is often written in many.
_PIECES_AT_ONCE = 64
_SPACES = re.compile(r"[\s,]*")


def iter_json_paths(file: IO[bytes]) -> Iterator[str]:
    """The paths, in order; a line that has none is given as it is, so that it is told of.

    Raises:
        NoListError: no entry has a path, or it is neither an array nor lines.
    """
    text = open_text(file, newline="\n")
    lines = iter_lines(text)
    first = next((line for line in lines if line.strip()), "")
    is_array = first.lstrip().startswith("[")
    if not is_array and first.strip() in {"", "{"}:
        raise NoListError("it is neither an array of JSON nor one object a line" if first else "it is empty")
    entries = _array_entries(chain([first], lines)) if is_array else map(_line_entry, chain([first], lines))
    is_any_found = False
    for entry, written in entries:
        found = list(_paths_in(entry))
        is_any_found = is_any_found or bool(found)
        if written.strip():
            yield from found or [written.strip()]
    if not is_any_found:
        raise NoListError(f"no entry has a path; the keys that are known: {', '.join(PATH_NAMES)}")


def _paths_in(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, list):
        for one in entry:
            yield from _paths_in(one)
    elif isinstance(entry, dict):
        path = _path_of(entry) or _path_of({name.strip().lower(): value for name, value in entry.items()})
        if path is not None:
            yield path
            return
        if entry.get("type") == "file" and isinstance(entry.get("source"), str):
            yield entry["source"]
        for name in _INNER_NAMES:
            if isinstance(entry.get(name), list | dict):
                yield from _paths_in(entry[name])


def _path_of(entry: dict[str, Any]) -> str | None:
    for name in PATH_NAMES:
        value = entry.get(name)
        if isinstance(value, dict):
            value = value.get("path")
        if isinstance(value, str) and value:
            return value
    return None


def _line_entry(line: str) -> tuple[Any, str]:
    try:
        return read_json(line), line
    except ValueError:
        return None, line


def _array_entries(pieces: Iterator[str]) -> Iterator[tuple[Any, str]]:
    """The entries of an array, one after the other, and how each is written."""
    decode = json.JSONDecoder().raw_decode
    held, position = next(pieces), 0
    start = held.index("[") + 1
    while True:
        try:
            if (spaces := _SPACES.match(held, start)) is not None:
                start = spaces.end()
            if held.startswith("]", start):
                return
            entry, position = decode(held, start)
            # A number may go on in what is not read yet.
            is_whole = position < len(held)
        except (ValueError, RecursionError):
            is_whole = False
        if is_whole:
            yield entry, held[start:position]
            start = position
            continue
        more = "".join(islice(pieces, _PIECES_AT_ONCE))
        if not more or len(held) - start > _MAX_ENTRY_LENGTH:
            raise NoListError(f"it is no JSON, or breaks off, at {held[start : start + 40]!r}")
        held, start = held[start:] + more, 0
