from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ser_core.audio.log_mel import LogMel
from ser_core.audio.segments import Cutter
from ser_core.corpora.manifest import read_manifests
from ser_core.distributed import ALONE, ProcessGroup
from ser_core.storage.location import Location
from ser_core.training.data.batches import Batch, TrainingData
from ser_core.training.data.clips import ClipLabels, TrainingWindows, plan_epoch
from ser_core.training.data.features import FrontEnd
from ser_core.training.events import Preparing
from ser_core.training.job import Job
from ser_core.training.run import open_waveforms
from tests.support.training import config, write_corpus

ALL = np.arange(42)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_corpus(folder, num_speakers=2)
    write_corpus(folder, "hum", num_speakers=3, takes=3, emotions=("happy", "angry"))
    return folder


def make_data(folder: Path, group: ProcessGroup = ALONE, **changes: Any) -> TrainingData:
    manifest = read_manifests([str(folder / "tone.parquet"), str(folder / "hum.parquet")])
    job = Job(config=config(folder / "cache", **changes), manifest=manifest, folder=Location("/unused"), run="")
    waveforms = open_waveforms(job)
    windows = TrainingWindows.of(waveforms, job.windows, job.config.windows_per_clip, job.config.augmentation.overhang)
    front_end = FrontEnd(job.new_model(), LogMel(job.mel), torch.device("cpu"), caches_encoded=False)
    labels = ClipLabels(manifest, job.labels)
    return TrainingData(job.config, waveforms, windows, labels, front_end, None, group, job.cache_folder)


def batches(data: TrainingData, num_threads: int = 0) -> list[Batch]:
    if data.group == ALONE:
        data.prepare(ALL, ALL, lambda _: None)
    settings = data.config
    plan = plan_epoch(1, 2, data.clips.stratum_G, settings.sampling, settings.batch_size, settings.augmentation)
    return list(data.batches(plan, ALL, num_threads))


EVERYTHING: dict[str, Any] = {
    "augmentation": {"speed": 0.1, "gain_db": 6.0, "num_masks": 1, "mixup_probability": 0.5},
    "sampling": "balanced",
}


@pytest.mark.parametrize("changes", [{}, EVERYTHING, EVERYTHING | {"augmentation": {"mixup_probability": 0.5}}])
def test_the_batches_of_two_workers_are_together_those_of_one(folder: Path, changes: dict[str, Any]) -> None:
    alone = batches(make_data(folder, **changes))
    parts = [make_data(folder, ProcessGroup(rank=rank, size=2), **changes) for rank in (0, 1)]
    for whole, first, second in zip(alone, *map(batches, parts), strict=True):
        assert len(whole.target_BC) == whole.num_examples == first.num_examples == second.num_examples
        assert torch.equal(whole.target_BC, torch.cat([first.target_BC, second.target_BC]))
        torch.testing.assert_close(whole.encoded, torch.cat([first.encoded, second.encoded]), atol=1e-4, rtol=1e-4)


def test_threads_that_load_ahead_change_nothing(folder: Path) -> None:
    data = make_data(folder, **EVERYTHING)
    for one, other in zip(batches(data), batches(data, num_threads=3), strict=True):
        assert torch.equal(one.encoded, other.encoded)
        assert torch.equal(one.target_BC, other.target_BC)


def test_labels_are_smoothed_over_all_of_them(folder: Path) -> None:
    data = make_data(folder, label_smoothing=0.3)
    assert data.clips.labels == ("calm", "happy", "angry")
    for batch in batches(data):
        assert batch.target_BC.sum(dim=1).tolist() == pytest.approx([1.0] * len(batch.target_BC))
        assert batch.target_BC.amax(dim=1).tolist() == pytest.approx([0.8] * len(batch.target_BC))
        assert batch.target_BC.amin(dim=1).tolist() == pytest.approx([0.1] * len(batch.target_BC))


def test_what_is_prepared_is_told_and_done_once(folder: Path, tmp_path: Path) -> None:
    told: list[Any] = []
    for _ in range(2):
        make_data(folder, cache_dir=str(tmp_path)).prepare(ALL, ALL, told.append)
    assert told == [Preparing("features", 2, 2)]


def test_windows_are_those_of_scoring_and_spread_ones(folder: Path) -> None:
    data = make_data(folder, windows_per_clip=3, augmentation={"overhang": 0.2})
    windows, waveforms = data.windows, data.waveforms
    for clip in range(len(waveforms)):
        cutter = Cutter(windows.settings, channel=0, num_channels=1)
        segments = [*cutter.push(waveforms.waveform(clip)[:]), *cutter.finish()]
        expected = np.concatenate([segment.pcm_NS for segment in segments])
        np.testing.assert_array_equal(windows.read(waveforms, windows.scored[clip]), expected)
        ends = [end for segment in segments for end in segment.end_seconds]
        starts = windows.start_W[windows.scored[clip]] / windows.settings.sample_rate_hz
        np.testing.assert_allclose(starts + windows.seconds_W[windows.scored[clip]], ends)
        spread = windows.start_W[windows.learned[clip]]
        assert spread[0] == 0
        assert len(spread) <= 3
        assert spread[-1] <= max(0, waveforms.num_samples(clip) - 0.8 * windows.settings.window_samples)
        assert (windows.clip_W[windows.learned[clip]] == clip).all()
