"""What the tables of results say of themselves: their columns, and the settings that their rows were made with.

All are declared here alone. A column that is added is null in the rows that an output has already, and every run that
goes on there adds it to the tables by itself; it keeps its name and its type for ever. How to add one:
docs/contributing.md.
"""

import json
from typing import Any, Self

import pyarrow as pa
from pydantic import Field

from ser_core.encoding import read_json
from ser_core.errors import DamagedOutputError, OutputError, UsageError
from ser_core.records import GAP_TYPE
from ser_core.settings import ResolvedPrecision, Settings
from ser_core.storage import Location
from ser_core.vocabulary import AdaptMode, Channels, SpeechMode

#: One row per window; key (path, channel, window_index); partitioned by emotion. The p_<label> follow `confidence`.
PREDICTION_COLUMNS = [
    pa.field("path", pa.string()),
    pa.field("channel", pa.int32()),
    pa.field("window_index", pa.int64()),
    pa.field("start_seconds", pa.float64()),
    pa.field("end_seconds", pa.float64()),
    pa.field("emotion", pa.string()),
    pa.field("confidence", pa.float32()),
    pa.field("level_dbfs", pa.float32()),
    pa.field("speech_share", pa.float32()),
    pa.field("file_version", pa.string()),
    pa.field("model", pa.string()),
]

#: One row per file (and channel); key (path, channel); partitioned by status. The p_<label> follow `confidence`, and
#: the share_<label> them.
FILE_COLUMNS = [
    pa.field("path", pa.string()),
    pa.field("channel", pa.int32()),
    pa.field("file_version", pa.string()),
    pa.field("modified", pa.timestamp("us", "UTC")),
    pa.field("status", pa.string()),
    pa.field("emotion", pa.string()),
    pa.field("confidence", pa.float32()),
    pa.field("num_windows", pa.int64()),
    pa.field("audio_seconds", pa.float64()),
    pa.field("speech_seconds", pa.float64()),
    pa.field("gaps", pa.list_(GAP_TYPE)),
    pa.field("reason", pa.string()),
    pa.field("detail", pa.string()),
    pa.field("retryable", pa.bool_()),
    pa.field("run", pa.int64()),
]

#: One row per window that is judged, where an output has embeddings; key (path, channel, window_index); partitioned by
#: what computed them. Delta knows no float16: the values are rounded to it.
EMBEDDING_COLUMNS = [
    pa.field("path", pa.string()),
    pa.field("channel", pa.int32()),
    pa.field("window_index", pa.int64()),
    pa.field("embedding", pa.list_(pa.field("element", pa.float32(), nullable=False))),
    pa.field("file_version", pa.string()),
    pa.field("encoder", pa.string()),
]

#: Raised when the layout changes: an older program refuses newer tables, a newer one reads older ones.
FORMAT = 1
#: That of an output which has embeddings, or was made from some.
FORMAT_OF_EMBEDDINGS = 2
#: Names under which earlier versions stored a setting, each with the name of today; none has changed so far.
FORMER_NAMES: dict[str, str] = {}


def prediction_schema(labels: tuple[str, ...]) -> pa.Schema:
    """The columns of predictions for a model of these labels."""
    return _with_labels(PREDICTION_COLUMNS, labels, "p_")


def file_schema(labels: tuple[str, ...]) -> pa.Schema:
    """The columns of files for a model of these labels."""
    return _with_labels(FILE_COLUMNS, labels, "p_", "share_")


def embedding_schema() -> pa.Schema:
    """The columns of embeddings."""
    return pa.schema(EMBEDDING_COLUMNS)


def filled(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows with exactly the columns of a schema, in its order; null where they have none."""
    columns = [
        rows[field.name] if field.name in rows.column_names else pa.nulls(rows.num_rows, field.type) for field in schema
    ]
    return pa.table(columns, names=schema.names).cast(schema)


def _with_labels(columns: list[pa.Field], labels: tuple[str, ...], *prefixes: str) -> pa.Schema:
    of_labels = [pa.field(f"{prefix}{label}", pa.float32()) for prefix in prefixes for label in labels]
    place = 1 + [column.name for column in columns].index("confidence")
    return pa.schema([*columns[:place], *of_labels, *columns[place:]])


class Fingerprint(Settings):
    """The settings that decide what a row says.

    A setting that is added here gets a default: what was done before there was a choice.
    """

    source: str
    glob: str | None
    #: Name and content hash; of a model that was adapted for this output, those of the adapted one.
    model: str
    channels: Channels
    window_seconds: float
    hop_seconds: float
    precision: ResolvedPrecision
    audio_stream: int = 0
    #: None: made before there was a choice; every window was judged, and is.
    speech: SpeechMode | None = None
    #: None where no speech is looked for.
    min_speech_seconds: float | None = None
    #: Outputs of before there was a limit go on with what is the default today.
    max_file_hours: float = 24.0
    adapt: AdaptMode = "none"
    #: What computes the embeddings that are kept of each window that is judged; None: none are.
    embeddings: str | None = Field(default=None, exclude_if=lambda value: value is None)
    #: The output whose embeddings rows are made from, where no audio is read; `source` is what that was made from.
    from_embeddings: str | None = Field(default=None, exclude_if=lambda value: value is None)

    def changes_to(self, now: Self) -> list[str]:
        """What differs in another fingerprint, a phrase for each setting that names both values."""
        before, after = self._shown(), now._shown()
        # How much speech is needed says nothing where one of them looks for none.
        left_out = {"min_speech_seconds"} if before["speech"] != after["speech"] else set()
        # An adapted model is another one by itself.
        left_out |= {"model"} if before["adapt"] != after["adapt"] else set()
        return [
            f"{name} was {_show(before[name])}, now {_show(after[name])}"
            for name in sorted(before.keys() - left_out)
            if before[name] != after[name]
        ]

    def _shown(self) -> dict[str, Any]:
        """The settings as what they come to: before there was a choice every window was judged."""
        of_embeddings = {"embeddings": self.embeddings, "from_embeddings": self.from_embeddings}
        return self.to_dict() | {"speech": self.speech or "all"} | of_embeddings


def describe(fingerprint: Fingerprint | None) -> str:
    """A table's description; without a fingerprint the table takes that of the next run."""
    has_to_do_with_embeddings = fingerprint is not None and (fingerprint.embeddings or fingerprint.from_embeddings)
    format_number = FORMAT_OF_EMBEDDINGS if has_to_do_with_embeddings else FORMAT
    return json.dumps({"format": format_number, "settings": fingerprint and fingerprint.to_dict()})


def read_description(description: str, table: Location) -> Fingerprint | None:
    """The fingerprint in a table's description, in the words of this version whichever wrote it.

    Raises:
        DamagedOutputError: the description is of none of our programs.
        OutputError: it is of a newer one.
    """
    stored = read_format(description, table).get("settings", {})
    if stored is None:
        return None
    try:
        return Fingerprint.from_dict(
            {FORMER_NAMES.get(name, name): value for name, value in stored.items()}, "settings"
        )
    except (UsageError, TypeError, AttributeError) as error:
        raise DamagedOutputError(
            f"{table} does not tell what it was made with ({error}); use --restart or another output"
        ) from error


def read_format(text: str | bytes, where: Location) -> dict[str, Any]:
    """A JSON object that names a format which this program knows.

    Raises:
        DamagedOutputError: it is no such object.
        OutputError: the format is newer.
    """
    try:
        described = read_json(text)
        is_newer = described["format"] > FORMAT_OF_EMBEDDINGS
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedOutputError(
            f"{where} is damaged: it names no format of ser; restore it, use --restart, or another output"
        ) from error
    if is_newer:
        raise OutputError(
            f"{where} was made by a newer ser (format {described['format']}, this one knows {FORMAT_OF_EMBEDDINGS}); "
            "upgrade ser or use another output"
        )
    return dict(described)


def _show(value: object) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)
