"""Manifests: Parquet files with a row for each clip: where it is, its emotion, and who speaks.

Shape letters: N rows (clips).
"""

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ser_core.encoding import parquet_bytes
from ser_core.errors import SourceError
from ser_core.labels import MAX_LABELS, in_order, label_fault
from ser_core.settings import short
from ser_core.source import NoListError, position_of
from ser_core.storage import Location, one_line_faults, put, read
from ser_core.vocabulary import LABELS, UNKNOWN_SPEAKER

#: One row per clip, sorted by corpus and path. A file may lack the columns that can be null.
MANIFEST_SCHEMA = pa.schema(
    [
        #: An absolute local path, or s3://bucket/key.
        pa.field("path", pa.string(), nullable=False),
        pa.field("corpus", pa.string(), nullable=False),
        #: A label, of the common ones (LABELS) or one's own.
        pa.field("emotion", pa.string(), nullable=False),
        #: "<corpus>-<id>": no two corpora share one.
        pa.field("speaker", pa.string(), nullable=False),
        #: "male" or "female".
        pa.field("gender", pa.string()),
        #: ISO 639-1, as "en".
        pa.field("language", pa.string()),
        #: The sentence, or the corpus's own code of it.
        pa.field("statement", pa.string()),
    ]
)
#: Manifests written before may have these columns too. Nothing reads them, but the content hash counts them.
_FORMER_FIELDS = [
    pa.field("modality", pa.string()),
    pa.field("vocal_channel", pa.string()),
    pa.field("intensity", pa.string()),
    pa.field("repetition", pa.int64()),
]
_HASHED_COLUMNS = (*MANIFEST_SCHEMA.names[:-1], "modality", "vocal_channel", "intensity", "statement", "repetition")
#: Beside them where clips were decoded; no manifest file has them.
_SECONDS, _AUDIO_HASH = _DECODED = "audio_seconds", "audio_hash"
_ORDER = [("corpus", "ascending"), ("path", "ascending")]
_MAX_NAMED = 3
#: More than all corpora of emotional speech have together.
_MAX_CLIPS, _MAX_TEXT_BYTES = 5_000_000, 2**29
_WHAT_TO_DO = "write it with 'ser corpus'"


@dataclass(frozen=True)
class Manifest:
    """The clips of one or several manifest files."""

    #: MANIFEST_SCHEMA, and what columns manifests had before.
    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def paths(self) -> list[str]:
        """Absolute local paths, or s3:// URLs."""
        return list(self.table["path"].to_pylist())

    @cached_property
    def known_labels(self) -> tuple[str, ...]:
        """The common labels, whether they occur or not, and after them those of one's own that occur."""
        return in_order([*LABELS, *pc.unique(self.table["emotion"]).to_pylist()])

    @cached_property
    def label_N(self) -> npt.NDArray[np.int64]:
        """(N,) Each clip's emotion as an index into `known_labels`."""
        index_of = {label: index for index, label in enumerate(self.known_labels)}
        return np.array([index_of[emotion] for emotion in self.table["emotion"].to_pylist()], dtype=np.int64)

    @property
    def corpora(self) -> npt.NDArray[np.object_]:
        """(N,) str."""
        return self._texts("corpus")

    @property
    def speakers(self) -> npt.NDArray[np.object_]:
        """(N,) str."""
        return self._texts("speaker")

    @property
    def genders(self) -> npt.NDArray[np.object_]:
        """(N,) str or None."""
        return self._texts("gender")

    @property
    def languages(self) -> npt.NDArray[np.object_]:
        """(N,) str or None."""
        return self._texts("language")

    @property
    def statements(self) -> npt.NDArray[np.object_]:
        """(N,) str or None."""
        return self._texts("statement")

    @property
    def audio_seconds(self) -> npt.NDArray[np.float64] | None:
        """(N,) How long the clips are; None where nobody has decoded them."""
        return self.table[_SECONDS].to_numpy() if _SECONDS in self.table.column_names else None

    @property
    def audio_hashes(self) -> list[str] | None:
        """(N,) Hashes of the clips' samples; None where nobody has decoded them."""
        return self.table[_AUDIO_HASH].to_pylist() if _AUDIO_HASH in self.table.column_names else None

    def decoded(self, seconds_N: npt.NDArray[np.float64], hash_N: Sequence[str] | npt.NDArray[np.str_]) -> "Manifest":
        """The same clips, of which it is known how long they are, and the hash of their samples."""
        table = self.table.append_column(_SECONDS, pa.array(seconds_N))
        return Manifest(table.append_column(_AUDIO_HASH, pa.array(hash_N, pa.string())))

    @classmethod
    def of_predictions(cls, table: pa.Table) -> "Manifest":
        """The clips of a table of predictions, which has more columns."""
        known = [*MANIFEST_SCHEMA.names, *(field.name for field in _FORMER_FIELDS), *_DECODED]
        return cls(table.select([name for name in known if name in table.column_names]))

    def _texts(self, column: str) -> npt.NDArray[np.object_]:
        return np.array(self.table[column].to_pylist(), dtype=object)

    def labels(self) -> tuple[str, ...]:
        """The labels that occur: the common ones in their order, then those of one's own by name."""
        return in_order(pc.unique(self.table["emotion"]).to_pylist())

    def labels_by_corpus(self) -> dict[str, tuple[str, ...]]:
        """The labels that occur in each corpus."""
        names = sorted(set(self.corpora))
        return {name: self.take(np.flatnonzero(self.corpora == name)).labels() for name in names}

    def take(self, index_N: npt.NDArray[np.int64]) -> "Manifest":
        """The rows at these indices, in their order."""
        return Manifest(self.table.take(pa.array(index_N, pa.int64())))

    def content_hash(self) -> str:
        """The sha256 of all rows' values, paths too, in their order; the audio files are not read."""
        digest = hashlib.sha256()
        for name in _HASHED_COLUMNS:
            has_it = name in self.table.column_names
            digest.update(json.dumps([name, self.table[name].to_pylist() if has_it else [None] * len(self)]).encode())
        return digest.hexdigest()


def is_known_speaker(name: str) -> bool:
    """Whether a speaker of a manifest is somebody, and not all of whom nobody knows who they are."""
    return not name.endswith(f"-{UNKNOWN_SPEAKER}")


def rows_to_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows as plain values, in MANIFEST_SCHEMA; what a row lacks is null."""
    return pa.Table.from_pylist(list(rows), schema=MANIFEST_SCHEMA)


def read_manifests(files: Sequence[str]) -> Manifest:
    """The rows of manifest files, local or s3://, sorted by corpus and path.

    Raises:
        SourceError: a file is missing, no manifest, or empty; an emotion can be no label; there are more than
            MAX_LABELS; a path comes twice; a path is relative; two corpora share a speaker.
        UsageError: a name that can be none of a file.
        ServiceError: the bucket failed as a whole.
    """
    locations = [Location.parse(file) for file in files]
    if not locations:
        raise SourceError(f"no manifest is given; {_WHAT_TO_DO}")
    tables = [_checked(_read(location), location) for location in locations]
    table = pa.concat_tables(tables, promote_options="default").sort_by(_ORDER).combine_chunks()
    _check_together(table, ", ".join(map(str, locations)))
    return Manifest(table)


def write_manifest(table: pa.Table, file: str) -> None:
    """Write rows (MANIFEST_SCHEMA) to a local file or s3:// object, sorted, over the one that is there.

    Raises:
        SourceError: there is no row, or one that `read_manifests` would refuse.
        OutputError: the file cannot be written.
        ServiceError: the bucket or the disk failed as a whole.
    """
    location = Location.parse(file)
    table = _checked(table, location).select(MANIFEST_SCHEMA.names).sort_by(_ORDER)
    _check_together(table, str(location))
    with one_line_faults(location, "cannot be written", "name another file", what="manifest"):
        put(location, parquet_bytes(table))


def _read(location: Location) -> pa.Table:
    """The columns that are of use, which a file of a few kilobytes may not make gigabytes of."""
    where = f"manifest {location}"
    try:
        with one_line_faults(location, "cannot be read", what="manifest", raises=SourceError, passes=FileNotFoundError):
            data = io.BytesIO(read(location))
        return _decoded(data, where)
    except FileNotFoundError as error:
        raise SourceError(f"{where}: there is no such file; {_WHAT_TO_DO}") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SourceError(f"{where}: is no Parquet file; {_WHAT_TO_DO}") from error


def _decoded(data: io.BytesIO, where: str) -> pa.Table:
    known = {field.name for field in (*MANIFEST_SCHEMA, *_FORMER_FIELDS)}
    fields = [field for field in pq.read_schema(data) if field.name in known]
    names = [field.name for field in fields]
    try:
        for name in names:
            position_of(name, names)
    except NoListError as error:
        raise SourceError(f"{where}: {error}") from error
    # A text that is repeated stays one until it is counted.
    texts = [field.name for field in fields if field.type in {pa.string(), pa.large_string(), pa.binary()}]
    with pq.ParquetFile(data, read_dictionary=texts) as file:
        num_rows = file.metadata.num_rows
        if num_rows > _MAX_CLIPS:
            raise SourceError(f"{where}: says that it holds {num_rows:,} clips, more than {_MAX_CLIPS:,}; split it")
        table = file.read(names)
    if sum(_num_text_bytes(chunk) for column in table.columns for chunk in column.chunks) > _MAX_TEXT_BYTES:
        raise SourceError(f"{where}: holds more than {_MAX_TEXT_BYTES // 2**20} MB of text; {_WHAT_TO_DO}")
    return table


def _num_text_bytes(chunk: pa.Array) -> int:
    """What the texts take when each row has its own."""
    if not pa.types.is_dictionary(chunk.type):
        return int(chunk.nbytes)
    lengths = pc.binary_length(chunk.dictionary).take(chunk.indices)
    return int(pc.sum(lengths.cast(pa.int64())).as_py() or 0)


def _checked(table: pa.Table, location: Location) -> pa.Table:
    """The table in MANIFEST_SCHEMA; SourceError when it holds no rows that can be used."""
    where = f"manifest {location}"
    fields = [*MANIFEST_SCHEMA, *(field for field in _FORMER_FIELDS if field.name in table.column_names)]
    columns = []
    for field in fields:
        if field.name not in table.column_names:
            if not field.nullable:
                raise SourceError(f"{where}: has no column '{field.name}'; {_WHAT_TO_DO}")
            columns.append(pa.nulls(len(table), field.type))
            continue
        try:
            column = table[field.name].cast(field.type)
            # Texts of Parquet need not be UTF-8.
            column.validate(full=True)
        except pa.ArrowException as error:
            raise SourceError(f"{where}: the column '{field.name}' is not {field.type}; {_WHAT_TO_DO}") from error
        if not field.nullable and (column.null_count or pc.any(pc.equal(column, "")).as_py()):
            raise SourceError(f"{where}: the column '{field.name}' has rows without a value; fill them")
        if field.type == pa.string() and pc.any(pc.match_substring(column, "\0")).as_py():
            raise SourceError(f"{where}: the column '{field.name}' has a text with a NUL character; {_WHAT_TO_DO}")
        columns.append(column)
    if not len(table):
        raise SourceError(f"{where}: holds no clip; write it anew")
    checked = pa.Table.from_arrays(columns, schema=pa.schema(fields))
    for emotion in sorted(pc.unique(checked["emotion"]).to_pylist()):
        if fault := label_fault(emotion):
            raise SourceError(f"{where}: the emotion {short(emotion)} {fault}; {_WHAT_TO_DO}")
    relative = pc.invert(pc.match_substring_regex(checked["path"], "^(/|s3://.)"))
    paths = checked["path"].filter(relative).to_pylist()
    _refuse("the path", paths, where, "is relative", "give absolute paths or s3:// URLs")
    return checked


def _check_together(table: pa.Table, where: str) -> None:
    _refuse("the path", _twice(table["path"]), f"manifest {where}", "comes twice", "give each clip once")
    if (num_labels := len(pc.unique(table["emotion"]))) > MAX_LABELS:
        raise SourceError(f"manifest {where}: has {num_labels} emotions; a model can have {MAX_LABELS} at most")
    pairs = table.group_by(["corpus", "speaker"]).aggregate([])
    shared = _twice(pairs["speaker"])
    _refuse("the speaker", shared, f"manifest {where}", "is in two corpora", "call speakers <corpus>-<id>")


def _twice(column: pa.ChunkedArray) -> list[str]:
    counts = pc.value_counts(column)
    return list(counts.field("values").filter(pc.greater(counts.field("counts"), 1)).to_pylist())


def _refuse(what: str, values: Iterable[str], where: str, why: str, advice: str) -> None:
    """SourceError when there is a value."""
    found = sorted(values)
    if not found:
        return
    named = ", ".join(repr(value) for value in found[:_MAX_NAMED])
    more = f" (and {len(found) - _MAX_NAMED} more)" if len(found) > _MAX_NAMED else ""
    raise SourceError(f"{where}: {what} {named}{more} {why}; {advice}")
