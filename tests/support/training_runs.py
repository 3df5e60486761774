"""Trainings in this process, without Ray, and in worker processes of their own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from ser_core.distributed import ALONE
from ser_core.models.artifact import Artifact
from ser_core.training.events import EpochDone, Event
from ser_core.training.job import Job
from ser_core.training.run import Worker, run_job
from tests.support.cli import ROOT
from tests.support.processes import launch
from tests.support.training import settings

CPU = torch.device("cpu")


def job_values(manifests: list[str], folder: Path, cache: Path, **changes: Any) -> dict[str, Any]:
    return {"config": settings(cache, **changes), "manifests": manifests, "folder": str(folder)}


class StoppedError(Exception):
    """Raised by a test in the middle of a training."""


def run(job: Job, stop_after: int | None = None) -> list[Event]:
    """Run a job to its end, or until after an epoch; gives what it reported."""
    events: list[Event] = []

    def callback(event: Event) -> None:
        events.append(event)
        if isinstance(event, EpochDone) and event.record.number == stop_after:
            raise StoppedError

    run_job(job, Worker(group=ALONE, device=CPU, num_threads=0), callback)
    return events


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return Artifact.load(str(folder)).model().state_dict()


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def start_workers(jobs: list[dict[str, Any]], folder: Path, *words: str, size: int) -> "list[subprocess.Popen[str]]":
    folder.mkdir(exist_ok=True)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, "-m", "tests.support.training_worker", str(folder / "jobs.json")]
    places = [[str(rank), str(size), str(folder / "meeting")] for rank in range(size)]
    return [launch([*command, *place, *words], cwd=ROOT, stderr=subprocess.PIPE, text=True) for place in places]
