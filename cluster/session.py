"""Connect to a Ray cluster, or start one on this machine, and leave it as it was."""

import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from cluster.resources import Hardware
from ser_core.errors import InterruptedRunError, SerError, UsageError

#: Where this program is imported from.
_IMPORT_ROOT = Path(__file__).resolve().parent.parent
_CONNECT_SECONDS = 10.0
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@contextmanager
def connect(*, address: str | None, own: Hardware, verbose: bool) -> Iterator[Hardware]:
    """Join the cluster at `address`, or start a Ray on this machine that has `own`; tells what there is.

    Raises:
        UsageError: nothing answers at the address.
        SerError: Ray could not start, or refused this program's token.
        InterruptedRunError: SIGTERM came while Ray started.
    """
    with nullcontext() if verbose else _silence():
        try:
            yield _start(address, own, verbose)
        finally:
            import ray

            ray.shutdown()


def _start(address: str | None, own: Hardware, verbose: bool) -> Hardware:
    if address:
        _require_listener(address)
    # An archive's owner has not agreed to tell Ray's makers about their runs.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not verbose:
        # After a worker's death Ray prints to standard output whatever log_to_driver says, but for what this matches.
        os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] = ".*|^$"
    import ray

    where = f"--address {address}" if address else "Ray on this machine"
    try:
        # Ray puts the working folder first on the import path of its workers; a user's own `jobs` must not be ours.
        with chdir(_IMPORT_ROOT):
            ray.init(
                log_to_driver=verbose,
                logging_level=logging.INFO if verbose else logging.ERROR,
                **({"address": address} if address else _own_settings(own)),
            )
    except SystemExit as error:
        # Ray answers SIGTERM so while it starts.
        raise InterruptedRunError("stopped while Ray started; run the same command to go on") from error
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise SerError(f"{where} cannot be used: {first_line(error)}") from error
    _quiet(verbose)
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return Hardware(cpus=total.get("CPU", 1.0), gpus=total.get("GPU", 0.0))


def _own_settings(own: Hardware) -> dict[str, Any]:
    return {
        # Without an address Ray joins whatever cluster was last started on this machine.
        "address": "local",
        "num_cpus": int(own.cpus),
        "num_gpus": int(own.gpus),
        "include_dashboard": False,
    }


def _require_listener(address: str) -> None:
    """Ray tries for minutes, without a word, where nothing listens."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise UsageError(
            f"--address {address}: no Ray cluster answers there ({error}); see 'ray start --head'"
        ) from error


def local_hardware(cpus: int | None, gpus: int | None) -> Hardware:
    """What this machine has, or what of it to use; cores as a container's quota and CPU set allow."""
    import joblib
    import torch

    return Hardware(cpus=cpus or joblib.cpu_count(), gpus=torch.cuda.device_count() if gpus is None else gpus)


def first_line(error: BaseException) -> str:
    """What went wrong, in one line; for an error in a task, what the task raised."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        return f"{type(cause).__name__}: {first_line(cause)}"
    lines = [line.strip() for line in _COLOUR.sub("", str(error)).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what Ray's core writes to descriptor 2 off the terminal; Python's own standard error still gets there."""
    sys.stderr.flush()
    terminal = os.dup(2)
    python_stderr = sys.stderr
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        # Never closed: threads of Ray's may still log to it when the session is over.
        sys.stderr = os.fdopen(terminal, "w", buffering=1)
        try:
            yield
        finally:
            sys.stderr = python_stderr
            os.dup2(terminal, 2)


def _quiet(verbose: bool) -> None:
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = verbose
    context.print_on_execution_start = verbose
    if not verbose:
        # Ray logs whole traces of what the driver handles, even while the session ends; this program logs nothing.
        logging.disable(logging.CRITICAL)
