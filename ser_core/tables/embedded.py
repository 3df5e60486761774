"""An output that keeps embeddings, to be read: what its tables said after the last commit that all of them have.

Shape letters: N rows, E values of an embedding.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ser_core import storage
from ser_core.errors import DamagedOutputError, OutputError, UsageError
from ser_core.storage import Location
from ser_core.tables.output import Output
from ser_core.tables.output_logs import OutputLogs, parts_at
from ser_core.tables.parts import KEY_COLUMNS, Part, is_intact, open_part, output_faults
from ser_core.tables.schema import Fingerprint, read_description


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
        self._folder = logs.embeddings.location
        commit = min(log.stamp.commit for log in logs.logs)
        with output_faults(location):
            #: Of the table of embeddings.
            self.parts: list[Part] = parts_at(logs.embeddings, commit)

    def of_part(self, part: Part) -> Iterator[Embeddings]:
        """The embeddings of one part, a row group at a time; from any thread."""
        opened = self._open(part)
        for group in range(opened.num_row_groups):
            rows = opened.read_row_group(group, [*KEY_COLUMNS, "embedding"], use_threads=False)
            yield Embeddings(rows.select(KEY_COLUMNS), _values_of(rows))

    def _open(self, part: Part) -> pq.ParquetFile:
        file = self._folder.join(part.path)
        with output_faults(file):
            try:
                data = storage.read(file)
            except FileNotFoundError as error:
                raise OutputError(
                    f"{file} is gone: a run took it away meanwhile; run the same command again"
                ) from error
            if not is_intact(part, data):
                raise DamagedOutputError(f"{file} is damaged: its bytes have changed; see 'ser verify'")
            # Its checksum is over all of it: those of its pages need not be computed, too.
            return pq.ParquetFile(pa.BufferReader(data)) if part.checksum is not None else open_part(data)


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
