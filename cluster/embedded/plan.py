"""The plan of a run that reads an output's embeddings: the files that its tables tell of."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ser_core.errors import SourceError
from ser_core.records import PLAN_SCHEMA
from ser_core.source import PlanSummary

if TYPE_CHECKING:
    from ser_core.tables import EmbeddedOutput

_COLUMNS = ["path", "file_version", "modified"]


def write_embedded_plan(output: "EmbeddedOutput", to: Path) -> PlanSummary:
    """Write the files of an output into a local Parquet file (PLAN_SCHEMA), failed ones too; their sizes are 0.

    Raises:
        SourceError: there is none.
        OutputError: a run changes the output meanwhile.
    """
    summary = PlanSummary.of_written(_slices(output), to)
    if not summary.num_files:
        raise SourceError(f"{output.location} holds no file yet; score into it first")
    return summary


def _slices(output: "EmbeddedOutput") -> Iterator[pa.Table]:
    """Slices of the plan, sorted by path over all. Parts whose paths overlap are held together."""
    parts = output.files.parts
    held = pa.table({name: [] for name in _COLUMNS}, output.files.schema_of(_COLUMNS))
    for number, part in enumerate(parts):
        held = pa.concat_tables([held, *output.files.of_part(part, _COLUMNS)])
        if number + 1 < len(parts):
            # No later part begins before the next one, as they are sorted.
            is_done = pc.less(held["path"], parts[number + 1].first_path)
            yield from _planned(held.filter(is_done))
            held = held.filter(pc.invert(is_done))
    yield from _planned(held)


def _planned(rows: pa.Table) -> Iterator[pa.Table]:
    """A row of each file, whatever its channels; nothing of no rows."""
    if not rows.num_rows:
        return
    files = rows.group_by("path", use_threads=False).aggregate([("file_version", "max"), ("modified", "max")])
    files = files.rename_columns({"file_version_max": "version", "modified_max": "modified"}).sort_by("path")
    files = files.append_column("size", pa.array(np.zeros(files.num_rows, np.int64)))
    yield files.select(PLAN_SCHEMA.names).cast(PLAN_SCHEMA)
