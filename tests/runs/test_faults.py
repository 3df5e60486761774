"""What a run survives: its own death, its workers', a node's, and files that kill whoever opens them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from tests.support.archive import assert_same_predictions, write_archive
from tests.support.cli import ROOT, WITH_DETECTION, assert_one_line, files, finish, predictions, ser_here, start
from tests.support.containers import audio_table, tar_of
from tests.support.misbehaving_worker import WORKER, poisoned
from tests.support.processes import kill_all
from tests.support.ray_cluster import RayCluster, on_ray
from tests.support.run_control import Follower, actors, kill_at_five_moments, num_committed, wait_for

NUM_FILES = 120


#: Starts `ser` as `start` does.
Begin = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def begin(request: pytest.FixtureRequest) -> Begin:
    """Starts a run on the local engine, or on the cluster."""
    if request.param == "local":
        return start
    started: Begin = request.getfixturevalue("cluster").start
    return started


def assert_complete(output: Path, expected: pa.Table) -> None:
    """The tables are those of an unbroken run, and nothing else lies in the folders."""
    assert_same_predictions(predictions(output), expected)
    assert set(files(output)["status"].to_pylist()) == {"scored"}
    assert json.loads((output / "run.json").read_text())["state"] == "complete"
    for name in ("predictions", "files"):
        live = {Path(part).name for part in DeltaTable(output / name).file_uris()}
        assert {
            file.name for file in (output / name).rglob("*") if file.is_file() and "_delta_log" not in str(file)
        } == live


@pytest.mark.parametrize("begin", ["local", on_ray(heavy=True)], indirect=True)
def test_a_killed_run_goes_on_where_it_was(begin: Begin, source: Path, unbroken: pa.Table, tmp_path: Path) -> None:
    process = begin("score", source, tmp_path / "out", "--commit-seconds", "0.2", *WITH_DETECTION)
    wait_for(lambda: num_committed(tmp_path / "out") > 0, process)
    kill_all(process)
    committed = num_committed(tmp_path / "out")
    left = predictions(tmp_path / "out")
    assert_same_predictions(left, unbroken.filter(pa.compute.is_in(unbroken["path"], left["path"].combine_chunks())))
    answer = ser_here("score", source, tmp_path / "out", "--output-mode", "json", *WITH_DETECTION)
    assert answer.code == 0, answer.err
    assert answer.data["skipped"] == committed
    assert_complete(tmp_path / "out", unbroken)


@pytest.mark.heavy
@pytest.mark.parametrize("engine", ["local", on_ray()])
def test_killed_at_five_moments_of_every_phase(engine: str, source: Path, unbroken: pa.Table, tmp_path: Path) -> None:
    output = tmp_path / "out"
    kill_at_five_moments(source, output, "--engine", engine, *WITH_DETECTION)
    answer = ser_here("score", source, output, *WITH_DETECTION)
    assert answer.code == 0, answer.err
    assert_complete(output, unbroken)


@pytest.mark.heavy
@pytest.mark.parametrize("pack", ["x.tar", "x.parquet"])
def test_members_of_a_container_survive_as_files_do(
    pack: str, source: Path, unbroken: pa.Table, tmp_path: Path
) -> None:
    clips = [(file.relative_to(source).as_posix(), file.read_bytes()) for file in sorted(source.rglob("*.*"))]
    is_tar = pack == "x.tar"
    (tmp_path / pack).write_bytes(tar_of(clips) if is_tar else audio_table([(data, name) for name, data in clips]))
    path_of = {
        name: f"{pack}/{name}" if is_tar else f"{pack}/{row:08}/{name.rpartition('/')[2]}"
        for row, (name, _) in enumerate(clips)
    }
    paths = pa.array([path_of[path] for path in unbroken["path"].to_pylist()])
    expected = unbroken.set_column(unbroken.schema.get_field_index("path"), "path", paths)
    kill_at_five_moments(tmp_path / pack, tmp_path / "out", "--engine", "local", *WITH_DETECTION)
    answer = ser_here("score", tmp_path / pack, tmp_path / "out", *WITH_DETECTION)
    assert answer.code == 0, answer.err
    assert_complete(tmp_path / "out", expected)


@pytest.mark.heavy
@pytest.mark.parametrize("engine", ["local", on_ray()])
def test_a_kill_costs_what_was_scored_since_the_last_commit(engine: str, tmp_path: Path) -> None:
    source = tmp_path / "in"
    write_archive(source, 5 * NUM_FILES)
    commit_seconds, slack_seconds = 0.5, 1.2
    options = ["--commit-seconds", str(commit_seconds), "--cpus", "1", "--verbose", "--engine", engine]
    process = start("score", source, tmp_path / "out", *options)
    follower = Follower(process)

    def counts() -> list[tuple[float, int]]:
        """(time, windows scored so far) of every progress line."""
        lines = [(when, line) for when, line in list(follower.lines) if " windows, " in line]
        return [(when, int(line.split(" files, ")[1].split(" windows")[0])) for when, line in lines]

    wait_for(lambda: len({count for _, count in counts()}) >= 3, process)
    kill_all(process)
    killed = time.monotonic()
    follower.close()
    committed = predictions(tmp_path / "out").num_rows
    at_kill = counts()[-1][1]
    safe = max((count for when, count in counts() if when < killed - commit_seconds - slack_seconds), default=0)
    answer = ser_here("score", source, tmp_path / "out", "--output-mode", "json")
    scored_again = answer.data["windows"] - (predictions(tmp_path / "out").num_rows - at_kill)
    assert scored_again == at_kill - committed
    assert committed >= safe


@pytest.mark.parametrize(
    ("begin", "number"),
    [
        ("local", signal.SIGINT),
        # A thread of the command takes either signal, whatever the engine.
        pytest.param("local", signal.SIGTERM, marks=pytest.mark.heavy),
        # On Ray test_another_user_gets_nothing_of_its_own_ray sends one, too.
        on_ray(signal.SIGTERM, heavy=True),
    ],
    indirect=["begin"],
)
def test_a_signal_stops_cleanly_and_says_how_to_go_on(
    begin: Begin, number: signal.Signals, source: Path, tmp_path: Path
) -> None:
    process = begin("score", source, tmp_path / "out", "--commit-seconds", "0.2", *WITH_DETECTION)
    wait_for(lambda: num_committed(tmp_path / "out") > 0, process)
    # Ctrl-C reaches everything that the terminal runs; SIGTERM the process it is sent to.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    answer = finish(process, timeout=60)
    assert_one_line(answer, 130, "run the same command to go on")
    committed = num_committed(tmp_path / "out")
    assert 0 < committed < NUM_FILES
    assert json.loads((tmp_path / "out" / "run.json").read_text())["state"] == "stopped"
    preview = ser_here("score", source, tmp_path / "out", "--dry-run", "--output-mode", "json", *WITH_DETECTION)
    assert preview.data["unchanged"] == committed


def test_workers_that_die_are_replaced(cluster: RayCluster, source: Path, unbroken: pa.Table, tmp_path: Path) -> None:
    process = cluster.start("score", source, tmp_path / "out", "--commit-seconds", "0.2", *WITH_DETECTION)
    for name in ("PredictStage", "Loader"):
        wait_for(lambda: num_committed(tmp_path / "out") > 0, process)
        wait_for(lambda n=name: bool(actors(cluster, process, n)), process)
        actors(cluster, process, name)[0].kill()
    answer = finish(process)
    assert answer.code == 0, answer.err
    assert_complete(tmp_path / "out", unbroken)


@pytest.mark.parametrize("begin", ["local", on_ray(heavy=True)], indirect=True)
def test_files_that_kill_hang_or_bloat_their_decoder_cost_only_themselves(
    request: pytest.FixtureRequest, begin: Begin, source: Path, tmp_path: Path
) -> None:
    shutil.copytree(source / "a", tmp_path / "in")
    paths = sorted(file.name for file in (tmp_path / "in").iterdir())
    reasons = {"abort": "crashed", "hang": "timeout", "eat": "memory"}
    if request.node.get_closest_marker("ray"):
        # In this process the loader is the run itself.
        reasons["kill_parent"] = "crashed"
    for path, what in zip(paths[5::15], reasons, strict=False):
        file = tmp_path / "in" / path
        file.with_stem(f"{file.stem}_{what}").write_bytes(poisoned(file.read_bytes(), what))
        file.unlink()
    command = ("score", tmp_path / "in", tmp_path / "out", "--file-timeout-seconds", "3", "--output-mode", "json")
    answer = finish(begin(*command, before=[sys.executable, "-m", WORKER], PYTHONPATH=str(ROOT)))
    assert answer.code == 3, answer.err
    assert answer.data["failed"] == len(reasons)
    rows = {row["path"]: row for row in files(tmp_path / "out").to_pylist()}
    assert len(rows) == len(paths)
    for what, reason in reasons.items():
        [row] = [row for path, row in rows.items() if what in path]
        assert (row["status"], row["reason"], row["retryable"]) == ("failed", reason, reason != "memory"), row
    assert sum(row["status"] == "scored" for row in rows.values()) == len(paths) - len(reasons)


@pytest.fixture
def two_nodes() -> Iterator[tuple[object, object]]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    yield cluster, second
    cluster.shutdown()


@pytest.mark.heavy
def test_a_node_that_goes_away_costs_nothing(
    source: Path, unbroken: pa.Table, tmp_path: Path, two_nodes: tuple[object, object]
) -> None:
    cluster, second = two_nodes
    options = ["--address", cluster.address, "--commit-seconds", "0.2", *WITH_DETECTION]  # type: ignore[attr-defined]
    process = start("score", source, tmp_path / "out", *options)
    wait_for(lambda: num_committed(tmp_path / "out") > 0, process)
    cluster.remove_node(second, allow_graceful=False)  # type: ignore[attr-defined]
    answer = finish(process)
    assert answer.code == 0, answer.err
    assert_complete(tmp_path / "out", unbroken)
