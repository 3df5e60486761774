"""A part of Ray dies in mid-run: one line, everything that came is committed, and the same command ends exact."""

import json
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from tests.support.archive import assert_same_predictions, write_archive
from tests.support.cli import assert_one_line, files, finish, predictions, ser_here, start
from tests.support.processes import assert_none_left
from tests.support.ray_cluster import ray_cluster
from tests.support.run_control import num_committed, wait_for

NUM_FILES = 600
#: By a word of the command line or name, and what the message calls it.
_PARTS = {
    "raylet": "raylet",
    "gcs_server": "GCS",
    "DashboardAgent": "dashboard agent",
    "RuntimeEnvAgent": "runtime environment agent",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive") / "in"
    write_archive(folder, NUM_FILES)
    return folder


@pytest.fixture(scope="module")
def unbroken(source: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The predictions of a run that nothing disturbed."""
    output = tmp_path_factory.mktemp("unbroken") / "out"
    answer = ser_here("score", source, output)
    assert answer.code == 0, answer.err
    return predictions(output)


def part_of_ray(root: int, part: str) -> psutil.Process:
    """The process of that name below `root`."""
    for process in psutil.Process(root).children(recursive=True):
        with suppress(psutil.Error):
            # What has ended has no words.
            title = next(iter(process.cmdline()), "")
            if part == process.name() or title.startswith(f"ray::{part}"):
                return process
    raise AssertionError(f"no {part} is running")


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
    answer = ser_here("score", source, output)
    assert answer.code == 0, answer.err
    assert_same_predictions(predictions(output), unbroken)
    assert set(files(output)["status"].to_pylist()) == {"scored"}
    assert json.loads((output / "run.json").read_text())["state"] == "complete"


@pytest.mark.heavy
@pytest.mark.ray
@pytest.mark.parametrize("part", _PARTS)
def test_a_part_of_a_ray_of_its_own_dies(part: str, source: Path, unbroken: pa.Table, tmp_path: Path) -> None:
    output = tmp_path / "out"
    # What came since the first commit waits for long: it is what such a death would cost.
    process = start("score", source, output, "--engine", "ray", "--commit-seconds", "8")
    wait_for(lambda: num_committed(output) > 0, process)
    part_of_ray(process.pid, part).kill()
    assert_stopped_then_exact(process, source, output, unbroken, f"its {_PARTS[part]} died")


@pytest.mark.heavy
@pytest.mark.ray
@pytest.mark.parametrize("part", ["raylet", "gcs_server", "DashboardAgent"])
def test_a_part_of_a_cluster_dies(part: str, source: Path, unbroken: pa.Table, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with ray_cluster({}) as running:
        process = running.start("score", source, output, "--commit-seconds", "2")
        wait_for(lambda: num_committed(output) > 0, process)
        part_of_ray(running.process.pid, part).kill()
        # What runs `ray start --block` ends the raylet when GCS dies.
        assert_stopped_then_exact(process, source, output, unbroken, "Ray is gone")
