"""The loop, without Ray: what it learns, that it repeats and goes on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser_core.errors import SerError, UsageError
from ser_core.models.artifact import Artifact
from ser_core.storage.location import Location
from ser_core.training.data.augment import stretch
from ser_core.training.data.clips import ClipLabels, TrainingWindows, sampling_weights
from ser_core.training.events import EpochDone, FoldBegan
from ser_core.training.fitting.regression import fit
from ser_core.training.job import Job
from ser_core.training.run import open_waveforms
from tests.support.training import EVERYTHING, REGRESSION, TWO_ENCODERS, VGG, WHISPER
from tests.support.training_runs import StoppedError, equal, job_values, run, weights
from tests.support.training_worker import make_job


def test_learnable_emotions_are_learned_for_unseen_speakers(manifests: list[str], tmp_path: Path, cache: Path) -> None:
    events = run(make_job(job_values(manifests, tmp_path / "model", cache, epochs=10)))
    records = [event.record for event in events if isinstance(event, EpochDone)]
    assert [record.number for record in records] == list(range(1, 11))
    assert records[-1].loss < records[0].loss
    report = json.loads((tmp_path / "model/report.json").read_text())
    assert report["test"]["overall"]["uar"]["value"] > 0.9
    artifact = Artifact.load(str(tmp_path / "model"))
    best = max(records, key=lambda record: record.score)
    assert artifact.config.training["best_epoch"] == best.number
    assert artifact.config.labels == ("calm", "happy", "angry")
    speakers = {name: set(artifact.config.training[name]) for name in (
        "speakers", "validation_speakers", "calibration_speakers", "test_speakers")}  # fmt: skip
    assert sum(map(len, speakers.values())) == len(set().union(*speakers.values())) == 9


@pytest.mark.parametrize("changes", [EVERYTHING, WHISPER, REGRESSION, VGG, {"schedule": "none", "ema_decay": 0.0}])
def test_a_broken_off_training_goes_on_to_the_same_bits(
    manifests: list[str], tmp_path: Path, cache: Path, changes: dict[str, Any]
) -> None:
    whole, broken = tmp_path / "whole" / "model", tmp_path / "broken" / "model"
    run(make_job(job_values(manifests, whole, cache, **changes)))
    for epoch in (1, 2):
        with pytest.raises(StoppedError):
            run(make_job(job_values(manifests, broken, cache, **changes)), stop_after=epoch)
    events = run(make_job(job_values(manifests, broken, cache, **changes)))
    began = next(event for event in events if isinstance(event, FoldBegan))
    assert [record.number for record in began.history] == [1, 2]
    assert [event.record.number for event in events if isinstance(event, EpochDone)] == [3]
    for name in ("model.safetensors", "config.json", "report.json"):
        assert (whole / name).read_bytes() == (broken / name).read_bytes(), name
    assert not list((broken / "_training").glob("checkpoint*"))


def test_another_seed_gives_other_weights(manifests: list[str], tmp_path: Path, cache: Path) -> None:
    for seed in (1, 2):
        run(make_job(job_values(manifests, tmp_path / str(seed), cache, epochs=1, seed=seed)))
    assert not equal(weights(tmp_path / "1"), weights(tmp_path / "2"))


def test_a_precision_that_would_be_emulated_is_refused(
    manifests: list[str], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ser_core.training.run.has_bf16", lambda _device: False)
    with pytest.raises(UsageError, match=r"the cpu of .* can only emulate it, many times slower; set precision: fp32"):
        run(make_job(job_values(manifests, tmp_path / "model", cache, precision="bf16")))


SEVERAL_VIEWS = REGRESSION | {
    "architecture_settings": REGRESSION["architecture_settings"] | {"speech_ranges_db": [40.0, 10.0, 0.0]}
}


@pytest.mark.parametrize(
    "changes", [REGRESSION, SEVERAL_VIEWS, TWO_ENCODERS, VGG | {"sampling": "square_root", "windows_per_clip": 3}]
)
def test_a_regression_is_fitted_to_what_is_learned_from(
    manifests: list[str], tmp_path: Path, cache: Path, changes: dict[str, Any]
) -> None:
    job = make_job(job_values(manifests, tmp_path / "model", cache, **changes, regression_c=0.1))
    run(job)
    artifact = Artifact.load(str(tmp_path / "model"))
    model, waveforms = artifact.model(), open_waveforms(job)
    windows = TrainingWindows.of(waveforms, job.windows, 3, job.config.augmentation.overhang)
    clips, training_N = ClipLabels(job.manifest, job.labels), job.sets[0].training_N
    numbers = [windows.learned[clip] for clip in training_N]
    clip_W = np.repeat(training_N, [len(part) for part in numbers])
    with torch.no_grad():
        mel_BFT = artifact.log_mel()(torch.from_numpy(windows.read(waveforms, np.concatenate(numbers))))
        views = model.regression_views(model.encode_frozen(mel_BFT))
        features_WP = np.mean(views, axis=0)
    weight_N = sampling_weights(clips.stratum_G[training_N], "square_root") / [len(part) for part in numbers]
    weight_W = np.repeat(weight_N, [len(part) for part in numbers])
    of_views = np.concatenate(views), np.tile(clips.label_G[clip_W], len(views)), np.tile(weight_W, len(views))
    # Every view has its part of a window's weight.
    fitted_CX = fit(*of_views, np.zeros((3, features_WP.shape[1] + 1)), 0.1 / len(views))
    assert model.regression is not None
    assert artifact.reference is not None
    assert artifact.reference.components_PR.shape[0] == features_WP.shape[1]
    expected_WC = features_WP @ fitted_CX[:, :-1].T + fitted_CX[:, -1]
    found_WC = model.regression(torch.from_numpy(features_WP)).numpy()
    # What was kept is float16.
    np.testing.assert_allclose(found_WC, expected_WC, atol=0.05)
    assert found_WC.std() > 0.5


def test_both_regressions_are_half_of_each(manifests: list[str], tmp_path: Path, cache: Path) -> None:
    """The logistic one sees all, and the ridge what the damping leaves."""
    damped = {"regression_speaker_damping": 0.5}
    fitted_CX = []
    for number, changes in enumerate([
        {"regression_c": 0.1},
        {"regression_c": 0.01, "regression_loss": "squared", **damped},
        {"regression_c": 0.1, "regression_loss": "both", "regression_ridge_c": 0.01, **damped},
    ]):  # fmt: skip
        folder = tmp_path / str(number)
        run(make_job(job_values(manifests, folder, cache, **REGRESSION | changes | {"epochs": 1})))
        regression = Artifact.load(str(folder)).model().regression
        assert regression is not None
        fitted_CX.append(torch.cat([regression.weight_CP, regression.bias_C[:, None]], dim=1).numpy())
    logistic_CX, squared_CX, both_CX = fitted_CX
    assert np.abs(logistic_CX - squared_CX).max() > 10 * np.abs(both_CX - (logistic_CX + squared_CX) / 2).max()
    np.testing.assert_allclose(both_CX, (logistic_CX + squared_CX) / 2, atol=1e-3)


def test_a_regression_that_does_not_see_tempo_says_much_the_same_at_another(
    manifests: list[str], tmp_path: Path, cache: Path
) -> None:
    moved = []
    for share in (0.0, 0.9):
        changes = REGRESSION | {"regression_tempo_damping": share, "regression_c": 0.1, "epochs": 1}
        job = make_job(job_values(manifests, tmp_path / str(share), cache, **changes))
        run(job)
        artifact = Artifact.load(str(tmp_path / str(share)))
        model, waveforms = artifact.model(), open_waveforms(job)
        windows = TrainingWindows.of(waveforms, job.windows, 2, job.config.augmentation.overhang)
        heard = artifact.log_mel()(torch.from_numpy(windows.read(waveforms, np.arange(len(windows)))))
        slowed = heard.clone()
        for mel_FT in slowed:
            stretch(mel_FT, 1.7)
        assert model.regression is not None
        with torch.no_grad():
            said = [model.regression(model.regression_features(model.encode_frozen(one))) for one in (heard, slowed)]
        moved.append(float((said[1] - said[0]).std() / said[0].std()))
    assert moved[1] < 0.7 * moved[0]


def test_a_loss_that_is_no_number_is_said(manifests: list[str], tmp_path: Path, cache: Path) -> None:
    changes = {"learning_rate": 100.0, "grad_clip_norm": 0.0, "schedule": "none", "epochs": 9}
    with pytest.raises(SerError, match="smaller learning_rate"):
        run(make_job(job_values(manifests, tmp_path / "model", cache, weight_decay=99.0, **changes)))


@pytest.mark.parametrize("share", [0, 1, 1 / 4, 0.15])
def test_any_share_of_rising_steps_will_do(
    manifests: list[str], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr("ser_core.training.learner._WARMUP_SHARE", share)
    everything = {"test_share": 0, "validation_speakers": 0, "calibration_speakers": 0}
    for number, batch_size in enumerate((1_000, 30)):
        folder = tmp_path / str(number)
        run(make_job(job_values(manifests[:1], folder, cache, epochs=2, batch_size=batch_size, split=everything)))
        assert (folder / "report.json").exists()


def test_the_folder_can_be_a_bucket(manifests: list[str], moto_s3: Any, cache: Path) -> None:
    job = make_job(job_values(manifests, Path("unused"), cache, epochs=2))
    job = Job(config=job.config, manifest=job.manifest, folder=moto_s3.location.join("model"), run="one")
    with pytest.raises(StoppedError):
        run(job, stop_after=1)
    run(job)
    assert Artifact.load(job.folder.url).config.training["history"][-1]["number"] == 2
    assert isinstance(job.folder, Location)
