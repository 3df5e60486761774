"""Folds, pooled and calibrated; and trainings whose test is a corpus, or nothing."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ser_core.models.artifact import Artifact
from ser_core.training.events import EpochDone
from ser_core.training.pooled import write_pooled
from ser_core.training.report import fitted_temperature
from tests.support.training_runs import job_values, run
from tests.support.training_worker import make_job


def test_folds_are_pooled_and_what_is_done_is_left_out(manifests: list[str], tmp_path: Path, cache: Path) -> None:
    job = make_job(job_values(manifests, tmp_path / "model", cache, epochs=1, split={"folds": 2}))
    run(job)
    write_pooled(job)
    assert not [event for event in run(job) if isinstance(event, EpochDone)]
    report = json.loads((tmp_path / "model/report.json").read_text())
    assert report["test"]["overall"]["clips"] == len(job.manifest)
    assert [fold["clips"] for fold in report["folds"]] == [len(fold.test_N) for fold in job.sets]
    assert set(report["over_folds"]) == {"accuracy", "macro_f1", "uar", "ece"}
    assert any("nor the audio of any clip" in note for note in report["test"]["notes"])
    assert sum(group["clips"] for group in report["test"]["by"]["length"].values()) == len(job.manifest)
    table = pq.read_table(tmp_path / "model/predictions.parquet")
    assert len(set(table["audio_hash"].to_pylist())) == len(job.manifest)
    assert not (tmp_path / "model/config.json").exists()
    for number in (1, 2):
        Artifact.load(str(tmp_path / f"model/fold-{number}"))


def test_folds_calibrate_each_other(manifests: list[str], tmp_path: Path, cache: Path) -> None:
    job = make_job(job_values(manifests, tmp_path / "model", cache, epochs=2, calibration="folds", split={"folds": 3}))
    assert not any(len(fold.calibration_N) for fold in job.sets)
    run(job)
    folders = [tmp_path / f"model/fold-{number}" for number in (1, 2, 3)]
    before = [pq.read_table(folder / "predictions.parquet") for folder in folders]
    assert {table["temperature"][0].as_py() for table in before} == {1.0}
    first = [json.loads((folder / "report.json").read_text()) for folder in folders]
    assert not any("other folds' models" in Artifact.load(str(folder)).card for folder in folders)
    # Killed in the midst of it and run again, it ends the same.
    for _ in range(2):
        write_pooled(job)
    names = [f"p_{label}" for label in job.labels]
    raw = [np.stack([table[name].to_numpy() for name in names], axis=1) for table in before]
    for number, folder in enumerate(folders):
        others = [other for other in range(3) if other != number]
        clips = job.manifest.take(np.concatenate([job.sets[other].test_N for other in others]))
        temperature = fitted_temperature(job, clips, np.concatenate([raw[other] for other in others]))
        artifact = Artifact.load(str(folder))
        report = json.loads((folder / "report.json").read_text())
        assert artifact.config.temperature == report["temperature"] == temperature != 1.0
        assert report["model"] == artifact.identity
        assert "other folds' models" in artifact.card
        after = pq.read_table(folder / "predictions.parquet")
        found = np.stack([after[name].to_numpy() for name in names], axis=1)
        np.testing.assert_array_equal(found, raw[number])
        assert set(after["temperature"].to_pylist()) == {temperature}
        overall = report["test"]["overall"]
        assert overall["ece_uncalibrated"] == pytest.approx(first[number]["test"]["overall"]["ece"]["value"])
        assert artifact.config.training["test"]["ece"] == overall["ece"]
    pooled = json.loads((tmp_path / "model/report.json").read_text())
    assert pooled["temperature"] == fitted_temperature(
        job, job.manifest.take(np.concatenate([fold.test_N for fold in job.sets])), np.concatenate(raw)
    )


def test_clips_of_random_folds_are_pooled_too(manifests: list[str], tmp_path: Path, cache: Path) -> None:
    job = make_job(job_values(manifests, tmp_path / "model", cache, epochs=1, split={"split": "random", "folds": 2}))
    run(job)
    write_pooled(job)
    report = json.loads((tmp_path / "model/report.json").read_text())
    assert report["test"]["overall"]["clips"] == len(job.manifest)
    assert report["test"]["notes"][0].startswith("9 of the 9 speakers were in the model's training")


def test_a_corpus_that_is_new_is_tested_by_the_emotions_it_has(
    manifests: list[str], tmp_path: Path, cache: Path
) -> None:
    changes = {"epochs": 8, "split": {"split": "corpus", "test_corpora": ["hum"]}}
    run(make_job(job_values(manifests, tmp_path / "model", cache, **changes)))
    report = json.loads((tmp_path / "model/report.json").read_text())
    assert report["split"]["sets"]["test"]["corpora"] == {"hum": 32}
    assert report["split"]["sets"]["training"]["corpora"].keys() == {"tone"}
    assert report["test"]["overall"]["uar"]["value"] > 0.9
    assert "No clip of hum has calm" in report["test"]["notes"][-1]


def test_everything_can_be_trained_on_without_a_test(manifests: list[str], tmp_path: Path, cache: Path) -> None:
    # The temperature is given, so nobody is held back for it.
    split = {"test_share": 0, "validation_speakers": 0}
    run(make_job(job_values(manifests, tmp_path / "model", cache, epochs=2, split=split, temperature=1.25)))
    assert Artifact.load(str(tmp_path / "model")).config.temperature == 1.25
    report = json.loads((tmp_path / "model/report.json").read_text())
    assert report["test"] is None
    assert report["training"]["best_epoch"] == 2
    assert "Nothing: all clips were trained on." in (tmp_path / "model/MODEL_CARD.md").read_text()
