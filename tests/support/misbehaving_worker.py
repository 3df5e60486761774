"""A decoding worker that does what the end of a file tells it, and then what the real one does.

Run as a program, `python -m tests.support.misbehaving_worker PROGRAM ARGUMENTS`, it runs `ser` with this worker.
"""

import functools
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ser_core.audio import worker
from ser_core.audio.decode import Source
from ser_core.audio.segments import Segment
from ser_core.errors import ServiceError

WORKER = "tests.support.misbehaving_worker"
_MARK = b"misbehave:"


def poisoned(contents: bytes, verb: str) -> bytes:
    """An audio file that makes its worker do a thing of `_WAYS`; `once FLAG VERB` only while there is no file FLAG."""
    return contents + _MARK + os.fsencode(verb)


def main() -> None:
    """What the child runs."""
    decode = worker.iter_segments

    def iter_segments(source: Source | BytesIO, **how: Any) -> Iterator[Segment]:
        _, mark, verb = _tail(source).rpartition(_MARK)
        if mark:
            _misbehave(os.fsdecode(verb))
        return decode(source, **how)

    worker.iter_segments = iter_segments  # type: ignore[attr-defined]
    worker.main()


def _tail(source: Source | BytesIO) -> bytes:
    if isinstance(source, BytesIO):
        return source.getvalue()[-500:]
    return source().read()[-500:] if callable(source) else Path(os.fsdecode(source)).read_bytes()[-500:]  # type: ignore[arg-type]


def _misbehave(verb: str) -> None:
    if verb.startswith("once "):
        _, flag, verb = verb.split(" ")
        if Path(flag).exists():
            return
        Path(flag).touch()
    _WAYS[verb]()


def _spin() -> None:
    while True:
        time.monotonic()


def _eat() -> None:
    eaten = []
    while True:
        # Address space alone: touching gigabytes takes seconds, and the machine may not have them.
        eaten.append(np.zeros(2**24, np.uint8))


def _signal_self(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def _kill_parent() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()


def _raise(error: Exception) -> None:
    raise error


def _stammer() -> None:
    """The next segment ends midway, in silence."""

    def send_half(wire: worker.Wire, segment: Segment) -> None:
        payload = segment.pcm_NS.tobytes()
        wire.send(worker.SegmentHead(segment, len(segment.pcm_NS)), payload[: len(payload) // 2])
        _signal_self(signal.SIGSTOP)

    worker._send_segment = send_half


_WAYS: dict[str, Callable[[], object]] = {
    "abort": os.abort,
    "eat": _eat,
    "fault": lambda: _raise(ServiceError("the disk is gone")),
    "hang": signal.pause,
    "kill": lambda: _signal_self(signal.SIGKILL),
    "kill_parent": _kill_parent,
    "raise": lambda: _raise(ValueError("an error of the decoder itself")),
    "spin": _spin,
    "stammer": _stammer,
    "stop": lambda: _signal_self(signal.SIGSTOP),
}


def use_in_runs(set_attribute: Callable[[object, str, object], None] = setattr) -> None:
    """Let the runs of this process decode with this worker."""
    from cluster import scoring, stages

    set_attribute(scoring, "LoadSettings", functools.partial(stages.LoadSettings, decode_worker=WORKER))


if __name__ == "__main__":
    use_in_runs()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
