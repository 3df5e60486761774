"""What lies in the working folder, or in the folder of temporary files that all users share, is not read."""

import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.cli import ROOT
from tests.support.models import tiny_artifact
from tests.support.training import settings, write_corpus

#: Who opens one of these waits for ever: what another user could plant runs as the user's own, or hangs.
READ_THERE = ("libcuda.so.1", "matplotlibrc", ".numba_config.yaml")


def run(folder: Path, program: str, *words: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-P", "-c", program, *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=240, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


@pytest.mark.parametrize("verb", ["evaluate", pytest.param("train", marks=[pytest.mark.heavy, pytest.mark.ray])])
def test_libraries_do_not_read_the_working_folder(tmp_path: Path, verb: str) -> None:
    write_corpus(tmp_path)
    tiny_artifact().save(str(tmp_path / "model"))
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(settings(tmp_path / "cache")))
    (tmp_path / "open to others").mkdir()
    for name in READ_THERE:
        os.mkfifo(tmp_path / "open to others" / name)
    words = {
        "evaluate": ("evaluate", "../model", "../tone.parquet", "../made", "--speech", "all", "--device", "cpu"),
        "train": ("train", "../tone.parquet", "../made", "--config", "../train.yaml"),
    }
    done = run(tmp_path / "open to others", "from jobs.start import main; main()", *words[verb])
    # In three epochs a training may learn nothing, which it says.
    assert done.returncode in {0, 3}, done.stderr
    assert list((tmp_path / "made").glob("report.json" if verb == "train" else "*.html"))


def test_a_library_is_loaded_once_and_what_is_not_there_is_missing(tmp_path: Path) -> None:
    program = """
import os
from ser_core.working_folder import keep_out
keep_out()
import matplotlib
assert os.getcwd() == {here!r}
import matplotlib as again
assert again is matplotlib and matplotlib.__spec__.loader.get_source("matplotlib")
import sys
sys.path[:] = []
try:
    import torch
except ModuleNotFoundError as error:
    print(error)
"""
    done = run(tmp_path, program.format(here=str(tmp_path)))
    assert (done.returncode, done.stdout) == (0, "No module named 'torch'\n"), done.stderr


def test_a_working_folder_that_is_gone_is_no_hindrance(tmp_path: Path) -> None:
    program = (
        "import os; os.rmdir(os.getcwd())\nfrom ser_core.working_folder import keep_out; keep_out()\nimport matplotlib"
    )
    (tmp_path / "gone").mkdir()
    done = run(tmp_path / "gone", program)
    assert done.returncode == 0, done.stderr


def test_what_another_user_has_in_the_place_of_torchs_folder_is_no_hindrance(tmp_path: Path) -> None:
    theirs = tmp_path / f"torchinductor_{getpass.getuser()}"
    theirs.write_text("theirs")
    program = """
from cluster.training.worker import private_cache
with private_cache():
    import torch
    torch.optim.SGD(torch.nn.Linear(1, 1).parameters())
"""
    done = run(tmp_path, program, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert [file.name for file in tmp_path.iterdir()] == [theirs.name]
