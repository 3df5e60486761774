"""`ser train` in this process, to its end and without Ray."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch

from cluster.resources import Hardware
from ser_core.distributed import ALONE
from ser_core.training.events import Event
from ser_core.training.job import Job
from ser_core.training.run import Worker, run_job


class TrainsHere(nullcontext[Any]):
    """In the place of a `RayProcess`: the one worker of a training is this process."""

    def __init__(self, **_: object) -> None:
        super().__init__(self)
        self.hardware = Hardware(cpus=1, gpus=0)

    def what_is_open(self, _: object) -> None:
        return None

    def train(self, job: Job, _: object) -> Iterator[Event]:
        events: list[Event] = []
        run_job(job, Worker(group=ALONE, device=torch.device("cpu")), events.append)
        return iter(events)
