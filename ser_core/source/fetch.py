"""Fetches planned files, each only as long as it is of its planned version.

Many are fetched at once, whole; `FileOpener` opens one for reading piece by piece, in any process.
"""

import re
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import BinaryIO

import pyarrow as pa

from ser_core.faults import Fault
from ser_core.ordered import in_order
from ser_core.source.audio_table import RowReader
from ser_core.source.listing import PlannedFile
from ser_core.source.members import Member, member_of
from ser_core.source.opening import FileOpener, open_target
from ser_core.source.source import Source

#: More threads read files out of a machine's memory three times slower.
_LOCAL_THREADS = 4
#: What lists of others name, and is no file.
_NO_FILES = (
    (
        re.compile(r"\|\s*$"),
        Fault("unsupported", "a command, as Kaldi's lists hold them, is not run; write what it gives to a file"),
    ),
    (
        re.compile(r"\.ark:\d+"),
        Fault("unsupported", "a place in a Kaldi archive is not read; write it to a file (wav-copy)"),
    ),
    (
        re.compile(r"(?i)^(https?|ftp)://"),
        Fault("unsupported", "an address is not fetched; download it, and name the file"),
    ),
)


def fetch_all(
    source: Source,
    rows: Iterable[PlannedFile],
    *,
    concurrency: int = 64,
    max_bytes: int = 256 * 2**20,
) -> Generator[bytes | Fault, None, None]:
    """Each file's bytes, or why there are none, in the order of the rows.

    Args:
        source: what the paths belong to.
        rows: of the plan. A file that is no longer of its version is `changed`.
        concurrency: number of objects that are fetched ahead; from a local folder it is at most four files.
        max_bytes: bytes that the files fetched ahead may have together, unless a single one has more.

    Raises:
        ServiceError: storage failed as a whole.
    """
    if source.kind == "folder" and not source.root.is_s3:
        concurrency = min(concurrency, _LOCAL_THREADS)
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(_LOCAL_THREADS, thread_name_prefix="fetch"))
        tables = _Tables(source, stack)

        def submit(row: PlannedFile) -> "Future[bytes | Fault]":
            # A plan may have more columns.
            path, size, version = row[:3]
            if not version and source.kind == "list":
                for pattern, fault in _NO_FILES:
                    if pattern.search(path):
                        return _done(fault)
            try:
                member = member_of(path, version)
            except Fault as fault:
                return _done(fault)
            if member is not None and member.is_row:
                return tables.submit(member)
            target = source.locate(member.container if member else path)
            if isinstance(target, bytes):
                return threads.submit(_fetched, FileOpener(source, path, size, version))
            from ser_core.storage import start_request

            is_listed = source.kind == "folder"
            return start_request(_fetch_object(target, member or version, is_listed=is_listed))

        yield from in_order(
            rows, submit, max_in_flight=concurrency, weigh=lambda row: max(row[1], 0), max_weight=max_bytes
        )


def _done(fault: Fault) -> "Future[bytes | Fault]":
    done: Future[bytes | Fault] = Future()
    done.set_result(fault)
    return done


def _fetched(opener: Callable[[], BinaryIO]) -> bytes | Fault:
    try:
        with opener() as file:
            return file.read()
    except (Fault, OSError) as error:
        return Fault.of(error)


async def _fetch_object(target: str, version: str | Member, *, is_listed: bool) -> bytes | Fault:
    from ser_core.storage import get_version

    try:
        if isinstance(version, str):
            return await get_version(target, version, is_listed=is_listed)
        if not version.size:
            return b""
        part = (version.start, version.start + version.size)
        return await get_version(target, version.version, part, is_listed=is_listed)
    except Fault as fault:
        return fault


class _Tables:
    """Reads rows of Parquet files in one thread, as they lie in one another's way; one file is open at a time."""

    def __init__(self, source: Source, stack: ExitStack) -> None:
        self._source = source
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fetch-rows")
        self._opened: tuple[str, RowReader] | None = None
        stack.callback(self._close)
        stack.enter_context(self._thread)

    def submit(self, member: Member) -> "Future[bytes | Fault]":
        """Start to read a row."""
        return self._thread.submit(self._read, member)

    def _read(self, member: Member) -> bytes | Fault:
        try:
            if self._opened is None or self._opened[0] != member.container:
                self._close()
                target = self._source.locate(member.container)
                self._opened = member.container, RowReader(open_target(target, member.size, member.version))
            return self._opened[1].read(member.start)
        except (Fault, OSError, pa.ArrowException) as error:
            self._close()
            return Fault.of(error)

    def _close(self) -> None:
        if self._opened is not None:
            self._opened[1].close()
        self._opened = None
