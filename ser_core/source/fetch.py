"""Fetches many planned files at once, whole."""

from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from ser_core.faults import Fault
from ser_core.ordered import in_order
from ser_core.source.opener import get_version, open_local
from ser_core.source.source import Source

#: More of them read files out of a machine's memory three times slower.
_LOCAL_THREADS = 4


def fetch_all(
    source: Source,
    rows: Iterable[tuple[str, int, str]],
    *,
    concurrency: int = 64,
    max_bytes: int = 256 * 2**20,
) -> Generator[bytes | Fault, None, None]:
    """Each file's bytes, or why there are none, in the order of the rows.

    Args:
        source: what the paths belong to.
        rows: (path, size, version) of the plan. A file that is no longer of its version is `changed`.
        concurrency: how many objects are fetched ahead; of a local folder four files.
        max_bytes: of files fetched ahead, unless a single one is larger.

    Raises:
        ServiceError: storage failed as a whole.
    """
    if source.kind == "folder" and not source.root.is_s3:
        concurrency = min(concurrency, _LOCAL_THREADS)
    with ThreadPoolExecutor(_LOCAL_THREADS, thread_name_prefix="fetch") as threads:

        def submit(row: tuple[str, int, str]) -> "Future[bytes | Fault]":
            path, _, version = row
            target = source.locate(path)
            if isinstance(target, bytes):
                return threads.submit(_fetch_local, target, version)
            from ser_core.storage import start_request

            return start_request(_fetch_object(target, version, is_listed=source.kind == "folder"))

        yield from in_order(
            rows, submit, max_in_flight=concurrency, weigh=lambda row: max(row[1], 0), max_weight=max_bytes
        )


def _fetch_local(target: bytes, version: str) -> bytes | Fault:
    try:
        with open_local(target, version) as file:
            return file.read()
    except (Fault, OSError) as error:
        return Fault.of(error)


async def _fetch_object(target: str, version: str, *, is_listed: bool) -> bytes | Fault:
    try:
        return await get_version(target, version, is_listed=is_listed)
    except Fault as fault:
        return fault
