"""`ser corpus`: a corpus's files -> a manifest; RAVDESS can be fetched first."""

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobs.console import Console
from jobs.interrupts import Interrupts
from ser_core.corpora import CORPORA
from ser_core.errors import UsageError, printable
from ser_core.settings import is_http_url

_CSV = "csv"
if TYPE_CHECKING:
    from ser_core.corpora import Corpus, FoundClips

    Name = str
else:
    #: The names that the command line lists, completes and takes.
    Name = Literal[*CORPORA, _CSV]
_MAX_FILES_SHOWN = 20
_MEGABYTE = 10**6


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments and options of the command."""

    corpus: Name
    source: str | None
    manifest: str | None
    download: str | None
    #: The corpus's name and language, and what its words and columns mean, which `csv` alone takes.
    name: str | None
    language: str | None
    words: str | None
    columns: str | None

    def checked(self) -> "Request":
        """The same request with `source` and `manifest` set right where --download is given.

        Raises:
            UsageError: an argument is missing or does not fit the others.
        """
        source, manifest = self.source, self.manifest
        if self.download is not None:
            if manifest is not None:
                raise UsageError("--download DIR takes the place of SOURCE; give MANIFEST alone, or nothing")
            source, manifest = self.download, source
        elif source is None or manifest is None:
            raise UsageError(f"ser corpus {self.corpus} needs SOURCE and MANIFEST")
        if manifest is not None and not manifest.endswith(".parquet"):
            raise UsageError(f"MANIFEST {manifest}: its name must end in .parquet")
        if self.corpus != _CSV and (self.name or self.language or self.words or self.columns):
            raise UsageError("--name, --language, --map and --columns go with csv; the other corpora have theirs")
        return replace(self, source=source, manifest=manifest)


def run_corpus(request: Request, console: Console) -> int:
    """Download if asked to, then write the manifest; returns 3 if something of SOURCE could not be read."""
    request = request.checked()
    corpus = CORPORA.get(request.corpus)
    if request.download is not None:
        num_files = _download(corpus, request.download, console)
        if request.manifest is None:
            folder = printable(request.download)
            done = {"folder": folder, "files": num_files, "licence": corpus.licence if corpus else None}
            console.result(f"{folder}: {num_files} files of {request.corpus}", done)
            return 0
    return _write(request, corpus, console)


def _write(request: Request, corpus: "Corpus | None", console: Console) -> int:
    from ser_core.corpora import parse_columns, parse_label_map, read_corpus, read_csv, write_manifest
    from ser_core.vocabulary import LABELS

    source, manifest = request.source or "", request.manifest or ""
    if corpus is None:
        label_map = parse_label_map(request.words) if request.words is not None else {}
        columns = parse_columns(request.columns) if request.columns is not None else {}
        found = read_csv(source, request.name, request.language, frozenset(CORPORA), label_map, columns)
    else:
        found = read_corpus(corpus, source)
    write_manifest(found.table, manifest)
    _report_left_out(found, console)
    if corpus is not None and request.download is None:
        console.say(f"licence of {corpus.name}: {corpus.licence}")
    if own := set(found.table["emotion"].to_pylist()) - {*LABELS}:
        console.say(f"labels of your own: {', '.join(sorted(own))}")
    data = _summary(found) | {"manifest": printable(manifest), "licence": corpus.licence if corpus else None}
    emotions = ", ".join(f"{count} {emotion}" for emotion, count in data["emotions"].items())
    left_out = f"; {len(found.left_out)} files left out" if found.left_out else ""
    speakers = f"{data['speakers']} speakers" if data["speakers"] else "speakers unknown"
    counts = f"{data['clips']} clips of {data['corpus']}, {speakers}"
    console.result(f"{data['manifest']}: {counts} ({emotions}){left_out}", data)
    return 3 if any(file.is_unread for file in found.left_out) else 0


def _summary(found: "FoundClips") -> dict[str, Any]:
    from ser_core.corpora import is_known_speaker
    from ser_core.labels import in_order

    emotions = Counter(found.table["emotion"].to_pylist())
    return {
        "corpus": found.table["corpus"][0].as_py(),
        "clips": found.table.num_rows,
        "speakers": sum(is_known_speaker(name) for name in set(found.table["speaker"].to_pylist())),
        "emotions": {label: emotions[label] for label in in_order(emotions)},
        "left_out": [
            {"path": printable(file.path), "reason": printable(file.reason)}
            | ({} if file.row is None else {"row": file.row})
            for file in found.left_out
        ],
        "hidden": found.num_hidden,
    }


def _report_left_out(found: "FoundClips", console: Console) -> None:
    """Print a count for each reason, and below it the unexpected files: some of them, or all files when verbose."""
    if console.mode == "json":
        return
    num_left = len(found.left_out) if console.verbose else _MAX_FILES_SHOWN
    for reason, count in Counter(file.reason for file in found.left_out).most_common():
        console.say(f"left out {count}: {printable(reason)}")
        files = [file for file in found.left_out if file.reason == reason and (console.verbose or not file.is_expected)]
        for file in files[:num_left]:
            is_path = file.row is not None and file.path != f"row {file.row}"
            console.say(f"  {f'row {file.row}: ' if is_path else ''}{printable(file.path)}")
        if len(files) > num_left:
            console.say(f"  and {len(files) - num_left} more; --verbose shows all")
        num_left = max(0, num_left - len(files))


def _download(corpus: "Corpus | None", folder: str, console: Console) -> int:
    """Download and unpack; returns the number of files."""
    from ser_core.storage import Download, unpack

    if corpus is None or corpus.archive is None:
        known = ", ".join(name for name, other in CORPORA.items() if other.archive is not None)
        raise UsageError(f"--download knows {known} alone; get the others from their owners")
    if "://" in folder:
        raise UsageError(f"--download {folder}: give a local folder")
    archive = corpus.archive
    folder_url = os.environ.get(archive.folder_variable) or archive.folder_url
    if not is_http_url(folder_url):
        raise UsageError(f"{archive.folder_variable} must be an http(s) URL, not '{folder_url}'")

    def show(done: int, total: int | None) -> None:
        of_total = "" if total is None else f" of {total / _MEGABYTE:.0f}"
        progress.update(done, total, f"{done / _MEGABYTE:.0f}{of_total} MB")

    wanted = Download(
        url=f"{folder_url.rstrip('/')}/{archive.name}",
        known_hash=archive.known_hash,
        max_bytes=archive.max_bytes,
        progress=show,
    )
    file = Path(folder) / archive.name
    console.say(f"licence of {corpus.name}: {corpus.licence}")
    console.say(f"downloading {wanted.shown} to {file}")
    with Interrupts(), console.progress() as progress:
        wanted.fetch(file)
    num_files = unpack(file, Path(folder), max_files=archive.max_files, max_bytes=archive.max_bytes)
    console.say(f"unpacked {num_files} files below {folder}; {archive.name} may be deleted")
    return num_files
