"""Files as they were planned -> decoded segments: what scoring, evaluation and training have in common.

Small files are fetched whole, many ahead; larger ones are read piece by piece where they are decoded. So memory does
not grow with a file's length, and many small files are not waited for one after the other.
"""

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing

from ser_core.audio.decode import Named
from ser_core.audio.isolated import Decoder
from ser_core.audio.segments import Segment
from ser_core.faults import Fault
from ser_core.source import FileOpener, PlannedFile, Source, escape_path, fetch_all, suffix_of
from ser_core.storage import Location

MAX_WHOLE_FILE_BYTES = 32 * 2**20
#: Where the paths of clips start: they are absolute, or s3://bucket/key.
CLIP_SOURCE = Source("list", Location("/"))


def look_at_clips(paths: Iterable[str]) -> list[PlannedFile]:
    """The files of CLIP_SOURCE at these paths, in the version that they have now.

    Raises:
        ServiceError: a bucket failed as a whole.
    """
    escaped = (escape_path(path.encode()) for path in paths)
    return list(CLIP_SOURCE.look_at_all(escaped))


def file_contents(source: Source, files: Sequence[PlannedFile]) -> Generator[Named | Fault, None, None]:
    """Each file's bytes, or what opens it if it is large, with its suffix; or why there are none; in order.

    Raises:
        ServiceError: storage failed as a whole.
    """
    with closing(fetch_all(source, (file for file in files if file.size <= MAX_WHOLE_FILE_BYTES))) as fetched:
        for file in files:
            contents = (
                next(fetched)
                if file.size <= MAX_WHOLE_FILE_BYTES
                else FileOpener(source, file.path, file.size, file.version)
            )
            yield contents if isinstance(contents, Fault) else Named(contents, suffix_of(file.path))


def load_segments(
    decoder: Decoder, source: Source, files: Sequence[PlannedFile]
) -> Generator[tuple[int, Segment], None, None]:
    """The segments of files, each with its file's index, in order; files are fetched while others are decoded.

    Close it where it is left early: it holds the decoder.

    Args:
        decoder: decodes them in its child, see `Decoder.segments_of`.
        source: what the files belong to.
        files: rows of the plan; one that cannot be fetched has one segment, with the fault.

    Raises:
        ServiceError: storage failed as a whole, or no child can be started.
    """
    with closing(file_contents(source, files)) as contents, closing(decoder.segments_of(contents)) as segments:
        yield from segments
