"""The child process of `decoding.Decoder`: decodes one file after another, and may die of any of them.

Started as `python -m ser_core.audio.worker FILENO`, the number of a socket inherited from the parent, with a
pipe from the parent as stdin.
"""

import fcntl
import importlib
import os
import resource
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ser_core.audio.decode import Source, iter_segments
from ser_core.audio.messages import (
    HOOK_VARIABLE,
    OUT_OF_MEMORY_EXIT,
    Ready,
    Request,
    SegmentHead,
    Setup,
    Skipped,
    Wire,
)
from ser_core.audio.segments import Segment
from ser_core.errors import SerError, ServiceError
from ser_core.faults import Fault

_NO_WINDOWS = np.zeros((0, 0), np.float32)


def main(fileno: int) -> None:
    """Answer requests until the parent is gone."""
    _die_with_parent()
    wire = Wire(socket.socket(fileno=fileno))
    try:
        setup: Setup = wire.receive()
        _limit_memory(setup.memory_limit_bytes)
        hook = _hook()
        wire.send(Ready())
        while True:
            _answer(wire, setup, hook)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except MemoryError:
        os._exit(OUT_OF_MEMORY_EXIT)


def _answer(wire: Wire, setup: Setup, hook: Callable[[str], None]) -> None:
    try:
        request: Request = wire.receive()
        source = _source(wire, request)
        hook(request.name)
        segments = iter_segments(source, channels=setup.channels, windows=setup.windows)
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


def _hook() -> Callable[[str], None]:
    target = os.environ.get(HOOK_VARIABLE)
    if not target:
        return lambda name: None
    module, _, function = target.partition(":")
    hook: Callable[[str], None] = getattr(importlib.import_module(module), function)
    return hook


def _die_with_parent() -> None:
    """Let the kernel end this process when the other end of stdin is closed.

    A parent death signal would come when the parent's *thread* ends; a watching thread may never get its turn.
    """
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)


def _limit_memory(limit_bytes: int) -> None:
    num_pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = num_pages * resource.getpagesize() + limit_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main(int(sys.argv[1]))
