"""What killed runs leave behind, and what becomes of it; and what a run does where there is no room, or no network."""

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.support.cli import Answer, assert_one_line, files, predictions, ser, start
from tests.support.processes import assert_none_left
from tests.support.run_control import num_committed, wait_for
from tests.support.train_command import words

NUM_FILES = 60
NUM_KILLS = 10
_SOON_SECONDS = 15.0

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount file systems and make networks")


@pytest.fixture
def folder() -> Iterator[Path]:
    """For temporary files."""
    found = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    yield found
    shutil.rmtree(found, ignore_errors=True)


def processes_of(folder: Path) -> list[str]:
    """The command lines of all processes that have to do with a folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            words = " ".join(process.cmdline())
            targets = [str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
            if str(folder) in words or any(target.startswith(f"{folder}/") for target in targets):
                found.append(words)
    return found


def assert_none_left_soon(folder: Path) -> None:
    until = time.monotonic() + _SOON_SECONDS
    while left := processes_of(folder):
        assert time.monotonic() < until, left
        time.sleep(0.1)


@pytest.mark.heavy
@pytest.mark.ray
def test_ten_kills_and_one_more_run_leave_nothing(source: Path, data: Path, folder: Path, tmp_path: Path) -> None:
    seed = int(os.environ.get("SER_TEST_SEED", random.randrange(10**6)))
    print(f"SER_TEST_SEED={seed}")
    chance = random.Random(seed)
    output = tmp_path / "out"
    score = ["score", source, output, "--commit-seconds", "0.5", "--engine"]
    commands = [[*score, "ray"], words(data, tmp_path / "model"), [*score, "ray"], [*score, "local"]]
    for number in range(NUM_KILLS):
        process = start(*commands[number % len(commands)], TMPDIR=str(folder))
        moment = time.monotonic() + chance.uniform(0, 20)
        while process.poll() is None and time.monotonic() < moment:
            time.sleep(0.01)
        # The run alone: what it started must see to itself.
        process.kill()
        process.wait(30)
        assert_none_left_soon(folder)
        assert_none_left(process)
    assert len(list(folder.glob("ser-*"))) <= NUM_KILLS
    answer = ser(*score, "ray", TMPDIR=str(folder))
    assert answer.code == 0, answer.err
    # torch makes an empty folder for itself when it trains.
    assert [file.name for file in folder.iterdir() if not file.name.startswith("torchinductor_")] == []
    assert processes_of(folder) == []
    assert files(output).num_rows == NUM_FILES
    keys = [tuple(row.values()) for row in predictions(output).select(["path", "channel", "window_index"]).to_pylist()]
    assert len(keys) == len(set(keys)) > 0


@pytest.mark.heavy
@pytest.mark.ray
def test_a_terminal_that_is_gone_ends_a_run_on_ray_as_sigterm_does(source: Path, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = start("score", source, output, "--engine", "ray", "--commit-seconds", "0.2", TMPDIR=str(folder))
    wait_for(lambda: num_committed(output) > 0, process)
    # As the kernel does it: to the whole group, Ray's processes among it.
    os.killpg(process.pid, signal.SIGHUP)
    out, err = process.communicate(timeout=60)
    assert_one_line(Answer(process.returncode, out, err), 130, "run the same command to go on")
    assert_none_left(process)
    assert list(folder.iterdir()) == []


@pytest.mark.heavy
@needs_root
@pytest.mark.ray
@pytest.mark.parametrize("what", ["local", "ray", "train"])
@pytest.mark.parametrize("options", ["size=4k,nr_inodes=2", "size=100k", "size=2m"])
def test_a_full_folder_of_temporary_files_is_a_line(
    source: Path, data: Path, folder: Path, tmp_path: Path, what: str, options: str
) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=False).returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    try:
        output = tmp_path / "out"
        command = words(data, output) if what == "train" else ["score", source, output, "--engine", what]
        process = start(*command, TMPDIR=str(folder))
        out, err = process.communicate(timeout=120)
        # The plan of this process has room in little; Ray has not.
        if what != "local" or process.returncode != 0:
            assert_one_line(Answer(process.returncode, out, err), 1, str(folder), "free some space")
        assert_none_left(process)
        assert list(folder.glob("ser-*")) == []
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.heavy
@needs_root
@pytest.mark.ray
def test_without_loopback_the_local_engine_scores_and_ray_is_a_line(
    source: Path, data: Path, folder: Path, tmp_path: Path
) -> None:
    if subprocess.run(["unshare", "--net", "true"], check=False).returncode != 0:
        pytest.skip("networks cannot be made here")
    alone = ["unshare", "--net"]
    answer = ser("score", source, tmp_path / "out", "--engine", "local", before=alone, TMPDIR=str(folder))
    assert answer.code == 0, answer.err
    for command in (["score", source, tmp_path / "other", "--engine", "ray"], words(data, tmp_path / "model")):
        answer = ser(*command, before=alone, TMPDIR=str(folder), timeout=60)
        assert_one_line(answer, 1, "no loopback network", "--engine local")
    assert list(folder.iterdir()) == []
