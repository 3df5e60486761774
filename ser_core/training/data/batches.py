"""Steps of an epoch -> batches on the device.

Shape letters: G clips of the manifest, W kept windows, P places of an epoch, B windows of a worker's step, S samples,
F mel bands, T frames, C labels.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ser_core.distributed import ProcessGroup
from ser_core.ordered import in_order
from ser_core.training.config import TrainConfig
from ser_core.training.data import augment
from ser_core.training.data.clips import ClipLabels, Numbers, TrainingWindows
from ser_core.training.data.feature_cache import FeatureCache
from ser_core.training.data.frontend import FrontEnd, Teachers
from ser_core.training.data.sampling import Epoch
from ser_core.training.data.waveform_cache import WaveformCache
from ser_core.training.events import Callback, Preparing

Say = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Batch:
    """A worker's part of a step."""

    #: As `forward_encoded` takes it.
    encoded: Tensor
    target_BC: Tensor
    teacher_BC: Tensor | None
    #: Over all workers' parts.
    num_windows: int


class TrainingData:
    """Everything a training hears; the parts that do not change are kept on disk."""

    def __init__(
        self, config: TrainConfig, waveforms: WaveformCache, windows: TrainingWindows, clips: ClipLabels,
        front_end: FrontEnd, teachers: Teachers | None, group: ProcessGroup, cache: Path,
    ) -> None:  # fmt: skip
        self.config, self.waveforms, self.windows, self.clips = config, waveforms, windows, clips
        self.front_end, self.teachers, self.group = front_end, teachers, group
        folder = cache / "features"
        example = front_end.keep(np.zeros((1, windows.settings.window_samples), np.float32))
        name = f"{waveforms.key}-{windows_key(config)}"
        self.kept = FeatureCache(folder / f"{name}-{front_end.key}", len(windows), example.shape[1:], example.dtype)
        self.taught: FeatureCache | None = None
        if teachers is not None and not self.changes_waveform:
            shape = (len(self.labels),)
            self.taught = FeatureCache(folder / f"{name}-{teachers.key}", len(windows), shape, np.float32)

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the model."""
        return self.clips.labels

    @property
    def changes_waveform(self) -> bool:
        return self.config.augmentation.changes_waveform

    def prepare(self, training_N: Numbers, evaluated_N: Numbers, callback: Callback) -> None:
        """Compute what is kept of these clips; all workers must call it."""
        scored = [self.windows.scored[clip] for clip in evaluated_N]
        is_learned = self.front_end.num_regression_features > 0 or not self.changes_waveform
        learned = [self.windows.learned[clip] for clip in training_N] if is_learned else []
        nothing = np.zeros(0, np.int64)
        self._fill(
            self.kept, np.concatenate([nothing, *scored, *learned]), self.front_end.keep, _say("features", callback)
        )
        if self.taught is not None and self.teachers is not None:
            teachers = self.teachers
            say = _say("teachers' answers", callback)
            heard = np.concatenate([nothing, *learned])
            self._fill(self.taught, heard, lambda pcm_BS: teachers.answer(pcm_BS).cpu().numpy(), say)

    def _fill(self, store: FeatureCache, window_B: Numbers, compute: Callable[[Any], Any], say: Say) -> None:
        read = self.windows.read
        store.fill(window_B, lambda numbers: compute(read(self.waveforms, numbers)), self.group, say)

    def scored_windows(self, clip_N: Numbers) -> tuple[Numbers, Numbers, npt.NDArray[np.float64]]:
        """Of clips, as scoring cuts them: the windows' numbers, the place of each one's clip, its seconds."""
        numbers = [self.windows.scored[clip] for clip in clip_N]
        window_W = np.concatenate(numbers) if numbers else np.zeros(0, np.int64)
        owner_W = np.repeat(np.arange(len(clip_N)), [len(part) for part in numbers])
        return window_W, owner_W, self.windows.seconds_W[window_W]

    def random_windows(self, clip_B: Numbers, draws: Sequence[augment.Draw]) -> npt.NDArray[np.float32]:
        """The samples (B, S) of a window of each clip, cut at random and augmented, each by its own draws."""
        cut, settings = self.windows.settings, self.config.augmentation
        return np.stack(
            [
                augment.random_window(
                    self.waveforms.waveform(clip), cut.window_samples, settings, draw("waveform"), cut.sample_rate_hz
                )
                for clip, draw in zip(clip_B.tolist(), draws, strict=True)
            ]
        )

    def encoded(self, window_B: Numbers) -> Tensor:
        """What `forward_encoded` takes, of windows that `prepare` has seen to."""
        return self.front_end.encoded(self.kept[window_B])

    def batches(self, epoch: Epoch, training_N: Numbers, num_threads: int) -> Iterator[Batch]:
        """This worker's part of each step of an epoch over the training clips.

        Args:
            epoch: of places in `training_N`.
            training_N: the training set.
            num_threads: that load ahead; 0: nothing is loaded ahead.
        """
        maker = _BatchMaker(self, epoch, training_N)
        if not num_threads:
            for places in epoch.steps:
                yield maker.make(places, maker.load(places))
            return
        with ThreadPoolExecutor(num_threads, thread_name_prefix="batches") as threads:
            loaded = in_order(epoch.steps, lambda step: threads.submit(maker.load, step), max_in_flight=num_threads + 1)
            for places, data in zip(epoch.steps, loaded, strict=True):
                yield maker.make(places, data)


class _BatchMaker:
    """`load` may run in any thread, `make` where the model is."""

    def __init__(self, data: TrainingData, epoch: Epoch, training_N: Numbers) -> None:
        self._data, self._epoch, self._training_N = data, epoch, training_N
        self.config = data.config
        self._is_mixed_P = epoch.share_P < 1

    def _clips(self, place: Any) -> Numbers:
        clips: Numbers = self._training_N[self._epoch.clip_P[place]]
        return clips

    def _mine(self, places: Numbers) -> tuple[Numbers, Numbers]:
        """This worker's places, and which of them, by their row, are mixed with another one."""
        own_B = places[self._data.group.shard_of(len(places))]
        return own_B, np.flatnonzero(self._is_mixed_P[own_B])

    def _heard(self, places: Numbers) -> Numbers:
        """This worker's places, and after them the partners of those that are mixed."""
        own_B, mixed_M = self._mine(places)
        return np.concatenate([own_B, self._epoch.partner_P[own_B[mixed_M]]])

    def _draws(self, place_B: Numbers) -> list[augment.Draw]:
        of_epoch = functools.partial(augment.generator, self._epoch.seed, self._epoch.number)
        return [functools.partial(of_epoch, place) for place in place_B.tolist()]

    def load(self, places: Numbers) -> npt.NDArray[Any]:
        """Windows' samples, or the numbers of kept windows."""
        place_B = self._heard(places)
        clip_B, draws = self._clips(place_B), self._draws(place_B)
        if self._data.changes_waveform:
            return self._data.random_windows(clip_B, draws)
        learned = self._data.windows.learned
        pairs = zip(clip_B.tolist(), draws, strict=True)
        return np.array([draw("waveform").choice(learned[clip]) for clip, draw in pairs])

    def make(self, places: Numbers, loaded: npt.NDArray[Any]) -> Batch:
        """The batch of what was loaded."""
        own_B, mixed_M = self._mine(places)
        place_B = self._heard(places)
        encoded, teacher_BC = self._hear(place_B, loaded), self._taught(place_B, loaded)
        device = encoded.device
        if len(mixed_M):
            row_M = torch.from_numpy(mixed_M).to(device)
            share_M = torch.from_numpy(self._epoch.share_P[own_B[mixed_M]]).float().to(device)
            encoded = _mix(encoded, row_M, share_M)
            teacher_BC = None if teacher_BC is None else _mix(teacher_BC, row_M, share_M)
        return Batch(
            encoded,
            torch.from_numpy(self._targets(own_B)).float().to(device),
            teacher_BC,
            len(places),
        )

    def _hear(self, place_B: Numbers, loaded: npt.NDArray[Any]) -> Tensor:
        front_end = self._data.front_end
        if self._data.changes_waveform:
            mel_BFT = front_end.mel(loaded)
        elif front_end.caches_encoded:
            return front_end.encoded(self._data.kept[loaded])
        else:
            mel_BFT = front_end.cached_mel(self._data.kept[loaded])
        augment.change_mels(mel_BFT, self.config.augmentation, self._draws(place_B))
        return front_end.encode(mel_BFT)

    def _taught(self, place_B: Numbers, loaded: npt.NDArray[Any]) -> Tensor | None:
        """What teachers say of the same clips or windows."""
        data = self._data
        if data.taught is not None:
            return data.front_end.on_device(data.taught[loaded])
        return None if data.teachers is None else data.teachers.answer(loaded)

    def _targets(self, own_B: Numbers) -> npt.NDArray[np.float64]:
        """Labels (B, C), smoothed and mixed."""
        share_B1 = self._epoch.share_P[own_B, np.newaxis]
        return share_B1 * self._smoothed(own_B) + (1 - share_B1) * self._smoothed(self._epoch.partner_P[own_B])

    def _smoothed(self, place_B: Numbers) -> npt.NDArray[np.float64]:
        smoothing, num_labels = self.config.label_smoothing, len(self._data.labels)
        label_B = self._data.clips.label_G[self._clips(place_B)]
        return (1 - smoothing) * np.eye(num_labels)[label_B] + smoothing / num_labels


def _mix(values: Tensor, row_M: Tensor, share_M: Tensor) -> Tensor:
    """Of own rows, and after them M others, the own ones: those that `row_M` names mixed with an other each."""
    own, other = values.float().tensor_split([len(values) - len(row_M)])
    share = share_M.view(-1, *[1] * (own.dim() - 1))
    return own.index_copy(0, row_M, share * own[row_M] + (1 - share) * other)


def _say(what: str, callback: Callback) -> Say:
    return lambda done, total: callback(Preparing(what, done, total))


def windows_key(config: TrainConfig) -> str:
    """Names how the windows are cut."""
    return f"{config.window_seconds:g}-{config.windows_per_clip}-{config.augmentation.overhang:g}"
