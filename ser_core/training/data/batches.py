"""Steps of an epoch -> batches on the device.

Shape letters: G clips of the manifest, W cached windows, E examples of an epoch, B examples of a worker's step, M of
them that are mixed, S samples, F mel bands, T frames, C labels.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ser_core.distributed import ProcessGroup
from ser_core.ordered import in_order
from ser_core.training.config import TrainConfig
from ser_core.training.data import augment
from ser_core.training.data.clips import ClipLabels, Epoch, Numbers, TrainingWindows
from ser_core.training.data.features import Array, FeatureCache, FrontEnd, Teachers
from ser_core.training.data.waveform_cache import WaveformCache
from ser_core.training.events import Callback, Preparing

_NO_WINDOW = np.zeros(0, np.int64)


@dataclasses.dataclass(frozen=True)
class Batch:
    """A worker's part of a step."""

    #: What `forward_encoded` takes.
    encoded: Tensor
    target_BC: Tensor
    #: Probabilities that teachers give; None without teachers.
    teacher_BC: Tensor | None
    #: Number of examples of all workers' parts.
    num_examples: int


def cache_of_windows(config: TrainConfig, waveforms: WaveformCache, cache: Path) -> Path:
    """How what is cached of windows begins: another name for other clips, or for windows cut otherwise."""
    cut = f"{config.window_seconds:g}-{config.windows_per_clip}-{config.augmentation.overhang:g}"
    return cache / "features" / f"{waveforms.key}-{cut}"


class TrainingData:
    """Everything that a training computes with; the features that do not change are cached on disk."""

    def __init__(
        self, config: TrainConfig, waveforms: WaveformCache, windows: TrainingWindows, clips: ClipLabels,
        front_end: FrontEnd, teachers: Teachers | None, group: ProcessGroup, cache: Path,
    ) -> None:  # fmt: skip
        self.config, self.waveforms, self.windows, self.clips = config, waveforms, windows, clips
        self.front_end, self.teachers, self.group = front_end, teachers, group
        example = front_end.features(np.zeros((1, windows.settings.window_samples), np.float32))
        place = cache_of_windows(config, waveforms, cache)
        shape, dtype = example.shape[1:], example.dtype
        self.features = FeatureCache(place.with_name(f"{place.name}-{front_end.key}"), len(windows), shape, dtype)
        self._taught: FeatureCache | None = None
        if teachers is not None and not self.changes_waveform:
            shape = (len(clips.labels),)
            place = place.with_name(f"{place.name}-{teachers.key}")
            self._taught = FeatureCache(place, len(windows), shape, np.float32)

    @property
    def changes_waveform(self) -> bool:
        """Whether an epoch computes features anew, of waveforms that it changes."""
        return self.config.augmentation.changes_waveform

    def prepare(self, training_N: Numbers, evaluated_N: Numbers, callback: Callback) -> None:
        """Cache the features of these clips; all workers must call it."""
        scored = [self.windows.scored[clip] for clip in evaluated_N]
        is_learned = self.front_end.num_regression_features > 0 or not self.changes_waveform
        learned_W = np.concatenate([_NO_WINDOW, *(self.windows.learned[clip] for clip in training_N if is_learned)])
        window_W = np.concatenate([_NO_WINDOW, *scored, learned_W])
        self._fill(self.features, window_W, self.front_end.features, "features", callback)
        if self._taught is not None and self.teachers is not None:
            teachers = self.teachers
            self._fill(
                self._taught, learned_W, lambda pcm_BS: teachers.predict(pcm_BS).cpu().numpy(),
                "teachers' predictions", callback,
            )  # fmt: skip

    def _fill(
        self, cache: FeatureCache, window_B: Numbers, compute: Callable[[Array], Array], what: str, callback: Callback
    ) -> None:
        read = self.windows.read
        cache.fill(
            window_B, lambda numbers: compute(read(self.waveforms, numbers)), self.group,
            lambda done, total: callback(Preparing(what, done, total)),
        )  # fmt: skip

    def scored_windows(self, clip_N: Numbers) -> tuple[Numbers, Numbers, npt.NDArray[np.float64]]:
        """The windows of clips as scoring cuts them: their numbers, the index of each one's clip, its seconds."""
        numbers = [self.windows.scored[clip] for clip in clip_N]
        window_W = np.concatenate([_NO_WINDOW, *numbers])
        owner_W = np.repeat(np.arange(len(clip_N)), [len(part) for part in numbers])
        return window_W, owner_W, self.windows.seconds_W[window_W]

    def learned_windows(self, clip_N: Numbers) -> tuple[Numbers, Numbers]:
        """The windows of clips that are learned from: their numbers, and the index of each one's clip."""
        numbers = [self.windows.learned[clip] for clip in clip_N]
        owner_W = np.repeat(np.arange(len(clip_N)), [len(part) for part in numbers])
        return np.concatenate([_NO_WINDOW, *numbers]), owner_W

    def random_windows(self, clip_B: Numbers, draws: Sequence[augment.Draw]) -> npt.NDArray[np.float32]:
        """The samples (B, S) of a window of each clip, cut at random and augmented, each by its own random numbers."""
        cut, settings = self.windows.settings, self.config.augmentation
        return np.stack(
            [
                augment.random_window(
                    self.waveforms.waveform(clip),
                    cut.window_samples,
                    settings,
                    draw("waveform"),
                    cut.sample_rate_hz,
                    self.windows.places.get(clip),
                )
                for clip, draw in zip(clip_B.tolist(), draws, strict=True)
            ]
        )

    def encoded(self, window_B: Numbers) -> Tensor:
        """What `forward_encoded` takes, of windows whose features are cached."""
        return self.front_end.encoded(self.features[window_B])

    def taught(self, loaded: Array) -> Tensor | None:
        """Probabilities (B, C) that teachers give windows, by number or by their samples; None without teachers."""
        if self._taught is not None:
            return self.front_end.on_device(self._taught[loaded])
        return None if self.teachers is None else self.teachers.predict(loaded)

    def batches(self, epoch: Epoch, training_N: Numbers, num_threads: int) -> Iterator[Batch]:
        """This worker's part of each step of an epoch over the training clips.

        Args:
            epoch: of the clips of `training_N`, by index.
            training_N: the training set.
            num_threads: number that load ahead; 0: nothing is loaded ahead.
        """
        maker = _BatchMaker(self, epoch, training_N)
        if not num_threads:
            for step in epoch.steps:
                yield maker.make(step, maker.load(step))
            return
        with ThreadPoolExecutor(num_threads, thread_name_prefix="batches") as threads:
            loaded = in_order(epoch.steps, lambda step: threads.submit(maker.load, step), max_in_flight=num_threads + 1)
            for step, data in zip(epoch.steps, loaded, strict=True):
                yield maker.make(step, data)


class _BatchMaker:
    """Makes this worker's part of the steps of an epoch. `load` may run in any thread, `make` where the model is."""

    def __init__(self, data: TrainingData, epoch: Epoch, training_N: Numbers) -> None:
        self._data, self._epoch, self._training_N = data, epoch, training_N
        self._config = data.config

    def _clips(self, example_B: Numbers) -> Numbers:
        clips: Numbers = self._training_N[self._epoch.clip_E[example_B]]
        return clips

    def _own(self, step: Numbers) -> tuple[Numbers, Numbers]:
        """This worker's examples of a step, and the rows among them that are mixed with another one."""
        own_B = step[self._data.group.shard_of(len(step))]
        return own_B, np.flatnonzero(self._epoch.share_E[own_B] < 1)

    def _with_partners(self, step: Numbers) -> Numbers:
        """This worker's examples, and after them the partners of those that are mixed."""
        own_B, mixed_M = self._own(step)
        return np.concatenate([own_B, self._epoch.partner_E[own_B[mixed_M]]])

    def _draws(self, example_B: Numbers) -> list[augment.Draw]:
        of_epoch = functools.partial(augment.generator, self._epoch.seed, self._epoch.number)
        return [functools.partial(of_epoch, example) for example in example_B.tolist()]

    def load(self, step: Numbers) -> Array:
        """The samples of the windows of a step, or the numbers of cached windows."""
        example_B = self._with_partners(step)
        clip_B, draws = self._clips(example_B), self._draws(example_B)
        if self._data.changes_waveform:
            return self._data.random_windows(clip_B, draws)
        learned = self._data.windows.learned
        pairs = zip(clip_B.tolist(), draws, strict=True)
        return np.array([draw("waveform").choice(learned[clip]) for clip, draw in pairs])

    def make(self, step: Numbers, loaded: Array) -> Batch:
        """The batch of what `load` gave."""
        own_B, mixed_M = self._own(step)
        encoded, teacher_BC = self._encoded(self._with_partners(step), loaded), self._data.taught(loaded)
        device = encoded.device
        if len(mixed_M):
            row_M = torch.from_numpy(mixed_M).to(device)
            share_M = torch.from_numpy(self._epoch.share_E[own_B[mixed_M]]).float().to(device)
            encoded = _mix(encoded, row_M, share_M)
            teacher_BC = None if teacher_BC is None else _mix(teacher_BC, row_M, share_M)
        target_BC = torch.from_numpy(self._targets(own_B)).float().to(device)
        return Batch(encoded, target_BC, teacher_BC, len(step))

    def _encoded(self, example_B: Numbers, loaded: Array) -> Tensor:
        front_end = self._data.front_end
        if self._data.changes_waveform:
            mel_BFT = front_end.mel(loaded)
        elif front_end.caches_encoded:
            return self._data.encoded(loaded)
        else:
            mel_BFT = front_end.cached_mel(self._data.features[loaded])
        augment.change_mels(mel_BFT, self._config.augmentation, self._draws(example_B))
        return front_end.encode(mel_BFT)

    def _targets(self, own_B: Numbers) -> npt.NDArray[np.float64]:
        """Labels (B, C), smoothed and mixed."""
        share_B1 = self._epoch.share_E[own_B, np.newaxis]
        return share_B1 * self._smoothed(own_B) + (1 - share_B1) * self._smoothed(self._epoch.partner_E[own_B])

    def _smoothed(self, example_B: Numbers) -> npt.NDArray[np.float64]:
        smoothing, num_labels = self._config.label_smoothing, len(self._data.clips.labels)
        label_B = self._data.clips.label_G[self._clips(example_B)]
        return (1 - smoothing) * np.eye(num_labels)[label_B] + smoothing / num_labels


def _mix(values: Tensor, row_M: Tensor, share_M: Tensor) -> Tensor:
    """Mix the rows that `row_M` names with a partner each: own rows come first in `values`, then the M partners."""
    own, partner = values.float().tensor_split([len(values) - len(row_M)])
    share = share_M.view(-1, *[1] * (own.dim() - 1))
    return own.index_copy(0, row_M, share * own[row_M] + (1 - share) * partner)
