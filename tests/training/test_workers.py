"""Several workers: they learn what one does, and none waits for one that has failed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ser_core import storage
from ser_core.training.events import FoldBegan
from tests.support.processes import kill_all
from tests.support.run_control import wait_for
from tests.support.training import EVERYTHING, REGRESSION
from tests.support.training_runs import equal, job_values, run, start_workers, weights
from tests.support.training_worker import error_file, make_job

#: What two workers share in unlike ways: clips that come twice, mixed ones, batch statistics, a regression.
TRAININGS: list[dict[str, Any]] = [
    {"sampling": "balanced"},
    {"augmentation": {"speed": 0.1, "num_masks": 1, "mixup_probability": 0.5}, "batch_size": 9},
    REGRESSION
    | {
        "architecture_settings": REGRESSION["architecture_settings"] | {"dropout": 0.0},
        "cache_frozen": False,
        "weights_dtype": "fp32",
        "regression_speaker_damping": 0.5,
        "regression_tempo_damping": 0.7,
        "augmentation": {"speed": 0.1, "tempo": 0.5, "mixup_probability": 0.5},
    },
]
#: A folder, then the line that every worker ends with.
FAULTS = {
    "empty-checkpoint": "is no checkpoint of this program; begin anew with --restart",
    "no-checkpoint": "is no checkpoint of this program; begin anew with --restart",
    "taken-over": "a newer training took it over",
    "no-cache": "cannot cache waveforms",
}


@pytest.fixture(scope="module")
def ended(manifests: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where one worker, and two together, have run `TRAININGS`, and the two what comes to one of `FAULTS`."""
    folder = tmp_path_factory.mktemp("workers")
    # Features are cached in float32, but were computed in float64: other trainings must not find them.
    cache = folder / "cache"
    trainings = {
        size: [job_values(manifests, folder / f"{size}-{index}", cache, **changes, epochs=2)
               for index, changes in enumerate(TRAININGS)]
        for size in (1, 2)
    }  # fmt: skip
    faulty = {name: job_values(manifests, folder / name, cache, epochs=2) for name in FAULTS}
    for name, content in (("empty-checkpoint", b""), ("no-checkpoint", b"no tensors")):
        storage.put(make_job(faulty[name]).fold(0).checkpoint, content)
    faulty["taken-over"]["superseded"] = True
    # Of the second worker's machine the cache cannot be written.
    faulty["no-cache"]["config"] |= {"cache_dir": str(folder / "cache-{rank}")}
    (folder / "cache-1").write_text("")
    alone = [values | {"alone": True} for values in trainings[1]]
    started = start_workers([*faulty.values(), *trainings[2], *alone], folder / "jobs", "float64", size=2)
    for worker in started:
        _, error = worker.communicate(timeout=240)
        assert worker.returncode == 0, error
    return folder


@pytest.mark.parametrize("index", range(len(TRAININGS)))
def test_two_workers_learn_what_one_does(ended: Path, index: int) -> None:
    reports = [json.loads((ended / f"{size}-{index}" / "report.json").read_text()) for size in (1, 2)]
    for metric in ("loss", "validation_loss"):
        curves = [[record[metric] for record in report["training"]["history"]] for report in reports]
        np.testing.assert_allclose(curves[0], curves[1], rtol=1e-12 if metric == "loss" else 1e-6)
    assert reports[0]["split"] == reports[1]["split"]


@pytest.mark.parametrize("name", FAULTS)
def test_what_one_worker_finds_wrong_all_raise(ended: Path, name: str) -> None:
    lines = [error_file(ended / name, rank).read_text() for rank in (0, 1)]
    assert FAULTS[name] in lines[0]
    assert lines[0] == lines[1]


@pytest.mark.heavy
def test_a_killed_training_goes_on_to_the_same_bits(manifests: list[str], tmp_path: Path, cache: Path) -> None:
    changes = EVERYTHING | {"epochs": 12}
    whole, killed = (job_values(manifests, tmp_path / name / "model", cache, **changes) for name in ("whole", "killed"))
    (worker,) = start_workers([killed], tmp_path, size=1)
    wait_for(lambda: storage.exists(make_job(killed).fold(0).checkpoint), worker)
    kill_all(worker)
    events = run(make_job(killed))
    began = next(event for event in events if isinstance(event, FoldBegan))
    assert 1 <= len(began.history) < 12
    run(make_job(whole))
    assert equal(weights(tmp_path / "whole/model"), weights(tmp_path / "killed/model"))
