"""A fold's clips -> a trained model: the loop, alone or as one of several workers; it goes on from its checkpoint.

Shape letters: G clips, W windows, C labels, X = C + 1: labels, then seconds.

Everything random is keyed by (seed, epoch, example), and dropout by (seed, epoch, step, worker): broken off
anywhere and continued, with as many workers and threads, on the same kind of CPU, it gives the same weights to the bit.
"""

import dataclasses
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ser_core.aggregation import aggregate, log_probability_sums
from ser_core.errors import SerError
from ser_core.evaluation import LabelSets, accuracy, uar
from ser_core.training.config import TrainConfig
from ser_core.training.data import Numbers, TrainingData, plan_epoch, split_steps
from ser_core.training.events import Callback, EpochDone, EpochRecord, StepDone
from ser_core.training.job import Fold
from ser_core.training.learner import Learner, State

_EVALUATION_BATCH = 64
_REPORT_EVERY_SECONDS = 1.0
_BEST = "best."
Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Trained:
    """The learned weights of the best epoch, and the history of all epochs."""

    weights: dict[str, Tensor]
    best: EpochRecord
    history: tuple[EpochRecord, ...]


class Training:
    """One fold's training."""

    def __init__(self, fold: Fold, data: TrainingData, learner: Learner) -> None:
        """`learner` is new; `data` is prepared for the fold."""
        self._fold, self._data, self._learner = fold, data, learner
        self._config, self._group = fold.job.config, data.group
        self._history: list[EpochRecord] = []
        self._best: dict[str, Tensor] = {}
        self._validation = fold.job.manifest.take(fold.sets.validation_N)
        self._corpus_labels = fold.job.manifest.labels_by_corpus()

    def load_state(self, state: State) -> None:
        """Go on from what `save` got."""
        self._learner.load_state(state)
        self._history = [EpochRecord(**values) for values in state.facts["history"]]
        self._best = state.part(_BEST)

    def run(self, callback: Callback, save: Callable[[State], None], num_threads: int = 0) -> Trained:
        """Train to the end; all workers must call it.

        Args:
            callback: rank 0 calls it with how it goes.
            save: rank 0 calls it with the state after every epoch.
            num_threads: number of threads that load ahead.

        Raises:
            SerError: the loss is no number any more, or rank 0 could not save.
        """
        while len(self._history) < self._config.epochs:
            began = time.monotonic()
            record = self._epoch(len(self._history), callback, num_threads)
            self._history.append(record)
            if record == self._best_record():
                self._best = self._learner.ema_weights()

            def finish_epoch(began: float = began, record: EpochRecord = record) -> None:
                save(self._state())
                callback(EpochDone(self._fold.number, record, time.monotonic() - began))

            self._group.broadcast(finish_epoch)
        return Trained(self._best, self._best_record(), tuple(self._history))

    @property
    def history(self) -> tuple[EpochRecord, ...]:
        """The epochs so far."""
        return tuple(self._history)

    def _best_record(self) -> EpochRecord:
        return max(self._history, key=lambda record: record.score)

    def _state(self) -> State:
        state = self._learner.state()
        facts = state.facts | {"history": [dataclasses.asdict(record) for record in self._history]}
        return State(state.tensors | {_BEST + name: value for name, value in self._best.items()}, facts)

    def _epoch(self, index: int, callback: Callback, num_threads: int) -> EpochRecord:
        config, training_N = self._config, self._fold.sets.training_N
        plan = plan_epoch(
            config.seed, index, self._data.clips.stratum_G[training_N], config.sampling, config.batch_size,
            config.augmentation,
        )  # fmt: skip
        self._learner.model.train()
        total = torch.zeros(2, dtype=torch.float64)
        losses: list[Tensor] = []
        last_report = time.monotonic()
        for number, batch in enumerate(self._data.batches(plan, training_N, num_threads)):
            losses.append(self._learner.step(batch, index, number))
            total[1] += batch.num_examples
            if self._group.is_rank_0 and time.monotonic() - last_report >= _REPORT_EVERY_SECONDS:
                last_report = time.monotonic()
                loss = float(torch.stack(losses).sum()) * self._group.size / float(total[1])
                callback(StepDone(index + 1, number + 1, len(plan.steps), loss))
        total[0] = torch.stack(losses).double().sum().cpu()
        # The weights are everyone's already.
        self._group.all_reduce(total[:1])
        loss = float(total[0] / total[1])
        if not np.isfinite(loss):
            raise SerError(f"epoch {index + 1}: the loss is no number any more; use a smaller learning_rate")
        metrics = self._validate() if len(self._validation) else {}
        return EpochRecord(number=index + 1, loss=loss, learning_rate=self._learner.learning_rate, **metrics)

    def _validate(self) -> dict[str, float]:
        """Metrics of the EMA weights on the validation clips."""
        probabilities_GC = self.predict_clips(self._learner.ema_weights(), self._fold.sets.validation_N)
        sets = LabelSets(self._validation, self._data.clips.labels, self._corpus_labels)
        restricted_GC = sets.restricted(probabilities_GC)
        predicted_G = restricted_GC.argmax(axis=1)
        right_G = np.maximum(restricted_GC[np.arange(len(predicted_G)), sets.label_G], np.finfo(np.float64).tiny)
        return {
            "validation_loss": float(-np.log(right_G).mean()),
            "validation_accuracy": accuracy(sets.label_G, predicted_G),
            "validation_uar": uar(sets.label_G, predicted_G),
        }

    def predict_clips(self, weights: dict[str, Tensor], clip_N: Numbers) -> Floats:
        """The predictions (N, C) of the model with these weights, at temperature 1; all workers must call it.

        Of a clip without speech there is none: NaN.
        """
        sums_NX = np.zeros((len(clip_N), len(self._data.clips.labels) + 1))
        mine = self._group.shard_of(len(clip_N))
        with self._learner.with_weights(weights):
            window_W, owner_W, seconds_W = self._data.scored_windows(clip_N[mine])
            parts = [self._probabilities(window_W[start : start + _EVALUATION_BATCH])
                     for start in range(0, len(window_W), _EVALUATION_BATCH)]  # fmt: skip
        if parts:
            sums_NX[mine] = log_probability_sums(np.concatenate(parts), seconds_W, owner_W, mine.stop - mine.start)
        sums_NX = self._group.all_reduce(torch.from_numpy(sums_NX)).numpy()
        predictions_NC = aggregate(sums_NX)
        predictions_NC[sums_NX[:, -1] == 0] = np.nan
        return predictions_NC

    def _probabilities(self, window_B: Numbers) -> npt.NDArray[np.float32]:
        probabilities_BC: npt.NDArray[np.float32] = (
            self._learner.logits(self._data.encoded(window_B)).softmax(dim=1).cpu().numpy()
        )
        return probabilities_BC


def num_steps(config: TrainConfig, num_clips: int) -> int:
    """Number of steps of a whole training."""
    return config.epochs * len(split_steps(num_clips, config.batch_size))
