"""One worker of trainings without Ray: python -m tests.support.training_worker JOBS RANK SIZE MEETING_FILE [DTYPE]"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from ser_core.audio import log_mel as features
from ser_core.corpora.manifest import read_manifests
from ser_core.distributed import ALONE, ProcessGroup
from ser_core.errors import SerError, SupersededError
from ser_core.storage.location import Location
from ser_core.training.config import TrainConfig
from ser_core.training.data import features as front_ends
from ser_core.training.events import Event
from ser_core.training.job import Job
from ser_core.training.run import Worker, run_job


def make_job(values: dict[str, Any]) -> Job:
    """A job from plain values."""
    return Job(
        config=TrainConfig.from_dict(values["config"]),
        manifest=read_manifests(values["manifests"]),
        folder=Location.parse(values["folder"]),
        run="one",
    )


def compute_in_float64() -> None:
    """Have this process train in float64, where rounding is too small to grow into anything that is seen."""
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    filterbank, encode = features.librosa_filterbank, front_ends.FrontEnd.encode
    features.librosa_filterbank = lambda mel: filterbank(mel).double()
    front_ends.FrontEnd.encode = lambda self, mel_BFT: encode(self, mel_BFT.double())  # type: ignore[method-assign]


def main(jobs_file: str, rank: int, size: int, meeting_file: str, dtype: str = "float32") -> None:
    """Run the jobs, one after the other, to their end; then, in the first worker, those that are to be run `alone`."""
    torch.set_num_threads(1)
    if dtype == "float64":
        compute_in_float64()
    distributed.init_process_group("gloo", init_method=f"file://{meeting_file}", rank=rank, world_size=size)
    group = ProcessGroup(rank=rank, size=size, local_rank=rank, local_size=size)
    jobs = json.loads(Path(jobs_file).read_text())
    for values in (values for values in jobs if not values.get("alone")):
        _run(values, group)
    distributed.destroy_process_group()
    for values in (values for values in jobs if values.get("alone") and rank == 0):
        _run(values, ALONE)


def _run(values: dict[str, Any], group: ProcessGroup) -> None:
    worker = Worker(
        group=group, device=torch.device("cpu"), check_owner=_superseded if values.get("superseded") else _nothing
    )
    values["config"]["cache_dir"] = values["config"]["cache_dir"].replace("{rank}", str(group.rank))
    try:
        run_job(make_job(values), worker, _nothing)
    except SerError as error:
        error_file(Path(values["folder"]), group.rank).write_text(f"{type(error).__name__}: {error}")


def error_file(folder: Path, rank: int) -> Path:
    """Where a worker says why its job ended early."""
    return folder.with_name(f"{folder.name}-error-{rank}")


def _nothing(*_: Event) -> None:
    return None


def _superseded() -> None:
    raise SupersededError("a newer training took it over")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
