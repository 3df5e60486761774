"""The loop, without Ray: what it learns, that it repeats, goes on and divides."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from ser_core import storage
from ser_core.distributed import ALONE
from ser_core.errors import SerError, UsageError
from ser_core.models.artifact import Artifact
from ser_core.storage.location import Location
from ser_core.training.data.clips import ClipLabels, TrainingWindows
from ser_core.training.data.sampling import sampling_weights
from ser_core.training.events import EpochDone, Event, FoldBegan
from ser_core.training.job import Job
from ser_core.training.regression import fit
from ser_core.training.run import Worker, open_waveforms, run_job
from ser_core.training.transfer import check_leakage
from tests.support.cli import ROOT
from tests.support.models import tiny_artifact
from tests.support.processes import kill_all, launch
from tests.support.run_control import wait_for
from tests.support.training import settings, write_corpus
from tests.support.training_worker import make_job

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small batches gain nothing from more, and lose much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("clips")
    return [str(write_corpus(folder)), str(write_corpus(folder, "hum", num_speakers=4, emotions=("happy", "angry")))]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def job_values(manifests: list[str], folder: Path, cache: Path, **changes: Any) -> dict[str, Any]:
    return {"config": settings(cache, **changes), "manifests": manifests, "folder": str(folder)}


class StoppedError(Exception):
    """Raised by a test in the middle of a training."""


def run(job: Job, stop_after: int | None = None) -> list[Event]:
    """Run a job to its end, or until after an epoch; gives what it told."""
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
    heard = {name: set(artifact.config.training[name]) for name in (
        "speakers", "validation_speakers", "calibration_speakers", "test_speakers")}  # fmt: skip
    assert sum(map(len, heard.values())) == len(set().union(*heard.values())) == 9


#: Everything that draws at random, or that the state holds.
EVERYTHING = {
    "architecture_settings": {"width": 16, "lstm_units": 8, "dropout": 0.3},
    "augmentation": {
        "speed": 0.1,
        "overhang": 0.15,
        "tempo": 0.5,
        "num_masks": 1,
        "gain_db": 6.0,
        "mixup_probability": 0.5,
    },
    "sampling": "balanced",
}


#: Frozen layers, whose answers are kept, beneath what learns.
WHISPER = {
    "architecture": "whisper-bilstm",
    "architecture_settings": {
        "num_layers": 2, "frozen_layers": 1, "first_mixed_layer": 1, "width": 64,
        "lstm_units": 6, "hidden_units": 5, "num_classifiers": 2,
    },
    "cache_frozen": True,
    "weights_dtype": "fp16",
    "augmentation": {"mixup_probability": 0.5},
}  # fmt: skip


#: A regression on all that is frozen, and what learns adds to it.
REGRESSION = WHISPER | {
    "architecture_settings": WHISPER["architecture_settings"]
    | {"num_layers": 1, "regression": True, "hidden_units": 0, "num_classifiers": 1},
    "sampling": "square_root",
    "windows_per_clip": 3,
}


@pytest.mark.parametrize("changes", [EVERYTHING, WHISPER, REGRESSION, {"schedule": "none", "ema_decay": 0.0}])
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


def start_workers(jobs: list[dict[str, Any]], folder: Path, *words: str, size: int) -> "list[subprocess.Popen[str]]":
    folder.mkdir(exist_ok=True)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, "-m", "tests.support.training_worker", str(folder / "jobs.json")]
    places = [[str(rank), str(size), str(folder / "meeting")] for rank in range(size)]
    return [launch([*command, *place, *words], cwd=ROOT, stderr=subprocess.PIPE, text=True) for place in places]


def test_two_workers_learn_what_one_does(manifests: list[str], tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {"sampling": "balanced"},
        {"augmentation": {"speed": 0.1, "num_masks": 1, "mixup_probability": 0.5}, "batch_size": 9},
        REGRESSION
        | {
            "architecture_settings": REGRESSION["architecture_settings"] | {"dropout": 0.0},
            "cache_frozen": False,
            "weights_dtype": "fp32",
            "augmentation": {"speed": 0.1, "tempo": 0.5, "mixup_probability": 0.5},
        },
    ]
    # Features are kept in float32, but were computed in float64: other trainings must not find them.
    cache = tmp_path / "cache"
    jobs = {
        size: [
            job_values(manifests, tmp_path / f"{size}-{index}", cache, **change) for index, change in enumerate(changes)
        ]
        for size in (1, 2)
    }
    for size, values in jobs.items():
        for worker in start_workers(values, tmp_path / f"of-{size}", "float64", size=size):
            _, error = worker.communicate(timeout=240)
            assert worker.returncode == 0, error
    for pair in zip(*jobs.values(), strict=True):
        reports = [json.loads(Path(values["folder"], "report.json").read_text()) for values in pair]
        for figure in ("loss", "validation_loss"):
            curves = [[record[figure] for record in report["training"]["history"]] for report in reports]
            np.testing.assert_allclose(curves[0], curves[1], rtol=1e-12 if figure == "loss" else 1e-6)
        assert reports[0]["split"] == reports[1]["split"]


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


def test_folds_are_pooled_and_what_is_done_is_left_out(manifests: list[str], tmp_path: Path, cache: Path) -> None:
    from ser_core.training.report import write_pooled

    job = make_job(job_values(manifests, tmp_path / "model", cache, epochs=1, split={"folds": 2}))
    run(job)
    write_pooled(job)
    assert not [event for event in run(job) if isinstance(event, EpochDone)]
    report = json.loads((tmp_path / "model/report.json").read_text())
    assert report["test"]["overall"]["clips"] == len(job.manifest)
    assert [fold["clips"] for fold in report["folds"]] == [len(fold.test_N) for fold in job.sets]
    assert set(report["over_folds"]) == {"accuracy", "macro_f1", "uar", "ece"}
    assert "None of the speakers was in the model's training." in report["test"]["notes"]
    assert not (tmp_path / "model/config.json").exists()
    for number in (1, 2):
        Artifact.load(str(tmp_path / f"model/fold-{number}"))


def test_folds_calibrate_each_other(manifests: list[str], tmp_path: Path, cache: Path) -> None:
    from ser_core.training.report import fitted_temperature, write_pooled

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
    from ser_core.training.report import write_pooled

    job = make_job(job_values(manifests, tmp_path / "model", cache, epochs=1, split={"split": "random", "folds": 2}))
    run(job)
    write_pooled(job)
    report = json.loads((tmp_path / "model/report.json").read_text())
    assert report["test"]["overall"]["clips"] == len(job.manifest)
    assert report["test"]["notes"][0].startswith("9 of the 9 speakers were in the model's training")


def test_a_corpus_that_was_never_heard_is_judged_by_the_emotions_it_has(
    manifests: list[str], tmp_path: Path, cache: Path
) -> None:
    changes = {"epochs": 8, "split": {"split": "corpus", "test_corpora": ["hum"]}}
    run(make_job(job_values(manifests, tmp_path / "model", cache, **changes)))
    report = json.loads((tmp_path / "model/report.json").read_text())
    assert report["split"]["sets"]["test"]["corpora"] == {"hum": 32}
    assert report["split"]["sets"]["training"]["corpora"].keys() == {"tone"}
    assert report["test"]["overall"]["uar"]["value"] > 0.9
    assert "No clip of hum has calm" in report["test"]["notes"][-1]


def test_a_precision_that_would_be_emulated_is_refused(
    manifests: list[str], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ser_core.training.run.has_bf16", lambda _device: False)
    with pytest.raises(UsageError, match="the cpu of .* can only emulate it, many times slower; set precision: fp32"):
        run(make_job(job_values(manifests, tmp_path / "model", cache, precision="bf16")))


def test_a_regression_is_fitted_to_what_is_learned_from(manifests: list[str], tmp_path: Path, cache: Path) -> None:
    job = make_job(job_values(manifests, tmp_path / "model", cache, **REGRESSION, regression_c=0.1))
    run(job)
    artifact = Artifact.load(str(tmp_path / "model"))
    model, waveforms = artifact.model(), open_waveforms(job)
    windows = TrainingWindows.of(waveforms, job.windows, 3, job.config.augmentation.overhang)
    clips, training_N = ClipLabels(job.manifest, job.labels), job.sets[0].training_N
    numbers = [windows.learned[clip] for clip in training_N]
    clip_W = np.repeat(training_N, [len(part) for part in numbers])
    with torch.no_grad():
        mel_BFT = artifact.log_mel()(torch.from_numpy(windows.read(waveforms, np.concatenate(numbers))))
        features_WP = model.regression_features(model.encode_frozen(mel_BFT)).numpy()
    weight_N = sampling_weights(clips.stratum_G[training_N], "square_root") / [len(part) for part in numbers]
    weight_W = np.repeat(weight_N, [len(part) for part in numbers])
    fitted_CX = fit(features_WP, clips.label_G[clip_W], weight_W, 3, 0.1)
    assert model.regression is not None
    expected_WC = features_WP @ fitted_CX[:, :-1].T + fitted_CX[:, -1]
    found_WC = model.regression(torch.from_numpy(features_WP)).numpy()
    # What was kept is float16.
    np.testing.assert_allclose(found_WC, expected_WC, atol=0.05)
    assert found_WC.std() > 0.5


def test_a_loss_that_is_no_number_is_said(manifests: list[str], tmp_path: Path, cache: Path) -> None:
    changes = {"learning_rate": 100.0, "grad_clip_norm": 0.0, "schedule": "none", "epochs": 9}
    with pytest.raises(SerError, match="smaller learning_rate"):
        run(make_job(job_values(manifests, tmp_path / "model", cache, weight_decay=99.0, **changes)))


def test_a_student_learns_from_a_teacher(manifests: list[str], tmp_path: Path, cache: Path) -> None:
    run(make_job(job_values(manifests, tmp_path / "teacher", cache)))
    taught = {"teachers": [str(tmp_path / "teacher")], "weight": 1.0}
    for augmentation in ({}, {"gain_db": 3.0}):
        folder = tmp_path / f"student-{len(augmentation)}"
        changes = {"epochs": 6, "seed": 9, "distillation": taught, "augmentation": augmentation}
        run(make_job(job_values(manifests, folder, cache, **changes)))
        history = json.loads((folder / "report.json").read_text())["training"]["history"]
        assert history[-1]["loss"] < 0.5 * history[0]["loss"]


def test_a_teacher_may_not_have_heard_who_is_tested(manifests: list[str], tmp_path: Path, cache: Path) -> None:
    split = {"folds": 2, "validation_speakers": 0, "calibration_speakers": 0}
    run(make_job(job_values(manifests, tmp_path / "teacher", cache, epochs=1, split=split)))
    for name, is_fair in (("teacher/fold-{fold}", True), ("teacher/fold-1", False)):
        taught = {"teachers": [str(tmp_path / name)]}
        job = make_job(job_values(manifests, tmp_path / "student", cache, epochs=1, split=split, distillation=taught))
        if is_fair:
            job.check(1)
            run(job)
            hashes = job.check(1).identity["teachers_sha256"]
            assert hashes == [Artifact.load(str(tmp_path / f"teacher/fold-{n}")).content_hash for n in (1, 2)]
            kept = Artifact.load(str(tmp_path / "student/fold-2")).config.training
            assert kept["teachers_sha256"] == hashes[1:]
        else:
            with pytest.raises(UsageError, match="fold-1 has seen hum-0 in its training, who is to be new to"):
                job.check(1)


def test_a_model_to_start_from_may_not_have_heard_who_is_tested(
    manifests: list[str], tmp_path: Path, cache: Path
) -> None:
    everything = {"test_share": 0, "validation_speakers": 0, "calibration_speakers": 0}
    run(make_job(job_values(manifests, tmp_path / "start", cache, epochs=1, split=everything)))
    start = str(tmp_path / "start")
    with pytest.raises(UsageError, match=r"--weights .*start has seen [a-z]+-[0-9] in its training, who is to be new"):
        make_job(job_values(manifests, tmp_path / "model", cache, weights=start)).check(1)
    job = make_job(job_values(manifests, tmp_path / "model", cache, epochs=1, weights=start, split=everything))
    job.check(1)
    assert job.fold(0).speakers["speakers"] == sorted(set(job.manifest.speakers))


def test_a_model_to_start_from_hears_on_as_it_did(manifests: list[str], tmp_path: Path, cache: Path) -> None:
    split = {"test_share": 0, "validation_speakers": 0, "calibration_speakers": 0}
    run(make_job(job_values(manifests, tmp_path / "start", cache, epochs=1, split=split)))
    config = tmp_path / "start/config.json"
    values = json.loads(config.read_text())
    values["mel"] |= {"mean_db": -12.5, "std_db": 7.5}
    config.write_text(json.dumps(values))
    run(make_job(job_values(manifests, tmp_path / "m", cache, epochs=1, split=split, weights=str(tmp_path / "start"))))
    mel = Artifact.load(str(tmp_path / "m")).config.mel
    assert (mel.mean_db, mel.std_db) == (-12.5, 7.5)


def test_what_a_model_knows_through_its_teacher_is_kept_with_it(
    manifests: list[str], tmp_path: Path, cache: Path
) -> None:
    run(make_job(job_values(manifests[:1], tmp_path / "start", cache, epochs=1, split={"test_share": 0})))
    split = {"test_share": 0, "exclude_speakers": ["tone-0", "tone-1"]}
    start = {"epochs": 1, "weights": str(tmp_path / "start")}
    nobody_held = split | {"validation_speakers": 0, "calibration_speakers": 0}
    run(make_job(job_values(manifests[:1], tmp_path / "model", cache, **start, split=nobody_held)))
    kept = Artifact.load(str(tmp_path / "model")).config.training
    assert {*kept["speakers"]} == {f"tone-{number}" for number in range(5)}
    # Who says when to stop may not have been learned from either.
    with pytest.raises(UsageError, match=r"has seen tone-[0-9] in its training, who is to be new"):
        make_job(job_values(manifests[:1], tmp_path / "other", cache, **start, split=split)).check(1)


def test_a_model_that_does_not_say_whom_it_has_heard_is_not_started_from(
    manifests: list[str], tmp_path: Path, cache: Path
) -> None:
    tiny_artifact().save(str(tmp_path / "teacher"))
    job = make_job(job_values(manifests, tmp_path / "model", cache))
    with pytest.raises(UsageError, match="one does not say whom it was trained on"):
        check_leakage("one", Artifact.load(str(tmp_path / "teacher")), job.sets[0], job.manifest, job.config)


@pytest.mark.parametrize("weights", ["random", "statement"])
def test_where_speakers_overlap_a_teacher_is_of_the_same_split(
    manifests: list[str], tmp_path: Path, cache: Path, weights: str
) -> None:
    split = {"split": weights}
    run(make_job(job_values(manifests[:1], tmp_path / "teacher", cache, epochs=1, split=split)))
    taught = {"teachers": [str(tmp_path / "teacher")]}
    make_job(job_values(manifests[:1], tmp_path / "a", cache, split=split, distillation=taught)).check(1)
    with pytest.raises(UsageError, match="may have seen clips that are to be tested"):
        make_job(
            job_values(manifests[:1], tmp_path / "b", cache, split=split | {"seed": 1}, distillation=taught)
        ).check(1)


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


def test_everything_can_be_trained_on_without_a_test(manifests: list[str], tmp_path: Path, cache: Path) -> None:
    # The temperature is given, so nobody is held back for it.
    split = {"test_share": 0, "validation_speakers": 0}
    run(make_job(job_values(manifests, tmp_path / "model", cache, epochs=2, split=split, temperature=1.25)))
    assert Artifact.load(str(tmp_path / "model")).config.temperature == 1.25
    report = json.loads((tmp_path / "model/report.json").read_text())
    assert report["test"] is None
    assert report["training"]["best_epoch"] == 2
    assert "Nothing: all clips were trained on." in (tmp_path / "model/MODEL_CARD.md").read_text()


def test_the_folder_can_be_a_bucket(manifests: list[str], moto_s3: Any, cache: Path) -> None:
    job = make_job(job_values(manifests, Path("unused"), cache, epochs=2))
    job = Job(config=job.config, manifest=job.manifest, folder=moto_s3.location.join("model"), run="one")
    with pytest.raises(StoppedError):
        run(job, stop_after=1)
    run(job)
    assert Artifact.load(job.folder.url).config.training["history"][-1]["number"] == 2
    assert isinstance(job.folder, Location)
