"""`ser train` as people run it: to its end, killed, interrupted; what comes out is the same to the bit."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from ser_core import storage
from ser_core.models.artifact import Artifact
from tests.conftest import S3Server
from tests.support.cli import AS_OTHER_USER, ser, ser_here, start
from tests.support.processes import assert_none_left, kill_all, listeners, names_in, session_of
from tests.support.ray_cluster import RayCluster
from tests.support.run_control import Follower, actors, wait_for
from tests.support.train_command import CHANGES, EPOCHS, Training, assert_same_model, words
from tests.support.training import settings


def test_a_trained_model_is_tested_kept_and_used(data: Path, whole: Path) -> None:
    artifact = Artifact.load(str(whole))
    training = artifact.config.training
    assert len(training["manifest"]["sha256"]) == 64
    assert training["manifest"]["corpora"] == {"hum": 32, "tone": 60}
    assert training["settings"]["epochs"] == EPOCHS
    assert set(training["versions"]) >= {"python", "torch", "ser"}
    answers = pq.read_table(whole / "predictions.parquet")
    assert set(answers["speaker"].to_pylist()) == set(training["test_speakers"])
    assert json.loads((whole / "report.json").read_text())["test"]["overall"]["clips"] == len(answers)
    assert list((whole / "_training/logs").glob("events.out.tfevents.*"))
    answer = ser_here("predict", data / "tone/0-happy-0.wav", "--model", whole, "--output-mode", "json")
    assert answer.code == 0
    assert answer.data["emotion"] in artifact.config.labels


def test_what_is_done_is_said_and_not_done_again(data: Path, whole: Path) -> None:
    answer = ser_here(*words(data, whole, "--output-mode", "json"))
    assert answer.code == 0
    assert "already trained" in answer.err
    assert answer.data["test"]["clips"] > 0
    for_people = ser_here(*words(data, whole))
    assert "split by speaker\n" in for_people.out
    assert for_people.out.count("in the model's training") == 1


@pytest.mark.heavy
def test_a_ray_of_its_own_gives_the_same_bits(data: Path, whole: Path, tmp_path: Path) -> None:
    answer = ser(*words(data, tmp_path / "model"))
    assert answer.code == 0, answer.err
    assert_same_model(tmp_path / "model", whole)


@pytest.mark.heavy
@pytest.mark.ray
def test_workers_on_one_machine_open_nothing_to_others(data: Path, tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    folder.chmod(0o755)
    try:
        process = start(*words(data, tmp_path / "model", "--epochs", "1000"), TMPDIR=str(folder))
        follower = Follower(process)
        follower.wait_for("epoch 2/1000: ")
        members = [psutil.Process(pid) for pid in session_of(process)]
        assert sum("RayTrainWorker" in member.name() for member in members) == 2
        assert listeners(members) == {"127.0.0.1"}
        (store,) = folder.glob("ser-*/store")
        assert store.parent.stat().st_mode & 0o777 == 0o700
        if os.geteuid() == 0 and shutil.which("setpriv"):
            read = subprocess.run([*AS_OTHER_USER, "cat", str(store)], capture_output=True, text=True, check=False)
            assert "Permission denied" in read.stderr
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 130
        follower.close()
        assert follower.lines[-1][1].startswith("ser: stopped; every epoch that ended is saved")
        assert_none_left(process)
    finally:
        shutil.rmtree(folder)


@pytest.mark.heavy
def test_two_workers_on_ray_learn_what_one_does(cluster: RayCluster, data: Path, tmp_path: Path) -> None:
    still = {
        "architecture_settings": {"width": 16, "lstm_units": 8, "dropout": 0.0},
        "augmentation": {"speed": 0.0, "num_masks": 0, "mixup_probability": 0.0},
    }
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(settings(data / "cache", **CHANGES | still)))
    losses = []
    for workers in ("1", "2"):
        model = tmp_path / workers
        answer = cluster.ser(*words(data, model, "--config", str(tmp_path / "train.yaml"), "--workers", workers))
        assert answer.code == 0, answer.err
        history = Artifact.load(str(model)).config.training["history"]
        losses.append([epoch["loss"] for epoch in history])
    assert len(losses[0]) == EPOCHS
    # Rounding grows from step to step; tests/training/test_training.py does the same in float64.
    np.testing.assert_allclose(losses[1][0], losses[0][0], rtol=2e-6)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-2)


@pytest.mark.heavy
def test_a_killed_worker_costs_an_epoch_at_most(cluster: RayCluster, data: Path, whole: Path, tmp_path: Path) -> None:
    training = Training(data, tmp_path / "model", cluster.start)
    training.wait_for_epoch(2)
    workers = actors(cluster, training.process, "RayTrainWorker")
    assert len(workers) == 2
    workers[-1].kill()
    assert training.end() == 0, training.err
    assert "workers were lost; others take over" in training.err
    assert_same_model(tmp_path / "model", whole)


@pytest.mark.heavy
def test_a_killed_or_interrupted_command_goes_on_where_it_was(
    cluster: RayCluster, data: Path, whole: Path, tmp_path: Path
) -> None:
    first = Training(data, tmp_path / "model", cluster.start)
    first.wait_for_epoch(1)
    first.process.send_signal(signal.SIGINT)
    assert first.end() == 130
    assert first.err.splitlines()[-1] == "ser: stopped; every epoch that ended is saved; run the same command to go on"
    second = Training(data, tmp_path / "model", cluster.start)
    second.wait_for_epoch(4)
    kill_all(second.process)
    second.follower.close()
    assert "going on after epoch" in second.err
    third = Training(data, tmp_path / "model", cluster.start)
    assert third.end() == 0, third.err
    assert "going on after epoch" in third.err
    assert "took over the lock of a dead run" in third.err
    assert_same_model(tmp_path / "model", whole)


@pytest.mark.heavy
def test_a_bucket_holds_the_model_and_what_it_needs_to_go_on(
    cluster: RayCluster, data: Path, whole: Path, moto_s3: S3Server
) -> None:
    folder = moto_s3.location.join("model")
    first = Training(data, folder.url, cluster.start)
    first.wait_for_epoch(1)
    kill_all(first.process)
    first.follower.close()
    second = Training(data, folder.url, cluster.start)
    assert second.end() == 0, second.err
    assert "going on after epoch" in second.err
    for name in ("model.safetensors", "MODEL_CARD.md"):
        assert storage.read(folder.join(name)) == (whole / name).read_bytes()
    names = [name for name, _ in storage.list_files(folder)]
    assert [name for name in names if name.startswith("_training/logs/events.out.tfevents.")]
    assert not [name for name in names if "checkpoint" in name]


@pytest.mark.heavy
def test_folds_are_trained_one_after_the_other_and_pooled(cluster: RayCluster, data: Path, tmp_path: Path) -> None:
    more = ("--folds", "2", "--epochs", "2", "--workers", "1", "--output-mode", "json")
    answer = cluster.ser(*words(data, tmp_path / "model", *more))
    # Two epochs may teach a model one answer to everything, which is said and is no success.
    assert answer.code == (3 if answer.data["one_answers"] else 0), answer.err
    assert answer.data["folds"] == 2
    assert answer.data["test"]["clips"] == 92
    assert answer.data["model"] is None
    assert set(answer.data["over_folds"]["uar"]) == {"mean", "standard_deviation"}
    assert "fold 2/2 is done" in answer.err


@pytest.mark.heavy
def test_workers_that_are_lost_again_and_again_end_the_training(
    cluster: RayCluster, data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "train.yaml"
    file.write_text(yaml.safe_dump(settings(data / "cache", **(CHANGES | {"max_failures": 0, "epochs": 100}))))
    process = cluster.start("train", data / "tone.parquet", tmp_path / "model", "--config", file)
    follower = Follower(process)
    follower.wait_for("epoch 1/100: ")
    actors(cluster, process, "RayTrainWorker")[0].kill()
    assert process.wait(120) == 1
    follower.close()
    last = follower.lines[-1][1]
    # Ray's own words would follow the type.
    assert re.fullmatch(r"ser: the training broke off \(worker 0: \w+\); run the same command to go on\n", last), last


@pytest.mark.heavy
def test_a_lost_message_queue_ends_the_training_in_a_line(cluster: RayCluster, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text(yaml.safe_dump(settings(data / "cache", **(CHANGES | {"workers": 1, "epochs": 1_000}))))
    process = cluster.start("train", data / "tone.parquet", tmp_path / "model", "--config", file)
    follower = Follower(process)
    follower.wait_for("epoch 1/1000: ")
    actors(cluster, process, "_QueueActor")[0].kill()
    assert process.wait(60) == 1
    follower.close()
    assert not follower.has("Traceback")
    last = follower.lines[-1][1]
    assert re.fullmatch(
        r"ser: the training broke off \(its message queue was lost: Actor\w+Error\); run the same command .*\n", last
    ), last


@pytest.mark.heavy
@pytest.mark.ray
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_ray_starts_ends_all(data: Path, tmp_path: Path, number: signal.Signals) -> None:
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    try:
        training = Training(data, tmp_path / "model", TMPDIR=str(folder))
        wait_for(lambda: "gcs_server" in names_in(training.process), training.process)
        training.process.send_signal(number)
        assert training.end() == 130
        assert training.err.splitlines()[-1] == "ser: stopped; run the same command to go on"
        assert_none_left(training.process)
        assert list(folder.iterdir()) == []
        assert not (tmp_path / "model/_training/lock.json").exists()
    finally:
        shutil.rmtree(folder)
