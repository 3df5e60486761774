from pathlib import Path

import numpy as np
import pytest

from ser_core.distributed import ALONE, ProcessGroup
from ser_core.errors import OutputError
from ser_core.training.data.features import FeatureCache, Windows
from ser_core.training.run import open_waveforms
from tests.support.training_runs import job_values
from tests.support.training_worker import make_job


class Computer:
    """Squares, and how often each was computed."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.blocks: list[int] = []
        self._fails_at = fails_at

    def __call__(self, window_B: Windows) -> np.ndarray:
        if self._fails_at is not None and len(self.blocks) == self._fails_at:
            raise KeyboardInterrupt
        self.blocks.append(int(window_B[0]))
        return np.stack([window_B, window_B**2], axis=1).astype(np.float32)


def nothing(_done: int, _total: int) -> None:
    return None


def store(folder: Path) -> FeatureCache:
    return FeatureCache(folder / "entry", 3_000, (2,), np.float32)


def test_rows_of_another_shape_are_another_store(tmp_path: Path) -> None:
    for shape in ((2,), (3,)):
        kept = FeatureCache(tmp_path / "entry", 100, shape, np.float32)
        kept.fill(np.array([7]), lambda window_B, s=shape: np.full((len(window_B), *s), s[0]), ALONE, nothing)
        assert kept[np.array([7])].tolist() == [[shape[0]] * shape[0]]


def test_only_what_is_asked_for_is_computed_and_once(tmp_path: Path) -> None:
    compute = Computer()
    kept = store(tmp_path)
    kept.fill(np.array([5, 70, 2_999]), compute, ALONE, nothing)
    assert compute.blocks == [0, 64, 2_944]
    assert kept[np.array([70, 5, 2_999])].tolist() == [[70, 4_900], [5, 25], [2_999, 2_999**2]]
    store(tmp_path).fill(np.array([6, 71]), compute, ALONE, nothing)
    assert len(compute.blocks) == 3


def test_what_a_broken_off_computation_has_done_is_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        store(tmp_path).fill(np.arange(3_000), Computer(fails_at=20), ALONE, nothing)
    compute = Computer()
    kept = store(tmp_path)
    kept.fill(np.arange(3_000), compute, ALONE, nothing)
    assert compute.blocks[0] == 16 * 64
    assert (kept[np.arange(3_000)][:, 1] == np.arange(3_000.0, dtype=np.float32) ** 2).all()


def test_workers_of_a_machine_divide_the_blocks(tmp_path: Path) -> None:
    computers = [Computer(), Computer()]
    second = ProcessGroup(local_rank=1, local_size=2)
    # Alone the second does its own half, and then what nobody else has done.
    store(tmp_path).fill(np.arange(3_000), computers[0], second, nothing)
    assert computers[0].blocks[:3] == [64, 192, 320]
    assert len(computers[0].blocks) == len(set(computers[0].blocks)) == 47
    store(tmp_path).fill(np.arange(3_000), computers[1], ALONE, nothing)
    assert not computers[1].blocks


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file: cannot cache features .*cache_dir"):
        FeatureCache(tmp_path / "file" / "entry", 3, (2,), np.float32)


@pytest.mark.parametrize("is_named", [False, True])
def test_folders_of_samples_that_were_open_are_closed(
    is_named: bool, manifests: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "ser"
    folders = [root, root / "waveforms", root / "features"]
    for folder in folders:
        folder.mkdir()
        folder.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    values = job_values(manifests[:1], tmp_path / "model", root)
    if not is_named:
        del values["config"]["cache_dir"]
    open_waveforms(make_job(values))
    store(root / "features")
    # A folder of the user's own naming may hold more than this program's files.
    modes = [0o755 if is_named else 0o700, 0o700, 0o700]
    assert [folder.stat().st_mode & 0o777 for folder in folders] == modes
