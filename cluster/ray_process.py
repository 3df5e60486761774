"""A process of its own for Ray's driver: Ray's core ends its process without a word when a part of Ray dies.

The command's process asks it, and outlives it: it learns at once which of Ray's processes died, and stops cleanly.
"""

import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from cluster.resources import Hardware, Resources
from cluster.session import adopt_orphans, connect, leave
from cluster.vital import is_stopped, vital_processes
from ser_core.child_process import start_python
from ser_core.errors import SerError, one_line

if TYPE_CHECKING:
    from cluster.stages import LoadSettings, PredictSettings
    from cluster.training.train import TrainResources
    from ser_core.models import Artifact
    from ser_core.training import Event, Job

#: A cluster is left in less; a Ray of its own is killed.
_LONGEST_CLOSE_SECONDS = 5.0
#: How often it is looked whether something is held up; one look may meet what goes on in a moment.
_LOOK_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class _Start:
    address: str | None
    own: Hardware
    verbose: bool


@dataclass(frozen=True, kw_only=True)
class _Started:
    hardware: Hardware
    #: The processes of this machine that Ray's driver cannot do without, by id.
    vital: dict[int, str]


@dataclass(frozen=True)
class _Item:
    value: Any


class _End:
    """Comes after the last item of an answer."""


class RayProcess:
    """Joins a Ray cluster, or starts a Ray on this machine, in a process of its own; a context manager.

    Every method raises SerError once a process has died that Ray cannot go on without. One thread at a time.
    """

    def __init__(self, *, address: str | None, own: Hardware, verbose: bool, kept: str) -> None:
        """As `session.connect`, which raises the same.

        Args:
            address, own, verbose: see there.
            kept: what stays should Ray be lost, for people.
        """
        adopt_orphans()
        self._address, self._kept = address, kept
        #: Process numbers and names, by a descriptor that can be waited for.
        self._vital: dict[int, tuple[int, str]] = {}
        self._held_up: set[str] = set()
        self._looked = time.monotonic()
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        with theirs:
            try:
                # A group of its own: Ctrl-C is for the parent alone.
                self._process = start_python("cluster.ray_process", theirs, process_group=0)
            except OSError as error:
                raise SerError(f"no process can be started for Ray: {one_line(error)}") from error
        self._send(_Start(address=address, own=own, verbose=verbose))
        started: _Started = self._receive()
        self.hardware = started.hardware
        for pid, name in started.vital.items():
            try:
                self._vital[os.pidfd_open(pid)] = pid, name
            except ProcessLookupError as error:
                raise self._gone(f"its {name} died") from error

    def __enter__(self) -> "RayProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster, or end the Ray of its own; what does not end in seconds is killed."""
        for descriptor in self._vital:
            os.close(descriptor)
        self._vital = {}
        self._connection.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_LONGEST_CLOSE_SECONDS)
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def nodes_lacking(self, ask: Callable[..., bool], arguments: Sequence[Any], resources: Resources) -> list[str]:
        """See `probe.nodes_lacking`."""
        return list(self._answers("nodes_lacking", ask, arguments, resources))

    def prepare(
        self, load: "LoadSettings", predict: "PredictSettings", resources: Resources, artifact: "Artifact"
    ) -> None:
        """Give the settings and the model of all passes that `run` makes."""
        # Pickled twice: that process hands the bytes on to the nodes, and needs no torch for it.
        list(self._answers("prepare", load, predict, resources, pickle.dumps(artifact)))

    def run(self, pending: pa.Table, files_per_block: int) -> Iterator[pa.Table]:
        """See `RayPipeline.run`."""
        return self._answers("run", pending, files_per_block)

    def what_is_open(self, resources: "TrainResources") -> str | None:
        """See `train.what_is_open`."""
        [line] = self._answers("what_is_open", resources)
        return line  # type: ignore[no-any-return]

    def train(self, job: "Job", resources: "TrainResources") -> "Iterator[Event | None]":
        """See `train.train`."""
        return self._answers("train", job, resources)

    def _answers(self, method: str, *arguments: Any) -> Iterator[Any]:
        self._send((method, arguments))
        while not isinstance(answer := self._receive(), _End):
            yield answer.value

    def _send(self, message: object) -> None:
        try:
            self._connection.send_bytes(pickle.dumps(message))
        except OSError as error:
            raise self._death() from error

    def _receive(self) -> Any:
        """The next message; what it has sent counts, even where a part of Ray has died since."""
        ready: list[Any] = []
        while not ready:
            if not self._connection.poll():
                self._require_running()
            ready = wait([self._connection, *self._vital], _LOOK_SECONDS)
        if self._connection not in ready:
            raise self._death()
        try:
            # The same user's process: a message gives its sender no right that it lacks.
            answer = pickle.loads(self._connection.recv_bytes())  # noqa: S301
        except (EOFError, OSError) as error:
            raise self._death() from error
        if isinstance(answer, Exception):
            # What Ray says of the death of its parts is not what died.
            raise self._death() if self._dead() else answer
        return answer

    def _require_running(self) -> None:
        """Raise SerError where something is held up at two looks: most of what asks it would wait for ever."""
        if time.monotonic() < self._looked + _LOOK_SECONDS:
            return
        before, self._held_up = self._held_up, {name for pid, name in self._vital.values() if is_stopped(pid)}
        self._looked = time.monotonic()
        if names := before & self._held_up:
            raise self._gone(f"its {' and '.join(sorted(names))} is held up, as by SIGSTOP")

    def _dead(self) -> list[str]:
        """What has ended of that which Ray cannot do without."""
        return sorted({self._vital[descriptor][1] for descriptor in wait(list(self._vital), timeout=0)})  # type: ignore[index]

    def _death(self) -> SerError:
        if names := self._dead():
            return self._gone(f"its {' and '.join(names)} died")
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_LONGEST_CLOSE_SECONDS)
        code = self._process.returncode
        where = f"the cluster at {self._address} does not answer" if self._address else "its GCS or raylet died"
        return self._gone(f"{where}, and its driver ended (exit code {code})")

    def _gone(self, why: str) -> SerError:
        return SerError(f"Ray is gone: {why}; {self._kept}; run the same command to go on")


def main() -> None:
    """What the process runs: answer until the other end is closed."""
    connection = Connection(int(sys.argv[1]))

    def send(message: object) -> None:
        connection.send_bytes(pickle.dumps(message))

    with suppress(EOFError, OSError):
        start: _Start = pickle.loads(connection.recv_bytes())  # noqa: S301
        try:
            hardware = connect(address=start.address, own=start.own, verbose=start.verbose)
            send(_Started(hardware=hardware, vital=vital_processes(start.address)))
            server = _Server()
            while True:
                method, arguments = pickle.loads(connection.recv_bytes())  # noqa: S301
                _answer(send, getattr(server, method), arguments)
        except SerError as error:
            send(error)
    leave(0)


def _answer(send: Callable[[object], None], method: Callable[..., Any], arguments: Sequence[Any]) -> None:
    try:
        for value in method(*arguments):
            send(_Item(value))
        send(_End())
    except (SerError, BrokenPipeError) as error:
        send(error)
    except Exception as error:
        # Ray's own errors cannot be read where Ray is not imported.
        send(RuntimeError(one_line(error)))


class _Server:
    """What the process is asked for."""

    def nodes_lacking(self, *arguments: Any) -> list[str]:
        from cluster.probe import nodes_lacking

        return nodes_lacking(*arguments)

    def prepare(
        self, load: "LoadSettings", predict: "PredictSettings", resources: Resources, model: bytes
    ) -> list[Any]:
        import ray

        from cluster.ray_pipeline import RayPipeline, SharedAttempts

        self._pipeline = RayPipeline(
            load=load, predict=predict, resources=resources, artifact=ray.put(model), attempts=SharedAttempts()
        )
        return []

    def run(self, pending: pa.Table, files_per_block: int) -> Iterator[pa.Table]:
        return self._pipeline.run(pending, files_per_block)

    def what_is_open(self, resources: "TrainResources") -> list[str | None]:
        from cluster.training.train import what_is_open

        return [what_is_open(resources)]

    def train(self, job: "Job", resources: "TrainResources") -> "Iterator[Event | None]":
        from cluster.training.train import train

        return train(job, resources)
