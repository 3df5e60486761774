"""Containers that SOURCE names -> rows of the plan for their members."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from ser_core.errors import SourceError, one_line
from ser_core.faults import Fault
from ser_core.ordered import in_order
from ser_core.records import PLAN_SCHEMA
from ser_core.source.archive import list_archive, require_archive
from ser_core.source.audio_table import holds_audio, list_rows, open_parquet
from ser_core.source.listing import PlannedFile, Skipped
from ser_core.source.members import Member
from ser_core.source.names import suffix_of
from ser_core.source.opening import open_target
from ser_core.storage import Location

Target = str | bytes
_AT_ONCE = 8
_WHOLE = r"(?i)\.(?:tar|parquet)$"
_INSIDE = r"(?is)^(?P<container>.*?\.(?:tar|parquet))/"


def is_container(file: PlannedFile, target: Target, location: Location) -> bool:
    """Whether SOURCE itself, a file whose suffix says so, is one; a Parquet file without audio is none.

    Raises:
        SourceError: it cannot be read.
    """
    if not file.version:
        return True
    is_table = suffix_of(file.path) == "parquet"
    try:
        with open_target(target, file.size, file.version) as opened:
            if is_table:
                return holds_audio(open_parquet(opened))
            require_archive(opened)
    except (pa.ArrowException, OSError) as error:
        # Arrow says by an OSError without a number that the file is no whole Parquet file.
        raise SourceError(f"list {location}: {one_line(error)}") from error
    except Fault as fault:
        raise SourceError(f"SOURCE {location}: {fault.detail}") from fault
    return True


def expand(
    containers: Sequence[PlannedFile],
    locate: Callable[[PlannedFile], Target],
    wants: Callable[[str], bool],
    skipped: Skipped,
) -> Iterator[pa.Table]:
    """The members of each container that are wanted (PLAN_SCHEMA), in no order; one that is none is its only row.

    Raises:
        ServiceError: storage failed as a whole.
    """

    def members_of(file: PlannedFile) -> tuple[pa.Table, Skipped]:
        own = Skipped()
        try:
            with open_target(locate(file), file.size, file.version) as opened:
                if suffix_of(file.path) == "parquet":
                    return list_rows(opened, file), own
                return list_archive(opened, file, wants, own), own
        except (pa.ArrowException, Fault, OSError) as error:
            is_of_it = not isinstance(error, OSError | Fault) or Fault.of(error).reason == "unreadable"
            version = Member(file.path, file.version, 0, 0).broken().version_text() if is_of_it else ""
            row = PlannedFile(file.path, -1, version, file.modified)
            return pa.Table.from_pylist([row._asdict()], PLAN_SCHEMA), own

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="containers") as threads:
        for table, own in in_order(
            containers, lambda file: threads.submit(members_of, file), max_in_flight=2 * _AT_ONCE
        ):
            skipped.add(own)
            yield table


def named_containers(paths: pa.ChunkedArray) -> pa.Array:
    """The paths of a list that look like containers, and those whose members it names, each once."""
    whole = paths.filter(pc.match_substring_regex(paths, _WHOLE))
    outer = pc.struct_field(pc.extract_regex(paths, _INSIDE), "container").drop_null()
    return pc.unique(pa.chunked_array([*whole.chunks, *outer.chunks], pa.large_string()))


def chosen_members(container: str, members: pa.Table, paths: pa.ChunkedArray) -> pa.Table:
    """All members where a list names the container itself, else those that it names."""
    if pc.any(pc.equal(paths, container)).as_py():
        return members
    return members.filter(pc.is_in(members["path"].cast(pa.large_string()), paths.combine_chunks()))


def without(paths: pa.ChunkedArray, others: Iterable[pa.Array | pa.ChunkedArray]) -> pa.ChunkedArray:
    """The paths that are none of the others."""
    for other in others:
        if len(other):
            paths = paths.filter(pc.invert(pc.is_in(paths, other.cast(pa.large_string()))))
    return paths


def merged(files: Iterator[PlannedFile], tables: Sequence[pa.Table]) -> Iterator[PlannedFile]:
    """Sorted rows, and those of tables in no order, as one sorted sequence."""
    members = pa.concat_tables([PLAN_SCHEMA.empty_table(), *tables]).sort_by("path")
    rows = (
        PlannedFile(*row)
        for batch in members.to_batches(max_chunksize=10_000)
        for row in zip(*(_plain(column).to_pylist() for column in batch.columns), strict=True)
    )
    return heapq.merge(files, rows, key=lambda file: file.path)


def _plain(column: pa.Array) -> pa.Array:
    """Times as their numbers, which `PlannedFile` has."""
    return column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
