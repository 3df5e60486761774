"""What each worker of a training on Ray Train does."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ser_core.errors import OutputError, SerError, SupersededError
from ser_core.temporary import temporary_folder

if TYPE_CHECKING:
    from ray.util.queue import Queue

    from ser_core.training import Job

#: Time limit of a collective: workers wait while one computes features.
LONGEST_WAIT_SECONDS = 6 * 3600
#: Number of threads that load batches beside a GPU, at most.
_MAX_LOADERS = 8
#: What gloo's errors name, which have no type of their own.
_GLOO = "/gloo/transport/"


class PeerLostError(ConnectionError):
    """Another worker no longer answers; it has no text, as that of torch speaks of sockets."""


def work(settings: dict[str, Any]) -> None:
    """Train as one of the workers: `settings` are the `job` and the queue of `messages` to its driver.

    Raises:
        PeerLostError: another worker no longer answers.
    """
    import joblib
    import torch
    from ray import train as ray_train
    from ray.train.torch import get_device

    from ser_core.distributed import ProcessGroup
    from ser_core.training import Worker, run_job

    job: Job = settings["job"]
    messages: Queue = settings["messages"]
    context = ray_train.get_context()
    group = ProcessGroup(
        rank=context.get_world_rank(),
        size=context.get_world_size(),
        local_rank=context.get_local_rank(),
        local_size=context.get_local_world_size(),
    )
    cores = max(1, joblib.cpu_count() // group.local_size)
    device = get_device()
    torch.set_num_threads(job.config.threads or cores)
    num_loaders = min(_MAX_LOADERS, cores) if device.type == "cuda" else 0
    try:
        with private_cache(), peers_named():
            group.broadcast(lambda: _check_seen(job))
            worker = Worker(group=group, device=device, num_threads=num_loaders, check_owner=lambda: _check_owner(job))
            run_job(job, worker, messages.put)
    except SerError as error:
        messages.put(error)
    except torch.OutOfMemoryError:
        messages.put(SerError(f"the GPU has too little memory for steps of {job.config.batch_size}; use a smaller one"))


@contextmanager
def peers_named() -> Iterator[None]:
    """Within it a collective that fails because another worker is gone raises `PeerLostError`."""
    from torch.distributed import DistError

    try:
        yield
    except RuntimeError as error:
        if isinstance(error, DistError) or _GLOO in str(error):
            raise PeerLostError from error
        raise


@contextmanager
def private_cache() -> Iterator[None]:
    """Within it torch's caches are a folder of this process's own.

    By itself torch makes one in the folder that all users share, where another may have taken its name.
    """
    with temporary_folder() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
        yield


def _check_seen(job: "Job") -> None:
    """Whether this machine sees the MODEL_DIR that the command sees.

    Raises:
        OutputError: it does not.
    """
    import socket

    from ser_core.training import TrainingFolder

    if TrainingFolder(job.folder).run() != job.run:
        raise OutputError(
            f"{job.folder}: the machine that trains ({socket.gethostname()}) does not see this folder; "
            "name one that all machines share, or s3://bucket/prefix"
        )


def _check_owner(job: "Job") -> None:
    """Whether a training that slept, or lost its command, still has MODEL_DIR.

    Raises:
        SupersededError: a newer one has it.
    """
    from ser_core.training import TrainingFolder

    if TrainingFolder(job.folder).run() != job.run:
        raise SupersededError(f"{job.folder}: a newer training took it over; this one ends")
