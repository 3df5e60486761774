"""The parent's side of one decoding process."""

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np

from ser_core.audio.segments import Segment
from ser_core.audio.worker import OUT_OF_MEMORY_EXIT, Ready, Request, SegmentHead, Setup, Skipped, Wire
from ser_core.child_process import start_python
from ser_core.errors import ServiceError, one_line
from ser_core.faults import Fault

_START_SECONDS = 60.0
#: Longest wait for the end of a process that was killed; one that hangs in the kernel is left behind.
_END_SECONDS = 10.0


#: Processes that were started ahead, by the module that they run.
_started: dict[str, tuple["subprocess.Popen[bytes]", Wire]] = {}


@contextmanager
def started_ahead(worker: str) -> Iterator[None]:
    """The first `Child` with this worker that is made in here finds its process started, while other things were done.

    Raises:
        ServiceError: no process can be started.
    """
    _started[worker] = _start(worker)
    try:
        yield
    finally:
        if (left := _started.pop(worker, None)) is not None:
            _end(*left)


def _start(worker: str) -> tuple["subprocess.Popen[bytes]", Wire]:
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = start_python(
                worker,
                theirs,
                stdout=subprocess.DEVNULL,
                # libmpg123 comments on every odd MP3.
                stderr=subprocess.DEVNULL,
                # It computes in one thread.
                env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                # Ctrl-C is for the parent alone.
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise ServiceError(f"cannot start a decoding process: {one_line(error)}") from error
    return process, Wire(ours)


def _end(process: "subprocess.Popen[bytes]", wire: Wire) -> None:
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_SECONDS)
    wire.close()
    if process.stdin is not None:
        process.stdin.close()


class Child:
    """The parent's side of one decoding process that is ready for requests."""

    def __init__(self, setup: Setup, worker: str) -> None:
        self._setup = setup
        started = _started.pop(worker, None)
        self._process, self._wire = _start(worker) if started is None else started
        try:
            self.send(setup, timeout_seconds=_START_SECONDS)
            if not isinstance(self.receive(_START_SECONDS), Ready):
                raise ServiceError("the decoding process does not start")
        except Fault as error:
            self.kill()
            raise ServiceError(f"the decoding process does not start ({error.detail})") from error

    def send(self, message: Setup | Request, payload: bytes = b"", *, timeout_seconds: float) -> None:
        """Give the child a message and the bytes that belong to it.

        Raises:
            Fault: the child is dead, or did not take them in time.
        """
        try:
            self._wire.send(message, payload, timeout_seconds=timeout_seconds)
        except TimeoutError as error:
            raise Fault("timeout", f"the decoding process took no data for {timeout_seconds:g} s") from error
        except OSError as error:
            raise self._death() from error

    def receive(self, timeout_seconds: float) -> Ready | Segment | Skipped:
        """The next answer, a segment with its windows.

        Raises:
            Fault: the child died, or gave none in time; or the answer itself, if it is one.
            ServiceError: the answer itself, if it is one.
        """
        try:
            answer: Any = self._wire.receive(timeout_seconds)
            if isinstance(answer, SegmentHead):
                answer = self._whole(answer)
        except TimeoutError as error:
            detail = f"decoding took more than {timeout_seconds:g} s for the next segment"
            raise Fault("timeout", detail) from error
        except (EOFError, OSError) as error:
            raise self._death() from error
        if isinstance(answer, Exception):
            raise answer
        given: Ready | Segment | Skipped = answer
        return given

    def _whole(self, head: SegmentHead) -> Segment:
        pcm_NS = np.empty((head.num_windows, self._setup.windows.window_samples), np.float32)
        if head.num_windows:
            self._wire.receive_into(pcm_NS.data.cast("B"))
        return replace(head.segment, pcm_NS=pcm_NS)

    def interrupt(self) -> None:
        """End the process, whatever it does, from any thread; a call that waits for its answer raises a fault."""
        self._process.kill()

    def kill(self) -> None:
        """End the process, whatever it does, and let go of what belongs to it."""
        _end(self._process, self._wire)

    def _death(self) -> Fault:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        exit_code = self._process.returncode
        if exit_code == OUT_OF_MEMORY_EXIT:
            limit_mib = self._setup.memory_limit_bytes // 2**20
            return Fault("memory", f"decoding took more than {limit_mib} MiB of memory")
        if exit_code == -signal.SIGKILL:
            return Fault("crashed", "decoding was killed, most likely because the machine ran out of memory")
        if exit_code is not None and exit_code < 0:
            return Fault("crashed", f"decoding crashed ({signal.Signals(-exit_code).name})")
        return Fault("crashed", f"decoding ended its process (exit code {exit_code})")
