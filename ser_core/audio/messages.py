"""What `decoding.Decoder` and its child process (`decode_worker`) say to each other.

Parent: a `Setup`, then one `Request` after the other is answered. Child: `Ready`, then for each request segments
(`SegmentHead`, or `Skipped`) up to the last, or an exception: a `Fault`, or a `ServiceError`.
"""

import os
import socket
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from ser_core.audio.decode import Source
from ser_core.audio.segments import Segment
from ser_core.audio.settings import WindowSettings
from ser_core.settings import Channels

#: A seam for tests: "module:function", called in the child with the name of each file before it is decoded.
HOOK_VARIABLE = "SER_TEST_DECODE_HOOK"
#: How the child ends when memory runs out: then it is in no state to say so.
OUT_OF_MEMORY_EXIT = 71


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What holds for all files."""

    channels: Channels
    windows: WindowSettings
    #: What decoding may take on top of the process as it starts.
    memory_limit_bytes: int


@dataclass(frozen=True, kw_only=True)
class Request:
    """One file, and how many of its segments the parent has already.

    Where `source` is None, `num_bytes` bytes follow: the file's contents.
    """

    source: Source | None
    num_bytes: int
    name: str
    num_skipped: int


@dataclass(frozen=True)
class Ready:
    """The process has started and takes requests."""


@dataclass(frozen=True)
class Skipped:
    """A segment was decoded that the parent has already."""


@dataclass(frozen=True)
class SegmentHead:
    """A segment without its windows; (num_windows, window_samples) float32 follow as bytes."""

    segment: Segment
    num_windows: int


class Wire:
    """One end of a socket that carries messages, and beside them plain bytes ten times faster than in a message.

    Both raise EOFError or OSError when the other end is gone.
    """

    def __init__(self, end: socket.socket) -> None:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
        self._socket = end
        self._messages: Connection[Any, Any] = Connection(os.dup(end.fileno()))

    def send(self, message: object, payload: bytes | memoryview = b"") -> None:
        """Send a message, and the bytes that follow it."""
        self._messages.send(message)
        self._socket.sendall(payload)

    def poll(self, timeout_seconds: float) -> bool:
        """Whether something comes in time."""
        return self._messages.poll(timeout_seconds)

    def receive(self) -> Any:
        """The next message."""
        return self._messages.recv()

    def receive_into(self, payload: memoryview) -> None:
        """Fill `payload` with the bytes that follow the message received last."""
        if len(payload) and self._socket.recv_into(payload, len(payload), socket.MSG_WAITALL) < len(payload):
            raise EOFError

    def close(self) -> None:
        """Hang up."""
        self._messages.close()
        self._socket.close()
