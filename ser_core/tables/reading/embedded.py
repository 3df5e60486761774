"""An output that keeps embeddings, to be read: what its tables said after the last commit that all of them have.

Shape letters: N rows, E values of an embedding.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ser_core.errors import DamagedOutputError, OutputError, UsageError
from ser_core.storage import Location
from ser_core.tables.output import Output
from ser_core.tables.output_logs import OutputLogs
from ser_core.tables.parts import KEY_COLUMNS, Part
from ser_core.tables.reading.stored_rows import Groups, StoredRows
from ser_core.tables.schema import Fingerprint, read_description

_COLUMNS = [*KEY_COLUMNS, "embedding"]


@dataclass(frozen=True)
class Embeddings:
    """Some rows: `keys` has path, channel and window_index."""

    keys: pa.Table
    values_NE: npt.NDArray[np.float32]


class EmbeddedOutput:
    """What is read of one output; nothing is written, and a run may be on."""

    def __init__(self, location: Location) -> None:
        """Look at it.

        Raises:
            UsageError: it holds no results, or keeps no embeddings.
            OutputError: it is damaged, or a run is about to take it over.
        """
        Output(location).open()
        self.location = location
        logs = OutputLogs(location)
        if not logs.exists():
            raise UsageError(f"{location} holds no results of 'ser score'; give its OUTPUT")
        made_with = read_description(logs.predictions.description, location)
        if made_with is None or made_with.embeddings is None:
            raise UsageError(
                f"{location} keeps no embeddings; score with --embeddings into another output, or with --restart"
            )
        if len({log.stamp.owner for log in logs.logs}) > 1:
            raise OutputError(f"{location}: a run begins there at this moment; run the same command again")
        #: What its rows were made with, and the identity of what computed its embeddings.
        self.made_with: Fingerprint = made_with
        self.encoder: str = made_with.embeddings
        commit = min(log.stamp.commit for log in logs.logs)
        self.predictions = StoredRows(logs.predictions, commit)
        self.embeddings = StoredRows(logs.embeddings, commit)
        self.files = StoredRows(logs.files, commit)

    def of_part(self, part: Part, rows_at_a_time: int, groups: Groups = None) -> Iterator[Embeddings]:
        """The embeddings of one part, or of some of its row groups, so many rows at a time; from any thread."""
        for rows in self.embeddings.of_part(part, _COLUMNS, rows_at_a_time, groups):
            yield Embeddings(rows.select(KEY_COLUMNS), _values_of(rows))

    def of_paths(self, paths: pa.Array) -> Iterator[Embeddings]:
        """Those of some paths (sorted, each once), in no order, a row group's at a time."""
        for rows in self.embeddings.of_paths(paths, _COLUMNS):
            yield Embeddings(rows.select(KEY_COLUMNS), _values_of(rows))


def _values_of(rows: pa.Table) -> npt.NDArray[np.float32]:
    """The values (N, E) of rows of embeddings.

    Raises:
        DamagedOutputError: they are not all of one length.
    """
    lists = rows["embedding"].combine_chunks()
    values: npt.NDArray[np.float32] = pc.list_flatten(lists).to_numpy()
    if len(pc.unique(pc.list_value_length(lists))) > 1:
        raise DamagedOutputError("embeddings of several lengths; see 'ser verify'")
    return values.reshape(rows.num_rows, -1)
