"""A training on Ray Train: workers on any number of machines, restarted from the last epoch when one is lost."""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cluster.feed import END, FeedError, feed
from cluster.resources import Hardware, usable_gpus
from cluster.training.worker import LONGEST_WAIT_SECONDS, PeerLostError, work
from ser_core.errors import (
    InterruptedRunError,
    SerError,
    ServiceError,
    UsageError,
    one_line,
)
from ser_core.settings import ResolvedDevice
from ser_core.temporary import temporary_folder
from ser_core.training import Event, TrainConfig

if TYPE_CHECKING:
    from ray.util.queue import Queue

    from ser_core.training import Job

_POLL_SECONDS = 0.2
#: Number of CPUs that Ray reserves for a worker at most, and the share of all CPUs that it may reserve.
_MAX_CPUS_PER_WORKER = 1.0
_SHARE_OF_CPUS = 0.9
#: Interval in which Ray looks whether its workers live, and are done.
_LOOK_SECONDS = "0.5"


@dataclass(frozen=True, kw_only=True)
class TrainResources:
    """The workers of one training."""

    device: ResolvedDevice
    num_workers: int
    cpus_per_worker: float

    def describe(self) -> str:
        """For people."""
        return f"{self.num_workers} worker(s) on {self.device}"


def plan_training(config: TrainConfig, hardware: Hardware) -> TrainResources:
    """Divide the hardware among workers.

    Raises:
        UsageError: a GPU is asked for and there is none, or more workers than GPUs.
    """
    gpus = usable_gpus(config.device, hardware.gpus)
    device: ResolvedDevice = "cuda" if gpus else "cpu"
    num_workers = config.workers or (gpus if device == "cuda" else 1)
    if device == "cuda" and num_workers > gpus:
        raise UsageError(f"--workers {num_workers}: each needs a GPU, and there are {gpus}; use fewer, or --device cpu")
    share = _SHARE_OF_CPUS * hardware.cpus / num_workers
    return TrainResources(
        device=device, num_workers=num_workers, cpus_per_worker=round(min(_MAX_CPUS_PER_WORKER, share), 4)
    )


def what_is_open(resources: TrainResources) -> str | None:
    """What workers on several machines of the connected cluster open to others, in a line; None if they are on one."""
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    if resources.num_workers == 1 or sum(node["Alive"] for node in nodes) < 2:
        return None
    return (
        "workers on several machines take what they execute from one another without a password, on ports of all "
        "interfaces; let no other machine reach these (docs/security.md)"
    )


def train(job: "Job", resources: TrainResources) -> "Iterator[Event | None]":
    """Run a job on the Ray that is connected, to its end; for the process of Ray's driver.

    Yields:
        What workers report, in order; None where there was nothing for a moment: whoever takes it may be gone.

    Raises:
        SerError: what a worker found, or that workers were lost too often.
    """
    from ray.exceptions import RayError
    from ray.util.queue import Queue

    messages = Queue(actor_options={"num_cpus": 0})
    with temporary_folder() as folder:
        try:
            yield from _reported(_fitting(job, resources, messages, str(folder)), messages)
        except RayError as error:
            raise SerError(
                f"the training broke off (its message queue was lost: {_reason(error)}); run the same command to go on"
            ) from error


def follow(events: "Iterator[Event | None]", callback: Callable[[Event], None], stop: threading.Event) -> None:
    """Hand on what `train` reports, until the training is over; `callback` is called here, in order.

    Raises:
        InterruptedRunError: `stop` was set.
        SerError: what `train` or `callback` raised, or that the training broke off.
    """
    with feed(events) as next_event:
        try:
            while not stop.is_set():
                event = next_event(_POLL_SECONDS)
                if event is END:
                    return
                if event is not None:
                    callback(event)
        except (FeedError, SerError) as error:
            # A signal to many processes ends parts of Ray too; what they leave behind is no news then.
            if not stop.is_set():
                if isinstance(error, SerError):
                    raise
                raise SerError(f"the training broke off ({error}); run the same command to go on") from error
    raise InterruptedRunError("stopped; every epoch that ended is saved; run the same command to go on")


def _reported(fit: "_Fit", messages: "Queue") -> "Iterator[Event | None]":
    """What workers report, until the training is over."""
    from ray.util.queue import Empty

    while True:
        was_over = fit.is_over.is_set()
        try:
            message = messages.get(timeout=_POLL_SECONDS)
        except Empty:
            if was_over:
                break
            message = None
        if isinstance(message, ServiceError):
            raise ServiceError(f"{message}; the same command goes on from here") from message
        if isinstance(message, SerError):
            raise message
        yield message
    if fit.error is not None:
        raise SerError(f"the training broke off ({_why(fit.error)}); run the same command to go on") from fit.error


class _Fit:
    """Ray's own thread, and how it ended."""

    def __init__(self) -> None:
        self.is_over = threading.Event()
        self.error: BaseException | None = None


def _fitting(job: "Job", resources: TrainResources, messages: "Queue", folder: str) -> _Fit:
    """Ray Train at work in a thread, so that messages need not wait for it."""
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", _LOOK_SECONDS)
    fit = _Fit()

    def run() -> None:
        try:
            _trainer(job, resources, messages, folder).fit()
        except BaseException as error:
            fit.error = error
        finally:
            fit.is_over.set()

    threading.Thread(target=run, name="ray-train", daemon=True).start()
    return fit


def _trainer(job: "Job", resources: TrainResources, messages: "Queue", folder: str) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from cluster.training.process_group import GroupConfig

    is_gpu = resources.device == "cuda"
    return TorchTrainer(
        work,
        train_loop_config={"job": job, "messages": messages},
        torch_config=GroupConfig(backend="cpu:gloo,cuda:nccl" if is_gpu else "gloo", timeout_s=LONGEST_WAIT_SECONDS),
        scaling_config=ScalingConfig(
            num_workers=resources.num_workers,
            use_gpu=is_gpu,
            resources_per_worker={"CPU": resources.cpus_per_worker} | ({"GPU": 1} if is_gpu else {}),
            placement_strategy="SPREAD",
        ),
        # Ray keeps its own notes there; the training's state is in MODEL_DIR.
        run_config=RunConfig(
            name=job.run,
            storage_path=folder,
            failure_config=FailureConfig(max_failures=job.config.max_failures),
        ),
    )


def _why(error: BaseException) -> str:
    """What the first lost worker said, where Ray tells; the others may have said only that it is lost."""
    failures: dict[int, BaseException] | None = getattr(error, "worker_failures", None)
    if failures:
        rank, failure = min(failures.items(), key=lambda item: (isinstance(item[1], PeerLostError), item[0]))
        return f"worker {rank}: {_reason(failure)}"
    return _reason(error)


def _reason(error: BaseException) -> str:
    """What went wrong, in few words: of an error that is Ray's own, its type, as its text speaks of Ray's inside."""
    is_rays = type(error).__module__.partition(".")[0] == "ray" and getattr(error, "cause", None) is None
    return type(error).__name__ if is_rays else one_line(error)
