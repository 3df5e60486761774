"""A part of a file as decoders in native code read it: no error passes through them."""

import os
from typing import BinaryIO

from ser_core.errors import SerError
from ser_core.faults import Fault

#: Decoders keep it in 64 bits.
_MAX_POSITION = 2**63 - 1


class ByteView:
    """A part of a file with other bytes in front: `head`, then the bytes from `offset` to `end`.

    An error cannot pass through a decoder: the first is kept in `error`, and the decoder sees the end of the file.
    """

    def __init__(self, file: BinaryIO, end: int, *, head: bytes = b"", offset: int = 0) -> None:
        self._file = file
        self._head = head
        #: From a position here to the one in the file.
        self.shift = offset - len(head)
        self._size = end - self.shift
        self._position = 0
        self.error: Exception | None = None

    @property
    def num_left(self) -> int:
        """Bytes from the position to the end."""
        return self._size - self._position

    @property
    def file_position(self) -> int:
        """The position, in the file itself."""
        return self._position + self.shift

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position, as a file does; a decoder that believes a wrong header may ask for any."""
        position = offset + (0, self._position, self._size)[whence]
        self._position = max(-_MAX_POSITION, min(position, _MAX_POSITION))
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only at the end, as libsndfile takes a short read for it."""
        data = b""
        while size > 0 and (more := self._read_some(size)):
            data = data + more if data else more
            size -= len(more)
            self._position += len(more)
        return data

    def _read_some(self, size: int) -> bytes:
        if self.error is not None:
            return b""
        if self.num_left <= 0 or self._position < 0:
            return b""
        if self._position < len(self._head):
            return self._head[self._position : self._position + size]
        try:
            # Others read the file too.
            self._file.seek(self.file_position)
            return self._file.read(min(size, self.num_left))
        except Exception as error:
            self.error = error
            return b""

    def raise_error(self) -> None:
        """Raise the error that was kept, if there is one: storage's as it is, any other as the file's fault.

        Raises:
            Fault: reading the file failed.
            MemoryError, SerError: as the file itself raised it.
        """
        if isinstance(self.error, SerError | MemoryError):
            raise self.error
        if self.error is not None:
            raise Fault.of(self.error) from self.error
