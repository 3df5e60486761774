"""A training whose frozen matrices are stored as int8: it computes with what it stores, whatever it starts from."""

from pathlib import Path

import pytest
import torch

from ser_core.audio.log_mel import LogMel
from ser_core.errors import UsageError
from ser_core.models.artifact import Artifact
from ser_core.models.base import SpeechModel
from ser_core.training.data.features import FrontEnd
from ser_core.training.job import Job
from tests.support.training import TWO_ENCODERS, VGG
from tests.support.training_runs import CPU, StoppedError, job_values, run
from tests.support.training_worker import make_job

INT8 = TWO_ENCODERS | {"weights_dtype": "int8", "epochs": 2, "split": {"folds": 2}}


def key(model: SpeechModel, job: Job) -> str:
    """What cached features of frozen layers are found by: it says all bits of these layers."""
    return FrontEnd(model, LogMel(job.mel), CPU, caches_encoded=True).key


def test_what_is_stored_is_what_features_are_computed_with(manifests: list[str], tmp_path: Path, cache: Path) -> None:
    job = make_job(job_values(manifests, tmp_path / "model", cache, **INT8))
    with pytest.raises(StoppedError):
        run(job, stop_after=1)
    run(job)
    models = [Artifact.load(str(tmp_path / f"model/fold-{number}")).model() for number in (1, 2)]
    assert {key(model, job) for model in (job.new_model(), *models)} == {key(job.new_model(), job)}
    not_rounded = make_job(job_values(manifests, tmp_path / "other", cache, **INT8 | {"weights_dtype": "fp32"}))
    assert key(not_rounded.new_model(), job) != key(models[0], job)
    # A model that starts from one of them has the very same layers, in each fold and after a restart.
    first = str(tmp_path / "model/fold-1")
    start = make_job(job_values(manifests, tmp_path / "mine", cache, **INT8, weights=first)).new_model()
    assert key(start, job) == key(models[0], job)
    learned = models[0].state_dict()
    assert all(torch.equal(value, learned[name]) for name, value in start.state_dict().items())


@pytest.mark.parametrize(
    "changes", [{}, VGG, TWO_ENCODERS | {"architecture_settings": {"width": 64, "num_layers": 2, "frozen_layers": 0}}]
)
def test_where_nothing_is_frozen_int8_is_refused(
    manifests: list[str], tmp_path: Path, cache: Path, changes: dict[str, object]
) -> None:
    values = {"cache_frozen": False, "weights_dtype": "int8"}
    job = make_job(job_values(manifests, tmp_path / "model", cache, **changes | values))
    with pytest.raises(
        UsageError, match=r"^weights_dtype: int8 .* no layer of .* frozen .*; give weights_dtype: fp16$"
    ):
        job.check(1)
