"""Power cuts: what a disk holds at some moment is all that is left, and a run goes on there to the exact tables.

The output lies on an ext4 file system in an image. The image, copied while the file system is mounted, is what a power
cut would leave: nothing that was not written through to it by then.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from deltalake import DeltaTable

from ser_core.storage.location import Location
from ser_core.tables.output import Output
from tests.support.tables import EMBEDDED, Audio, check_complete, score, score_all, write_plan
from tests.support.tables_faults import Interposer

pytestmark = pytest.mark.heavy

NUM_COMMITS = 310
WORLD = {f"{index:03d}.wav": Audio("1", windows=1) for index in range(NUM_COMMITS)}
_IMAGE_BYTES = 32 * 2**20
#: deltalake writes a checkpoint after every hundredth commit of its own; one within a commit is cut at these.
_TORN_COMMITS = {*range(7, NUM_COMMITS, 50), *(100 * k + d for k in (1, 2, 3) for d in range(-4, 3))}


@contextmanager
def _mounted(image: Path) -> Iterator[Path]:
    folder = image.with_suffix(".mount")
    folder.mkdir()
    subprocess.run(["mount", "-o", "loop", image, folder], check=True, timeout=60)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True, timeout=60)
        folder.rmdir()


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Path]:
    """An image with an empty ext4 file system; in memory where that can be, for it is copied all the time."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        yield _make_image(Path(folder, "disk.img"))


def _make_image(file: Path) -> Path:
    with file.open("wb") as opened:
        opened.truncate(_IMAGE_BYTES)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-F", "-N", "8192", file], check=True, timeout=60)
        with _mounted(file):
            pass
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system in an image can be mounted here: {error}")
    return file


def _cut_power(image: Path, folder: Path) -> Path:
    """A copy of the image at one moment: made again while anything was written to it meanwhile."""
    device = folder.stat().st_dev
    statistics = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    copy = image.with_name("cut.img")

    def num_writes() -> list[str]:
        # Writes completed, and requests that are in flight.
        fields = statistics.read_text().split()
        return [fields[4], fields[8]]

    before = None
    while before != (before := num_writes()) or before[1] != "0":
        shutil.copyfile(image, copy)
    return copy


def _assert_goes_on(copy: Path, plan: Path, moment: str) -> list[str]:
    """A run on what is left ends with the exact tables; what it said."""
    lines: list[str] = []
    with _mounted(copy) as folder:
        output = Output(Location(str(folder / "out")))
        try:
            with output.lock(lines.append):
                score_all(output, plan, WORLD, settings=EMBEDDED, files_per_commit=NUM_COMMITS, on_event=lines.append)
            check_complete(output.location, WORLD)
        except BaseException as error:
            error.add_note(f"the power was cut {moment}")
            raise
    copy.unlink()
    return lines


def test_every_moment_goes_on_to_the_exact_tables(image: Path, tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan.parquet", WORLD)
    num_cuts = 0
    with _mounted(image) as folder:
        steps = score(Output(Location(str(folder / "out"))), plan, WORLD, settings=EMBEDDED, files_per_commit=1)
        number = 0

        def cut_within(_: int, name: str) -> None:
            nonlocal num_cuts
            if number in _TORN_COMMITS and name.startswith("after"):
                _assert_goes_on(_cut_power(image, folder), plan, f"within step {number}")
                num_cuts += 1

        with Interposer(cut_within).active((DeltaTable, "create_write_transaction")):
            for number, _ in enumerate(steps):
                said = _assert_goes_on(_cut_power(image, folder), plan, f"after step {number}")
                # What was committed lasts: nothing had to be mended but the lock, which was not taken.
                assert not said, said
                num_cuts += 1
        check_complete(Location(str(folder / "out")), WORLD)
    assert num_cuts > NUM_COMMITS + len(_TORN_COMMITS)
    print(f"{num_cuts} cuts")
