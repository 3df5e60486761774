"""Walks the chunks, boxes or objects that containers are made of: each has a name and a size in front."""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from ser_core.audio.wav_header import MAX_CHUNKS


def iter_chunks(
    file: BinaryIO, start: int, layout: str, *, align: int = 1, counts_itself: bool = False
) -> Iterator[tuple[bytes, int, int]]:
    """(id, size, offset of the body) of each chunk.

    Args:
        file: the file.
        start: where the first chunk begins.
        layout: `struct`'s format of a chunk's head: its id and its size.
        align: chunks begin at multiples of so many bytes.
        counts_itself: whether a size in the file counts the head too.
    """
    head_bytes = struct.calcsize(layout)
    for _ in range(MAX_CHUNKS):
        file.seek(start)
        head = file.read(head_bytes)
        if len(head) < head_bytes:
            return
        chunk_id, size = struct.unpack(layout, head)
        size -= head_bytes * counts_itself
        yield chunk_id, size, start + head_bytes
        start += head_bytes + max(0, size) + -size % align
