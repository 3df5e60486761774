"""A part of Ray dies in mid-run: one line, everything that came is committed, and the same command ends exact."""

import json
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest

from tests.support.archive import assert_same_predictions
from tests.support.cli import WITH_DETECTION, assert_one_line, files, finish, predictions, ser_here, start
from tests.support.processes import assert_none_left
from tests.support.ray_cluster import PARTS, part_of_ray, ray_cluster
from tests.support.run_control import num_committed, wait_for

#: So many that a fast machine is at work on them for long after the first commit.
NUM_FILES = 3_000


def assert_stopped_then_exact(
    process: "subprocess.Popen[str]", source: Path, output: Path, unbroken: pa.Table, *words: str
) -> None:
    """The run says what died, and has committed; the same command makes the table of a run that nothing disturbed."""
    answer = finish(process, timeout=120)
    assert_one_line(answer, 1, *words, "run the same command to go on")
    assert answer.err.count("ser: ") == 1
    record = json.loads((output / "run.json").read_text())
    assert record["state"] == "stopped"
    # Nothing that came was lost.
    assert num_committed(output) == record["this_run"]["num_files"] > 0
    assert_none_left(process)
    answer = ser_here("score", source, output, *WITH_DETECTION)
    assert answer.code == 0, answer.err
    assert_same_predictions(predictions(output), unbroken)
    assert set(files(output)["status"].to_pylist()) == {"scored"}
    assert json.loads((output / "run.json").read_text())["state"] == "complete"


@pytest.mark.heavy
@pytest.mark.ray
@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_a_ray_of_its_own_dies(part: str, source: Path, unbroken: pa.Table, tmp_path: Path) -> None:
    output = tmp_path / "out"
    # What came since the first commit waits for long: it is what such a death would cost.
    process = start("score", source, output, "--engine", "ray", "--commit-seconds", "8", *WITH_DETECTION)
    wait_for(lambda: num_committed(output) > 0, process)
    part_of_ray(process.pid, part).kill()
    assert_stopped_then_exact(process, source, output, unbroken, "Ray is gone: its ", PARTS[part], " died; ")


@pytest.mark.heavy
@pytest.mark.ray
@pytest.mark.parametrize("part", ["raylet", "gcs_server"])
def test_a_part_that_is_held_up_ends_the_run(part: str, source: Path, unbroken: pa.Table, tmp_path: Path) -> None:
    """Ray itself waits for it."""
    output = tmp_path / "out"
    process = start("score", source, output, "--engine", "ray", "--commit-seconds", "2", *WITH_DETECTION)
    wait_for(lambda: num_committed(output) > 0, process)
    part_of_ray(process.pid, part).suspend()
    assert_stopped_then_exact(process, source, output, unbroken, f"Ray is gone: its {PARTS[part]} is held up")


@pytest.mark.heavy
@pytest.mark.ray
@pytest.mark.parametrize("part", ["raylet", "gcs_server", "DashboardAgent"])
def test_a_part_of_a_cluster_dies(part: str, source: Path, unbroken: pa.Table, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with ray_cluster({}) as running:
        process = running.start("score", source, output, "--commit-seconds", "2", *WITH_DETECTION)
        wait_for(lambda: num_committed(output) > 0, process)
        part_of_ray(running.process.pid, part).kill()
        # What runs `ray start --block` ends the raylet when GCS dies.
        assert_stopped_then_exact(process, source, output, unbroken, "Ray is gone")
