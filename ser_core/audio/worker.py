"""The child process of `isolated.Decoder`: decodes one file after the other, and may die of any of them.

The parent sends a `Setup`, then a `Request` for each file, after the one before is answered. The child sends `Ready`,
then for each request its segments (`SegmentHead`, or `Skipped`) up to the last, or an exception in their place: a
`Fault`, or a `ServiceError`. It inherits a socket, whose number is its argument, and a pipe from the parent as stdin.
"""

import os
import pickle
import resource
import socket
import struct
import sys
import time
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ser_core.audio.decode import Source, iter_segments
from ser_core.audio.segments import Segment, WindowSettings
from ser_core.errors import SerError, ServiceError
from ser_core.faults import Fault
from ser_core.vocabulary import Channels

#: Exit code of a child that ran out of memory: it is in no state to say so.
OUT_OF_MEMORY_EXIT = 71
_SEND_BUFFER_BYTES = 2**20
#: Comes in front of each message: its number of bytes.
_LENGTH = struct.Struct("<I")
_NO_WINDOWS = np.zeros((0, 0), np.float32)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Settings for all files."""

    channels: Channels
    windows: WindowSettings
    #: Most memory that decoding may take on top of the process as it starts.
    memory_limit_bytes: int
    #: Which audio stream to read of a file that has several.
    audio_stream: int = 0
    #: Whether a file's last segment says the hash of its samples.
    hashes_audio: bool = False


@dataclass(frozen=True, kw_only=True)
class Request:
    """One file, and how many of its segments the parent has already.

    Where `source` is None, `num_bytes` bytes follow: the file's contents. `suffix` is that of its name.
    """

    source: Source | None
    num_bytes: int
    num_skipped: int
    suffix: str = ""


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
    """One end of a socket that carries messages, and after a message the plain bytes that belong to it.

    All raise EOFError or OSError when the other end is gone, and TimeoutError (an OSError) after `timeout_seconds`.
    """

    def __init__(self, end: socket.socket) -> None:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._socket = end
        self._deadline: float | None = None

    def send(self, message: object, payload: bytes | memoryview = b"", *, timeout_seconds: float | None = None) -> None:
        """Send a message, and the bytes that follow it."""
        data = pickle.dumps(message)
        self._socket.settimeout(timeout_seconds)
        self._socket.sendall(_LENGTH.pack(len(data)) + data)
        self._socket.sendall(payload)

    def receive(self, timeout_seconds: float | None = None) -> Any:
        """The next message."""
        self._deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        length = bytearray(_LENGTH.size)
        self.receive_into(memoryview(length))
        data = bytearray(*_LENGTH.unpack(length))
        self.receive_into(memoryview(data))
        # Both ends run as the same user: a message gives its sender no right that it lacks.
        return pickle.loads(data)  # noqa: S301

    def receive_into(self, payload: memoryview) -> None:
        """Fill `payload` with the bytes that follow the message received last, in what is left of its time."""
        while payload:
            left = None if self._deadline is None else max(0.001, self._deadline - time.monotonic())
            self._socket.settimeout(left)
            num_bytes = self._socket.recv_into(payload)
            if num_bytes == 0:
                raise EOFError
            payload = payload[num_bytes:]

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def main() -> None:
    """Answer requests until the parent is gone."""
    wire = Wire(socket.socket(fileno=int(sys.argv[1])))
    try:
        setup: Setup = wire.receive()
        _limit_memory(setup.memory_limit_bytes)
        wire.send(Ready())
        while True:
            _answer(wire, setup)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except MemoryError:
        os._exit(OUT_OF_MEMORY_EXIT)


def _answer(wire: Wire, setup: Setup) -> None:
    try:
        request: Request = wire.receive()
        segments = iter_segments(
            _source(wire, request),
            channels=setup.channels,
            windows=setup.windows,
            audio_stream=setup.audio_stream,
            suffix=request.suffix,
            hashes_audio=setup.hashes_audio,
        )
        for index, segment in enumerate(segments):
            if index < request.num_skipped:
                wire.send(Skipped())
            else:
                _send_segment(wire, segment)
    except (EOFError, BrokenPipeError, ConnectionResetError, MemoryError):
        raise
    except SerError as error:
        wire.send(ServiceError(str(error)))
    except Exception as error:
        wire.send(Fault("crashed", f"{type(error).__name__}: {error}"))


def _source(wire: Wire, request: Request) -> Source | BinaryIO:
    if request.source is not None:
        return request.source
    contents = bytearray(request.num_bytes)
    wire.receive_into(memoryview(contents))
    return BytesIO(contents)


def _send_segment(wire: Wire, segment: Segment) -> None:
    head = SegmentHead(replace(segment, pcm_NS=_NO_WINDOWS), len(segment.pcm_NS))
    wire.send(head, segment.pcm_NS.data.cast("B") if len(segment.pcm_NS) else b"")


def _limit_memory(limit_bytes: int) -> None:
    num_pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = num_pages * resource.getpagesize() + limit_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
