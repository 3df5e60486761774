"""Connect to a Ray cluster, or start one on this machine; end the process and what it started."""

import ctypes
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import psutil

from cluster import own_ray
from cluster.resources import Hardware
from ser_core.child_process import IMPORT_ROOT
from ser_core.errors import SerError, UsageError, one_line
from ser_core.temporary import remove_dead

_CONNECT_SECONDS = 10.0
#: An option of Linux's prctl(2).
_PR_SET_CHILD_SUBREAPER = 36
_LONGEST_KILL_SECONDS = 3.0
_LOOK_AGAIN_SECONDS = 0.2
#: What is closed when all processes of this one's Ray have ended, and this one is about to.
_at_end = ExitStack()


def connect(*, address: str | None, own: Hardware, verbose: bool) -> Hardware:
    """Join the cluster at `address`, or start a Ray on this machine that has `own`; what there is.

    The process must end by `leave`: with it a Ray of its own ends, and a cluster sees at once that its driver is gone.
    Ray's own way out is not taken. It leads through native code, which may crash (exit -11) where this process was
    suspended for long or the machine is busy, and which waits where Ray is not all there.

    Raises:
        UsageError: nothing answers at the address, or it holds a password.
        SerError: Ray could not start, or refused this program's token.
    """
    if not verbose:
        _silence()
    if address:
        if "@" in address:
            # It is not shown: whatever stands before the sign may be a password.
            raise UsageError("--address: an address of Ray has no user and no password; give host:port")
        _require_listener(address)
    # An archive's owner has not agreed to tell Ray's makers about their runs.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    settings: dict[str, Any] = {"address": address} if address else own_ray.prepare(own, _at_end)
    if not verbose:
        # After a worker's death Ray prints to standard output whatever log_to_driver says, but for what this matches.
        os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] = ".*|^$"
    import ray

    where = f"address {address}" if address else "Ray on this machine"
    try:
        # Ray puts the working folder first on the import path of its workers; a user's own `jobs` must not be ours.
        with chdir(IMPORT_ROOT), _without_hangups():
            ray.init(
                log_to_driver=verbose,
                logging_level=logging.INFO if verbose else logging.ERROR,
                **settings,
            )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise SerError(f"{where} cannot be used: {one_line(error)}") from error
    _quiet(verbose)
    if address and address.startswith("ray://"):
        # Its proxy would wait for this process to come back.
        _at_end.callback(ray.shutdown)
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return Hardware(cpus=total.get("CPU", 1.0), gpus=total.get("GPU", 0.0))


@contextmanager
def _without_hangups() -> Iterator[None]:
    """What is started within it does not end when the terminal does: this process ends it, when the work is saved."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave(code: int) -> NoReturn:
    """End this process and everything it started at once, and remove the folder of its own Ray."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        # One that was closed from the start is None.
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    _kill_descendants()
    with suppress(Exception):
        _at_end.close()
        # Of a child that had a Ray of its own, and was killed before it could remove its folder.
        remove_dead()
    os._exit(code)


def adopt_orphans() -> None:
    """What a killed process leaves behind is this one's from here on, so that `leave` finds it."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _kill_descendants() -> None:
    """SIGKILL to all that this process started, until nothing new comes of it: Ray may still be starting processes."""
    adopt_orphans()
    until = time.monotonic() + _LONGEST_KILL_SECONDS
    while time.monotonic() < until and (alive := _living_descendants()):
        # Parents first.
        for process in alive:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=_LOOK_AGAIN_SECONDS)


def _living_descendants() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _require_listener(address: str) -> None:
    """Ray tries for minutes, without a word, where nothing listens."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise UsageError(
            f"address {address}: no Ray cluster answers there ({error}); see 'ray start --head'"
        ) from error


def local_hardware(cpus: int | None, gpus: int | None) -> Hardware:
    """What this machine has, or what of it to use; cores as a container's quota and CPU set allow.

    Raises:
        UsageError: there are not so many GPUs.
    """
    import joblib
    import torch

    num_gpus = torch.cuda.device_count()
    if gpus is not None and gpus > num_gpus:
        raise UsageError(f"--gpus {gpus}: usable GPUs of this machine: {num_gpus}; give fewer, or --address")
    return Hardware(cpus=cpus or joblib.cpu_count(), gpus=num_gpus if gpus is None else gpus)


def _silence() -> None:
    """Keep what Ray's core writes to descriptor 2 off the terminal; Python's own standard error still gets there.

    It stays so: Ray's threads may log until the process ends.
    """
    sys.stderr.flush()
    with suppress(OSError):
        # The command gives its standard error another descriptor from the start.
        if sys.stderr.fileno() == 2:
            sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)


def _quiet(verbose: bool) -> None:
    from ray.data import DataContext

    context = DataContext.get_current()
    # They would draw over this program's own.
    context.enable_progress_bars = False
    context.print_on_execution_start = verbose
    if not verbose:
        # Ray logs whole traces of what the driver handles, even while the session ends; this program logs nothing.
        logging.disable(logging.CRITICAL)
