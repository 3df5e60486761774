"""Learning from other models, and starting from them."""

import json
from pathlib import Path

import pytest
import torch

from ser_core.errors import UsageError
from ser_core.models.artifact import Artifact
from ser_core.models.registry import build
from ser_core.training.transfer import Start, check_leakage
from tests.support.models import tiny_artifact
from tests.support.training_runs import job_values, run
from tests.support.training_worker import make_job


def test_a_student_learns_from_a_teacher(manifests: list[str], tmp_path: Path, cache: Path) -> None:
    run(make_job(job_values(manifests, tmp_path / "teacher", cache)))
    taught = {"teachers": [str(tmp_path / "teacher")], "weight": 1.0}
    for augmentation in ({}, {"gain_db": 3.0}):
        folder = tmp_path / f"student-{len(augmentation)}"
        changes = {"epochs": 6, "seed": 9, "distillation": taught, "augmentation": augmentation}
        run(make_job(job_values(manifests, folder, cache, **changes)))
        history = json.loads((folder / "report.json").read_text())["training"]["history"]
        assert history[-1]["loss"] < 0.5 * history[0]["loss"]


def test_a_teacher_may_not_have_seen_who_is_tested(manifests: list[str], tmp_path: Path, cache: Path) -> None:
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


def test_a_model_to_start_from_may_not_have_seen_who_is_tested(
    manifests: list[str], tmp_path: Path, cache: Path
) -> None:
    everything = {"test_share": 0, "validation_speakers": 0, "calibration_speakers": 0}
    run(make_job(job_values(manifests, tmp_path / "start", cache, epochs=1, split=everything)))
    start = str(tmp_path / "start")
    with pytest.raises(UsageError, match=r"weights .*start has seen [a-z]+-[0-9] in its training, who is to be new"):
        make_job(job_values(manifests, tmp_path / "model", cache, weights=start)).check(1)
    job = make_job(job_values(manifests, tmp_path / "model", cache, epochs=1, weights=start, split=everything))
    job.check(1)
    assert job.fold(0).speakers["speakers"] == sorted(set(job.manifest.speakers))


def test_a_model_keeps_the_constants_of_the_one_it_starts_from(
    manifests: list[str], tmp_path: Path, cache: Path
) -> None:
    split = {"test_share": 0, "validation_speakers": 0, "calibration_speakers": 0}
    run(make_job(job_values(manifests, tmp_path / "start", cache, epochs=1, split=split)))
    config = tmp_path / "start/config.json"
    values = json.loads(config.read_text())
    values["mel"] |= {"mean_db": -12.5, "std_db": 7.5, "high_pass_hz": 0.0}
    config.write_text(json.dumps(values))
    changes = {"epochs": 1, "split": split, "weights": str(tmp_path / "start")}
    run(make_job(job_values(manifests, tmp_path / "m", cache, **changes)))
    mel = Artifact.load(str(tmp_path / "m")).config.mel
    assert (mel.mean_db, mel.std_db) == (-12.5, 7.5)
    # It may hear cleaner windows than the one it starts from, and nothing else of another kind.
    assert mel.high_pass_hz == 70
    with pytest.raises(UsageError, match=r"this model was trained on another log-mel; give its settings as mel"):
        make_job(job_values(manifests, tmp_path / "n", cache, mel={"hop_length": 256}, **changes)).check(1)


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


def test_a_model_that_does_not_say_whom_it_was_trained_on_is_not_started_from(
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


@pytest.mark.parametrize("architecture", ["compact", "whisper-bilstm"])
def test_rows_of_labels_that_both_have_are_kept_and_others_begin_as_the_mean_of_all(
    architecture: str, tmp_path: Path
) -> None:
    start = tiny_artifact(architecture=architecture)
    start.save(str(tmp_path / "start"))
    theirs = start.model().state_dict()
    # As many labels, of which one is in another place and one is new.
    model = build(architecture, start.config.architecture_settings, start.config.mel.num_mels, 3)
    Start("start", str(tmp_path / "start"), tmp_path).load_into(model, ("sad", "angry", "calm"))
    mine = model.state_dict()
    of_labels = [name for name, value in theirs.items() if value.shape[:1] == (3,) and name != "mix_L"]
    assert len(of_labels) >= 2
    for name in of_labels:
        mean = theirs[name].mean(dim=0)
        torch.testing.assert_close(mine[name], torch.stack([theirs[name][2], mean, theirs[name][0]]))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs.keys() - {*of_labels})


def test_a_model_that_heard_nobody_of_these_may_be_started_from_whatever_the_split(
    manifests: list[str], tmp_path: Path, cache: Path
) -> None:
    run(make_job(job_values(manifests[:1], tmp_path / "start", cache, epochs=1, split={"test_share": 0})))
    for split in ({"split": "random"}, {"split": "random", "folds": 2}, {"split": "statement"}):
        own = job_values(manifests[1:], tmp_path / "model", cache, weights=str(tmp_path / "start"), split=split)
        make_job(own).check(1)
