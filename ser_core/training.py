"""Labelled clips -> a trained model: a plain torch loop on one machine.

Shape letters: B windows of a batch, N windows, S samples of a window, G clips, F mel bands, T frames, C labels.

Everything random is keyed by (seed, epoch, clip) or (seed, epoch): the same seed, threads and clips give the
same weights.
"""

import copy
import dataclasses
import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ser_core import augment, models
from ser_core.answers import answer, log_probability_sums
from ser_core.augment import AugmentSettings
from ser_core.calibration import fit_temperature
from ser_core.config import Settings, WindowSettings
from ser_core.corpora import LABELS, Clip
from ser_core.errors import UsageError
from ser_core.evaluation import ClipWindows, read_waveform, read_windows, unweighted_recall
from ser_core.features import LogMel, fit_log_mel

_log = logging.getLogger(__name__)
_EVALUATION_BATCH = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(Settings):
    """Everything a training can be told."""

    architecture: str = "compact"
    architecture_settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    window_seconds: float = 3.0
    epochs: int = 60
    batch_size: int = 16
    #: The peak of a one-cycle schedule.
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    #: What is validated and kept is the weights' running average over steps, with this decay.
    average_decay: float = 0.99
    max_gradient_norm: float = 2.0
    seed: int = 0
    augmentation: AugmentSettings = dataclasses.field(default_factory=AugmentSettings)


@dataclasses.dataclass(frozen=True)
class Epoch:
    """What an epoch came to; the figures are of answers to clips."""

    number: int
    training_loss: float
    validation_loss: float
    validation_recall: float


@dataclasses.dataclass(frozen=True)
class Trained:
    """The best epoch's model, and how it came about."""

    model: nn.Module
    log_mel: LogMel
    #: Fitted on the validation clips.
    temperature: float
    best: Epoch
    history: tuple[Epoch, ...]


def train(clips: Sequence[Clip], validation_clips: Sequence[Clip], config: TrainConfig) -> Trained:
    """Train on `clips`; keep the epoch with the best unweighted recall on `validation_clips`, of other speakers.

    Raises:
        SourceError: a clip cannot be decoded.
        UsageError: the two share a speaker, or the architecture is unknown.
    """
    if shared := {clip.speaker for clip in clips} & {clip.speaker for clip in validation_clips}:
        raise UsageError(f"speakers {', '.join(sorted(shared))} are in both training and validation clips")
    torch.manual_seed(config.seed)
    windows = WindowSettings(window_seconds=config.window_seconds, hop_seconds=config.window_seconds)
    batches = torch.split(torch.from_numpy(read_windows(clips, windows).pcm_NS), _EVALUATION_BATCH)
    log_mel = fit_log_mel(batches, models.default_mel(config.architecture))
    validation = read_windows(validation_clips, windows)
    loop = _Loop(clips, log_mel, windows.window_samples, config)
    history: list[Epoch] = []
    for number in range(config.epochs):
        training_loss = loop.run_epoch(number)
        answer_GC = _answer(loop.averaged, log_mel, validation)
        epoch = _epoch(number, training_loss, answer_GC, validation.label_G)
        _log.info("%s", epoch)
        history.append(epoch)
        if epoch == max(history, key=_merit):
            best_model = copy.deepcopy(loop.averaged.module)
            temperature = fit_temperature(answer_GC, validation.label_G)
    return Trained(best_model, log_mel, temperature, max(history, key=_merit), tuple(history))


def _merit(epoch: Epoch) -> tuple[float, float]:
    return epoch.validation_recall, -epoch.validation_loss


class _Loop:
    """The state of a training, and one epoch of it."""

    def __init__(self, clips: Sequence[Clip], log_mel: LogMel, window_samples: int, config: TrainConfig) -> None:
        self._log_mel, self._window_samples, self._config = log_mel, window_samples, config
        self._waveforms = [read_waveform(clip, log_mel.settings.sample_rate_hz) for clip in clips]
        self._labels_G = torch.tensor([LABELS.index(clip.emotion) for clip in clips])
        self._model = models.build(
            config.architecture, config.architecture_settings, log_mel.settings.num_mels, len(LABELS)
        )
        # With buffers: the statistics of batch normalisation must belong to the averaged weights.
        average = get_ema_multi_avg_fn(config.average_decay)  # type: ignore[no-untyped-call]
        self.averaged = AveragedModel(self._model, multi_avg_fn=average, use_buffers=True)
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        num_steps = config.epochs * math.ceil(len(clips) / config.batch_size)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, config.learning_rate, num_steps, pct_start=0.15
        )

    def run_epoch(self, epoch: int) -> float:
        """The mean loss."""
        self._model.train()
        order = np.random.default_rng((self._config.seed, epoch)).permutation(len(self._waveforms))
        losses = []
        for start in range(0, len(order), self._config.batch_size):
            mel_BFT, label_B = self._batch(epoch, order[start : start + self._config.batch_size])
            loss = cross_entropy(self._model(mel_BFT), label_B, label_smoothing=self._config.label_smoothing)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self._model.parameters(), self._config.max_gradient_norm)
            self._optimizer.step()
            self._schedule.step()
            self.averaged.update_parameters(self._model)
            losses.append(loss.item())
        return float(np.mean(losses))

    def _batch(self, epoch: int, members: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        settings = self._config.augmentation
        rngs = [np.random.default_rng((self._config.seed, epoch, int(member))) for member in members]
        windows = [
            augment.random_window(self._waveforms[member], self._window_samples, settings, rng)
            for member, rng in zip(members, rngs, strict=True)
        ]
        mel_BFT = self._log_mel(torch.from_numpy(np.stack(windows)))
        for mel_FT, rng in zip(mel_BFT, rngs, strict=True):
            augment.mask_bands(mel_FT, settings, rng)
        return mel_BFT, self._labels_G[torch.from_numpy(members)]


@torch.inference_mode()
def _answer(model: nn.Module, log_mel: LogMel, windows: ClipWindows) -> npt.NDArray[np.float64]:
    model.eval()
    starts = range(0, len(windows.pcm_NS), _EVALUATION_BATCH)
    batches = (torch.from_numpy(windows.pcm_NS[start : start + _EVALUATION_BATCH]) for start in starts)
    probabilities_NC = torch.cat([model(log_mel(pcm_BS)).softmax(dim=1) for pcm_BS in batches]).numpy()
    return answer(log_probability_sums(probabilities_NC, windows.seconds_N, windows.clip_N, len(windows.label_G)))


def _epoch(
    number: int, training_loss: float, answer_GC: npt.NDArray[np.float64], label_G: npt.NDArray[np.int64]
) -> Epoch:
    loss = float(-np.log(answer_GC[np.arange(len(label_G)), label_G]).mean())
    return Epoch(number, training_loss, loss, unweighted_recall(label_G, answer_GC))
