"""`ser score --engine local`: a whole run in the caller's process, without Ray."""

import json
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from tests.support.archive import expected_keys, keys, write_archive, write_clip
from tests.support.cli import ROOT, assert_one_line, clean_environment, files, predictions, ser_here
from tests.support.processes import num_descriptors

_RUNS = """
import sys
from jobs.cli import run
print(run(sys.argv[1:]))
print([name for name in sys.modules if name.partition(".")[0] == "ray"])
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("archive") / "in"
    return folder, write_archive(folder, 6)


def test_ray_is_not_imported(source: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    command = [sys.executable, "-c", _RUNS, "score", source[0], tmp_path / "out", "--model", "compact"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT, env=clean_environment()
    )
    assert done.stdout.splitlines()[-2:] == ["0", "[]"], done.stderr
    assert "engine local: no cluster is named" in done.stderr
    assert keys(predictions(tmp_path / "out")) == expected_keys(source[1])


def test_runs_of_one_process_follow_each_other_and_leave_nothing(
    source: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    ser_here("score", source[0], tmp_path / "warm up", "--engine", "local")
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    threads, descriptors = set(threading.enumerate()), num_descriptors()
    children = psutil.Process().children()
    for _ in range(2):
        answer = ser_here("score", source[0], tmp_path / "out", "--engine", "local")
        assert answer.code == 0, answer.err
    assert "6 unchanged" in answer.out
    assert "engine" not in answer.err
    record = json.loads((tmp_path / "out" / "_ser" / "runs" / "1.json").read_text())
    assert record["engine"] == {"name": "local", "because": "it is asked for"}
    assert set(threading.enumerate()) <= threads
    assert num_descriptors() <= descriptors
    assert psutil.Process().children() == children
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_run_in_another_thread_than_the_main_one(source: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    answers = []
    command = ["score", source[0], tmp_path / "out", "--engine", "local"]
    thread = threading.Thread(target=lambda: answers.append(ser_here(*command)))
    thread.start()
    thread.join()
    assert answers[0].code == 0, answers[0].err
    assert files(tmp_path / "out").num_rows == 6


def test_a_cluster_and_this_process_exclude_each_other(tmp_path: Path) -> None:
    answer = ser_here("score", tmp_path, tmp_path / "out", "--engine", "local", "--address", "10.0.0.1:6379")
    assert_one_line(answer, 2, "engine local", "address")


def test_a_dry_run_says_which_engine_it_would_be(source: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    answer = ser_here("score", source[0], tmp_path / "out", "--dry-run", "--engine", "ray")
    assert "engine ray: it is asked for" in answer.out
    assert not (tmp_path / "out").exists()


def test_a_long_file_is_scored_up_to_the_limit_which_stays_with_the_output(tmp_path: Path) -> None:
    write_clip(tmp_path / "in" / "long.wav", 10.0, 1)
    write_clip(tmp_path / "in" / "short.wav", 3.0, 2)
    command = ["score", tmp_path / "in", tmp_path / "out", "--max-file-hours"]
    answer = ser_here(*command, "0.002")
    assert answer.code == 3, answer.err
    long, short = files(tmp_path / "out").to_pylist()
    assert (long["status"], long["reason"], long["retryable"]) == ("partial", "too_long", False)
    assert (long["audio_seconds"], long["gaps"]) == (7.2, [{"start_seconds": 7.2, "end_seconds": 10.0}])
    assert short["status"] == "scored"
    assert "2 unchanged" in ser_here(*command, "0.002").out
    assert_one_line(ser_here(*command, "1"), 1, "max_file_hours was 0.002, now 1.0", "use --restart or another output")


def test_a_damaged_output_is_told_in_one_line_and_restart_gets_out(
    source: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    command = ["score", source[0], tmp_path / "out", "--engine", "local"]
    assert ser_here(*command).code == 0
    shutil.rmtree(tmp_path / "out" / "_ser")
    answer = ser_here(*command)
    assert answer.code == 0, answer.err
    assert "6 unchanged" in answer.out
    (tmp_path / "out" / "files" / "_delta_log" / f"{1:020}.json").write_bytes(b"\0")
    (tmp_path / "out" / "_ser" / "output.json").write_bytes(b"")
    for extra in ([], ["--dry-run"]):
        assert_one_line(ser_here(*command, *extra), 1, "output.json is damaged", "use --restart")
    answer = ser_here(*command, "--restart")
    assert answer.code == 0, answer.err
    assert keys(predictions(tmp_path / "out")) == expected_keys(source[1])
