"""A part of Ray dies while it trains: one line, the checkpoint stays, and the same command ends to the bit."""

from pathlib import Path

import pytest

from tests.support.processes import assert_none_left
from tests.support.ray_cluster import PARTS, RayCluster, part_of_ray, ray_cluster
from tests.support.train_command import Training, assert_same_model

pytestmark = [pytest.mark.heavy, pytest.mark.ray]


def assert_stopped_then_same(
    training: Training, data: Path, model: Path, whole: Path, cluster: RayCluster, *words: str
) -> None:
    """The training says what died, in its only line, and keeps its epochs; the same command goes on from them."""
    assert training.end() == 1
    last = training.err.splitlines()[-1]
    assert training.err.count("ser: ") == 1
    for word in ("ser: Ray is gone: its ", *words, "every epoch that ended is saved; run the same command to go on"):
        assert word in last, last
    assert "Traceback" not in training.err
    assert_none_left(training.process)
    assert len(list((model / "_training").glob("checkpoint-1-*.safetensors"))) == 1
    again = Training(data, model, cluster.start)
    assert again.end() == 0, again.err
    assert "going on after epoch" in again.err
    assert_same_model(model, whole)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_a_ray_of_its_own_dies(
    part: str, data: Path, whole: Path, cluster: RayCluster, tmp_path: Path
) -> None:
    training = Training(data, tmp_path / "model")
    training.wait_for_epoch(2)
    part_of_ray(training.process.pid, part).kill()
    assert_stopped_then_same(training, data, tmp_path / "model", whole, cluster, PARTS[part], " died; ")


@pytest.mark.parametrize("part", ["raylet", "gcs_server"])
def test_a_part_of_a_cluster_dies(part: str, data: Path, whole: Path, cluster: RayCluster, tmp_path: Path) -> None:
    with ray_cluster({}) as running:
        training = Training(data, tmp_path / "model", running.start)
        training.wait_for_epoch(2)
        part_of_ray(running.process.pid, part).kill()
        assert_stopped_then_same(training, data, tmp_path / "model", whole, cluster)
