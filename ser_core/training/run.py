"""A job -> models and reports in MODEL_DIR: fold after fold, what is done already left out; alone or one of several.

Shape letters: N clips of a set, C labels.

    MODEL_DIR/              the model, predictions.parquet (test clips) and report.json; with folds, the latter two,
    MODEL_DIR/fold-<n>/     and here each fold's
    MODEL_DIR/_training/    settings.json, and a fold's checkpoint until its model is there
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ser_core import storage
from ser_core.audio import LogMel, MelSettings, fit_log_mel
from ser_core.distributed import ProcessGroup
from ser_core.errors import UsageError
from ser_core.models import has_bf16
from ser_core.storage import write
from ser_core.training.checkpoint import State
from ser_core.training.data import (
    ClipLabels,
    Fold,
    FrontEnd,
    Numbers,
    Teachers,
    TrainingData,
    TrainingWindows,
    WaveformCache,
)
from ser_core.training.events import Callback, FoldBegan, FoldDone
from ser_core.training.job import Job
from ser_core.training.learner import Learner
from ser_core.training.loop import Trained, Training, num_steps
from ser_core.training.regression import fit_regression
from ser_core.training.report import FoldAnswers, is_done, write_fold

#: Number of windows that the constants of the features are fitted to, and how many are looked at together.
_MAX_FITTED_WINDOWS = 4_096
_FIT_BATCH = 64
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Who trains, where."""

    group: ProcessGroup
    device: torch.device
    #: That load batches ahead.
    num_threads: int = 0
    #: Rank 0 calls it before every write: it raises SerError when MODEL_DIR is another's by now.
    check_owner: Callable[[], None] = lambda: None


def open_waveforms(job: Job) -> WaveformCache:
    """This machine's decoded clips, decoded now where they are not there.

    Raises:
        SourceError: a clip cannot be decoded.
        OutputError: the cache's folder cannot be written.
    """
    return WaveformCache.open(job.manifest, job.cache_folder / "waveforms", job.mel.sample_rate_hz)


def run_job(job: Job, worker: Worker, callback: Callback, folds: Iterable[int] | None = None) -> None:
    """Train every fold that is not done; all workers must call it.

    Args:
        job: what to train.
        worker: who trains it.
        callback: called by rank 0.
        folds: by number from 0 on, these alone; None: all.

    Raises:
        SerError: one line that says what went wrong.
    """
    if job.config.precision == "bf16" and not has_bf16(worker.device.type):
        raise UsageError(
            f"precision: bf16: this {worker.device.type} can only emulate it, many times slower; set precision: fp32"
        )
    waveforms = open_waveforms(job)
    config = job.config
    windows = TrainingWindows.of(waveforms, job.windows, config.windows_per_clip, config.augmentation.overhang)
    for number in range(len(job.folds)) if folds is None else folds:
        leader_says = worker.group.broadcast(b"done" if worker.group.is_rank_0 and is_done(job, number) else b"to do")
        if leader_says != b"done":
            _FoldRun(job, number, waveforms, windows, worker, callback).run()


class _FoldRun:
    """One fold of a job."""

    def __init__(
        self,
        job: Job,
        number: int,
        waveforms: WaveformCache,
        windows: TrainingWindows,
        worker: Worker,
        callback: Callback,
    ) -> None:
        self._job, self._number, self._worker, self._callback = job, number, worker, callback
        self._fold: Fold = job.folds[number]
        self._waveforms, self._windows = waveforms, windows
        self._seconds: list[float] = []

    def run(self) -> None:
        job, config, worker = self._job, self._job.config, self._worker
        state = self._read_state()
        model = job.new_model().to(worker.device)
        log_mel = self._log_mel(state)
        front_end = FrontEnd(
            model, log_mel, worker.device, caches_encoded=config.cache_frozen, precision=config.precision
        )
        artifacts = job.teachers(self._number)
        teachers = Teachers(artifacts, config.distillation.temperature, worker.device) if artifacts else None
        clips = ClipLabels(job.manifest, job.labels)
        data = TrainingData(
            config, self._waveforms, self._windows, clips, front_end, teachers, worker.group, job.cache_folder
        )
        fold = self._fold
        evaluated_N = np.sort(np.concatenate([fold.validation_N, fold.calibration_N, fold.test_N]))
        data.prepare(fold.training_N, evaluated_N, self._callback if worker.group.is_rank_0 else _nobody)
        if model.regression is not None and state is None:
            fit_regression(model.regression, data, fold.training_N)
        learner = Learner(model, config, worker.group, worker.device, num_steps(config, len(fold.training_N)))
        training = Training(config, job.manifest, fold, data, learner, worker.group)
        if state is not None:
            training.load_state(state)
        if worker.group.is_rank_0:
            self._callback(FoldBegan(self._number, len(job.folds), config.epochs, training.history))
        trained = training.run(self._callback, self._saver(log_mel.settings), self._number, worker.num_threads)
        self._finish(training, trained, learner, log_mel)

    def _read_state(self) -> State | None:
        """The checkpoint, as rank 0 finds it."""
        where = self._job.checkpoint(self._number)
        data: bytes | None = None
        if self._worker.group.is_rank_0:
            try:
                data = storage.read(where)
            except FileNotFoundError:
                data = None
        data = self._worker.group.broadcast(data)
        return None if data is None else State.from_bytes(data, str(where))

    def _saver(self, mel: MelSettings) -> Callable[[State], None]:
        where = self._job.checkpoint(self._number)

        def save(state: State) -> None:
            self._worker.check_owner()
            write(where, State(state.tensors, state.facts | {"mel": mel.to_dict()}).to_bytes())

        return save

    def _log_mel(self, state: State | None) -> LogMel:
        """The features; their constants are those of windows that are learned from, as rank 0 has them.

        A model to start from keeps the ones that its weights have learned with.
        """
        if state is not None:
            return LogMel(MelSettings.from_dict(state.facts["mel"]))
        if self._job.start is not None:
            return self._job.start.log_mel()
        found: bytes | None = None
        if self._worker.group.is_rank_0:
            scored = np.concatenate([self._windows.scored[clip] for clip in self._fold.training_N])
            chosen = scored[np.unique(np.linspace(0, len(scored) - 1, _MAX_FITTED_WINDOWS).astype(np.int64))]
            found = json.dumps(fit_log_mel(self._batches(chosen), self._job.mel).settings.to_dict()).encode()
        found = self._worker.group.broadcast(found)
        assert found is not None
        return LogMel(MelSettings.from_dict(json.loads(found)))

    def _batches(self, window_N: Numbers) -> Any:
        for start in range(0, len(window_N), _FIT_BATCH):
            yield torch.from_numpy(self._windows.read(self._waveforms, window_N[start : start + _FIT_BATCH]))

    def _finish(self, training: Training, trained: Trained, learner: Learner, log_mel: LogMel) -> None:
        """Answer the temperature and test clips with what is kept, and write it."""
        is_half = self._job.config.weights_dtype == "fp16"
        weights = _as_stored(trained.weights, learner.model) if is_half else trained.weights
        answers = FoldAnswers(
            calibration_NC=training.answer_clips(weights, self._fold.calibration_N),
            test_NC=training.answer_clips(weights, self._fold.test_N),
        )
        if self._worker.group.is_rank_0:
            self._worker.check_owner()
            with learner.with_weights(weights) as model:
                write_fold(self._job, self._number, model, log_mel, trained, answers)
            storage.delete(self._job.checkpoint(self._number))
            self._callback(FoldDone(self._number))
        self._worker.group.barrier()


def _as_stored(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """In half precision, so that what is measured is what is kept."""
    halved = {name for name, _ in model.named_parameters()}
    return {name: value.half().float() if name in halved else value for name, value in weights.items()}


def _nobody(_: Any) -> None:
    return None
