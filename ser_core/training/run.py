"""A job -> models and reports in MODEL_DIR: fold after fold, what is done already left out; alone or one of several.

Shape letters: N clips of a set, C labels.

    MODEL_DIR/              the model, predictions.parquet (of the test clips) and report.json; with folds only the
                            latter two, pooled
    MODEL_DIR/fold-<n>/     the same of each fold
    MODEL_DIR/_training/    settings.json, and a fold's checkpoint until its model is there
"""

import dataclasses
import socket
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ser_core import storage
from ser_core.audio import LogMel, MelSettings, fit_log_mel
from ser_core.corpora import Manifest
from ser_core.distributed import ProcessGroup
from ser_core.errors import UsageError
from ser_core.models import Artifact, has_bf16
from ser_core.storage import write
from ser_core.temporary import private_folder
from ser_core.training.data import (
    ClipLabels,
    FrontEnd,
    Numbers,
    Teachers,
    TrainingData,
    TrainingWindows,
    WaveformCache,
    cache_of_windows,
    check_sets,
    with_clips_of_speech,
    with_speech,
)
from ser_core.training.events import Callback, FoldBegan, FoldDone
from ser_core.training.fitting import fit_reference, fit_regression
from ser_core.training.job import Fold, Job
from ser_core.training.learner import Learner, State
from ser_core.training.loop import Trained, Training, num_steps
from ser_core.training.report import FoldPredictions, is_done, write_fold

#: Number of windows that the constants of the features are fitted to, and of those that are read together.
_MAX_FITTED_WINDOWS = 4_096
_FIT_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One of the processes that train: its rank, its device, and what it must ask before it writes."""

    group: ProcessGroup
    device: torch.device
    #: Number of threads that load batches ahead.
    num_threads: int = 0
    #: Rank 0 calls it before every write: it raises SerError when MODEL_DIR is another's by now.
    check_owner: Callable[[], None] = lambda: None


def open_waveforms(job: Job) -> WaveformCache:
    """This machine's decoded clips, decoded now where they are not there.

    Raises:
        SourceError: a clip cannot be decoded.
        OutputError: the cache's folder cannot be written.
    """
    waveforms = WaveformCache.open(job.manifest, job.cache_folder / "waveforms", job.mel.sample_rate_hz)
    if job.config.cache_dir is None:
        # This program's own, whoever made it; a folder that was named is closed below its top alone.
        private_folder(job.cache_folder)
    return waveforms


def run_job(job: Job, worker: Worker, callback: Callback, folds: Iterable[int] | None = None) -> None:
    """Train every fold that is not done; all workers must call it.

    Args:
        job: what to train.
        worker: who trains it.
        callback: called by rank 0.
        folds: by number from 0 on, these alone; None: all.

    Raises:
        SerError: one line that says what went wrong; whichever worker found it, all raise it.
    """
    with nullcontext() if job.code is None else job.code.in_use():
        _run_job(job, worker, callback, folds)


def _run_job(job: Job, worker: Worker, callback: Callback, folds: Iterable[int] | None) -> None:
    worker.group.together(lambda: _check_precision(job, worker.device.type))
    found: list[WaveformCache] = []
    worker.group.together(lambda: found.append(open_waveforms(job)))
    config, waveforms = job.config, found[0]
    windows = with_speech(
        TrainingWindows.of(waveforms, job.windows, config.windows_per_clip, config.augmentation.overhang),
        waveforms,
        config.speech_settings,
        worker.group,
        cache_of_windows(config, waveforms, job.cache_folder),
        callback if worker.group.is_rank_0 else _nobody,
    )
    for number in range(job.num_folds) if folds is None else folds:
        fold = job.fold(number)
        if not worker.group.broadcast(lambda fold=fold: is_done(fold)):  # type: ignore[misc]
            fold = dataclasses.replace(_spoken(fold, windows, worker.group.size), decoded=_decoded(waveforms, job))
            _FoldRun(fold, waveforms, windows, worker, callback).run()


def _decoded(waveforms: WaveformCache, job: Job) -> Manifest:
    """The clips with what decoding told of them."""
    samples_N = np.array([waveforms.num_samples(clip) for clip in range(len(waveforms))])
    return job.manifest.decoded(samples_N / job.mel.sample_rate_hz, waveforms.hash_N)


def _spoken(fold: Fold, windows: TrainingWindows, num_workers: int) -> Fold:
    """The fold without clips in which nobody speaks; UsageError where too few are left."""
    sets = with_clips_of_speech(fold.sets, windows)
    check_sets(sets, fold.job.manifest, fold.job.config, num_workers)
    return dataclasses.replace(fold, sets=sets)


def _check_precision(job: Job, device: str) -> None:
    if job.config.precision == "bf16" and not has_bf16(device):
        raise UsageError(
            f"precision: bf16: the {device} of {socket.gethostname()} can only emulate it, many times slower; "
            "set precision: fp32"
        )


class _FoldRun:
    """One fold of a job."""

    def __init__(
        self, fold: Fold, waveforms: WaveformCache, windows: TrainingWindows, worker: Worker, callback: Callback
    ) -> None:
        self._fold, self._job, self._worker, self._callback = fold, fold.job, worker, callback
        self._waveforms, self._windows = waveforms, windows

    def run(self) -> None:
        config, group, sets = self._job.config, self._worker.group, self._fold.sets
        state = group.broadcast(self._read_state)
        group.together(self._load)
        start, model = self._job.start.artifact, self._model
        log_mel = LogMel(group.broadcast(lambda: self._mel(state))) if start is None else self._started(start)
        data = self._data(FrontEnd(
            model, log_mel, self._worker.device, caches_encoded=config.cache_frozen, precision=config.precision
        ))  # fmt: skip
        evaluated_N = np.sort(np.concatenate([sets.validation_N, sets.calibration_N, sets.test_N, sets.sample_N]))
        data.prepare(sets.training_N, evaluated_N, self._callback if group.is_rank_0 else _nobody)
        if model.regression is not None and state is None:
            fit_regression(model.regression, data, sets.training_N)
        learner = Learner(model, config, group, self._worker.device, num_steps(config, len(sets.training_N)))
        training = Training(self._fold, data, learner)
        if state is not None:
            training.load_state(state)
        if group.is_rank_0:
            self._callback(FoldBegan(self._fold.number, self._job.num_folds, config.epochs, training.history))
        trained = training.run(self._callback, self._saver(log_mel.settings), self._worker.num_threads)
        self._finish(training, trained, learner, data, log_mel)

    def _load(self) -> None:
        """Read what each worker reads for itself, so that all know when one cannot."""
        self._model = self._job.new_model().to(self._worker.device)
        _ = self._fold.teachers

    def _data(self, front_end: FrontEnd) -> TrainingData:
        job, teachers = self._job, None
        if self._fold.teachers:
            teachers = Teachers(self._fold.teachers, job.config.distillation.temperature, self._worker.device)
        labels = ClipLabels(job.manifest, job.labels)
        return TrainingData(
            job.config, self._waveforms, self._windows, labels, front_end, teachers, self._worker.group,
            job.cache_folder,
        )  # fmt: skip

    def _read_state(self) -> State | None:
        """The checkpoint, where there is one."""
        where = self._fold.checkpoint
        try:
            return State.from_bytes(storage.read(where), str(where))
        except FileNotFoundError:
            return None

    def _saver(self, mel: MelSettings) -> Callable[[State], None]:
        def save(state: State) -> None:
            self._worker.check_owner()
            write(self._fold.checkpoint, State(state.tensors, state.facts | {"mel": mel.to_dict()}).to_bytes())

        return save

    def _mel(self, state: State | None) -> MelSettings:
        """The features; their constants are fitted to windows that are learned from."""
        if state is not None:
            return MelSettings.from_dict(state.facts["mel"])
        scored = np.concatenate([self._windows.scored[clip] for clip in self._fold.sets.training_N])
        chosen = scored[np.unique(np.linspace(0, len(scored) - 1, _MAX_FITTED_WINDOWS).astype(np.int64))]
        return fit_log_mel(self._batches(chosen), self._job.mel).settings

    def _started(self, start: Artifact) -> LogMel:
        """With the constants that the weights of the model to start from were trained with."""
        theirs = start.config.mel
        mel = self._job.mel.replace(mean_db=theirs.mean_db, std_db=theirs.std_db)
        return LogMel(mel, start.log_mel().filterbank_FK)

    def _batches(self, window_N: Numbers) -> Any:
        for start in range(0, len(window_N), _FIT_BATCH):
            yield torch.from_numpy(self._windows.read(self._waveforms, window_N[start : start + _FIT_BATCH]))

    def _finish(
        self, training: Training, trained: Trained, learner: Learner, data: TrainingData, log_mel: LogMel
    ) -> None:
        """Predict the calibration and test clips with the best weights, and write model and report."""
        is_rounded = self._job.config.weights_dtype != "fp32"
        weights = _as_stored(trained.weights, learner.model) if is_rounded else trained.weights
        predictions = FoldPredictions(
            calibration_NC=training.predict_clips(weights, self._fold.sets.calibration_N),
            test_NC=training.predict_clips(weights, self._fold.sets.test_N),
            sample_NC=training.predict_clips(weights, self._fold.sets.sample_N),
        )

        with learner.with_weights(weights) as model:
            reference = fit_reference(model, data, self._fold.sets.training_N)

        def write_all() -> None:
            self._worker.check_owner()
            with learner.with_weights(weights) as model:
                write_fold(self._fold, model, log_mel, trained, predictions, reference)
            storage.delete(self._fold.checkpoint)
            self._callback(FoldDone(self._fold.number))

        self._worker.group.broadcast(write_all)


def _as_stored(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The weights that learn, rounded to half precision, so that what is measured is what is stored."""
    halved = {name for name, _ in model.named_parameters()}
    return {name: value.half().float() if name in halved else value for name, value in weights.items()}


def _nobody(_: Any) -> None:
    return None
