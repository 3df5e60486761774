"""A model that learns: its loss, its steps, alone or as one of several workers, and its state as one file.

Shape letters: B windows of this worker's part of a step, K classifiers, C labels.
"""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from ser_core.distributed import ProcessGroup
from ser_core.errors import ArtifactError
from ser_core.models import SpeechModel
from ser_core.training.config import Distillation, TrainConfig
from ser_core.training.data import Batch

#: Share of the steps in which the learning rate rises.
_WARMUP_SHARE = 0.15
_MIN_RISING_STEPS = 1.5
_EMA, _MODEL, _OPTIMIZER = "ema.", "model.", "optimizer."
_FACTS = "facts"
_LENGTH_BYTES = 8


@dataclass(frozen=True)
class State:
    """Tensors by name, and what JSON can hold."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin so, without it."""
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}

    def to_bytes(self) -> bytes:
        """A safetensors file; the facts are in its metadata."""
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in self.tensors.items()}
        return save(tensors, {_FACTS: json.dumps(self.facts)})

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> "State":
        """Raises ArtifactError, naming `where`, when it is no such file."""
        try:
            tensors = load(data)
            header_bytes = int.from_bytes(data[:_LENGTH_BYTES], "little")
            header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + header_bytes])
            return cls(tensors, json.loads(header["__metadata__"][_FACTS]))
        except (SafetensorError, ValueError, KeyError) as error:
            raise ArtifactError(f"{where}: is no checkpoint of this program; begin anew with --restart") from error


class Learner:
    """A model, its optimizer and schedule, and the exponential moving average (EMA) of its weights."""

    def __init__(
        self, model: SpeechModel, config: TrainConfig, group: ProcessGroup, device: torch.device, num_steps: int
    ) -> None:
        """Take over a model that is on the device already; `num_steps` is the number of steps of the whole training."""
        self.model = model
        self._config, self._group, self._device = config, group, device
        self._module: nn.Module = _Encoded(model)
        if group.size > 1:
            devices = [device] if device.type == "cuda" else None
            self._module = DistributedDataParallel(self._module, device_ids=devices)
        self._optimizer = self._new_optimizer()
        self._schedule = self._new_schedule(num_steps)
        self._learning = _learning(model)
        self._ema = {name: value.detach().clone() for name, value in self._learning.items()}
        self._num_steps = 0

    def _new_optimizer(self) -> torch.optim.Optimizer:
        config = self._config
        of_encoder = config.learning_rate if config.weights is None else config.encoder_learning_rate
        groups = self.model.parameter_groups(config.learning_rate, of_encoder, config.layer_rate_decay)
        return torch.optim.AdamW(groups, weight_decay=config.weight_decay)

    def _new_schedule(self, num_steps: int) -> LRScheduler | None:
        if self._config.schedule == "none":
            return None
        peaks = [group["lr"] for group in self._optimizer.param_groups]
        # torch divides by the length of both parts, less one step.
        num_rising = min(max(_WARMUP_SHARE * num_steps, _MIN_RISING_STEPS), max(num_steps - 0.5, 0.5))
        return OneCycleLR(self._optimizer, peaks, total_steps=num_steps, pct_start=num_rising / num_steps)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the first group of parameters, now."""
        return float(self._optimizer.param_groups[0]["lr"])

    def step(self, batch: Batch, epoch: int, number: int) -> Tensor:
        """Learn from a step; returns this worker's part of its loss, a sum over windows.

        Dropout draws from a generator of (seed, epoch, step, worker), so that a training that goes on from a
        checkpoint draws as if it had never stopped.
        """
        key = (self._config.seed, epoch, number, self._group.rank)
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
        with self._autocast():
            logits = self._module(batch.encoded)
        loss = loss_of_windows(logits.float(), batch, self._config.distillation).sum()
        self._optimizer.zero_grad()
        # The mean over workers of their sums, times the workers, is the sum over all windows.
        (loss * (self._group.size / batch.num_examples)).backward()  # type: ignore[no-untyped-call]
        if self._config.grad_clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self._config.grad_clip_norm)
        self._optimizer.step()
        if self._schedule is not None:
            self._schedule.step()
        self._update_ema()
        return loss.detach()

    @torch.no_grad()
    def _update_ema(self) -> None:
        """Move the exponential moving average (EMA) of the weights; its first value is the first step's.

        After n steps the decay is at most (1 + n) / (10 + n), as TensorFlow's ExponentialMovingAverage has it: a short
        training would otherwise be judged by the weights it began with.
        """
        decay = min(self._config.ema_decay, (1 + self._num_steps) / (10 + self._num_steps))
        weight = 1 - decay if self._num_steps else 1.0
        self._num_steps += 1
        floating = [name for name in self._ema if self._ema[name].is_floating_point()]
        torch._foreach_lerp_(
            [self._ema[name] for name in floating], [self._learning[name].detach() for name in floating], weight
        )
        for name in self._ema.keys() - set(floating):
            self._ema[name].copy_(self._learning[name])

    def ema_weights(self) -> dict[str, Tensor]:
        """A copy of the averaged (EMA) weights and statistics, on the CPU; what never changes is left out."""
        return {name: value.detach().cpu().clone() for name, value in self._ema.items()}

    @contextmanager
    def with_weights(self, weights: dict[str, Tensor]) -> Iterator[SpeechModel]:
        """The model in evaluation mode with these weights; it gets its own back at the end."""
        own = {name: value.detach().clone() for name, value in self._learning.items()}
        _copy(weights, self._learning)
        try:
            yield self.model.eval()
        finally:
            _copy(own, self._learning)
            self.model.train()

    @torch.no_grad()
    def logits(self, encoded: Tensor) -> Tensor:
        """Float32 logits (B, C) of the model as it is now, from what `forward_encoded` takes."""
        with self._autocast():
            logits_BC = self.model.forward_encoded(encoded)
        return logits_BC.float()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._config.precision == "bf16")

    def state(self) -> State:
        """Everything that the next step depends on."""
        optimizer = self._optimizer.state_dict()
        tensors = {_MODEL + name: value.detach() for name, value in self._learning.items()}
        tensors |= {_EMA + name: value for name, value in self._ema.items()}
        for index, values in optimizer["state"].items():
            tensors |= {f"{_OPTIMIZER}{index}.{name}": value for name, value in values.items()}
        facts = {
            "param_groups": optimizer["param_groups"],
            "schedule": None if self._schedule is None else self._schedule.state_dict(),
            "num_steps": self._num_steps,
        }
        return State(tensors, facts)

    def load_state(self, state: State) -> None:
        """Go on from a state of a learner made with the same settings."""
        _copy(state.part(_MODEL), self._learning)
        _copy(state.part(_EMA), self._ema)
        parameters = list(itertools.chain(*(group["params"] for group in self._optimizer.param_groups)))
        restored: dict[int, dict[str, Tensor]] = {}
        for name, value in state.part(_OPTIMIZER).items():
            index, _, field = name.partition(".")
            # In the parameter's own layout, so that every step is computed as it would have been.
            like = parameters[int(index)] if value.dim() else value
            restored.setdefault(int(index), {})[field] = torch.empty_like(like, dtype=value.dtype).copy_(value)
        self._optimizer.load_state_dict({"state": restored, "param_groups": state.facts["param_groups"]})
        if self._schedule is not None:
            self._schedule.load_state_dict(state.facts["schedule"])
        self._num_steps = state.facts["num_steps"]


class _Encoded(nn.Module):
    """The part of a model that learns, as a module for DistributedDataParallel."""

    def __init__(self, model: SpeechModel) -> None:
        super().__init__()
        self._model = model

    def forward(self, encoded: Tensor) -> Tensor:
        return self._model.forward_encoded(encoded)


def _learning(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that learn and the statistics that follow them, by name; without what is frozen."""
    parameters: dict[str, Tensor] = {name: value for name, value in model.named_parameters() if value.requires_grad}
    stored = model.state_dict(keep_vars=True)
    return parameters | {name: value for name, value in model.named_buffers() if name in stored}


@torch.no_grad()
def _copy(values: dict[str, Tensor], into: dict[str, Tensor]) -> None:
    for name, value in into.items():
        value.copy_(values[name])


def loss_of_windows(logits: Tensor, batch: Batch, distillation: Distillation) -> Tensor:
    """The loss (B,) of each window: cross-entropy of its target, and where there are teachers divergence from them.

    Args:
        logits: (B, C), or of several classifiers (B, K, C), whose losses are averaged.
        batch: the targets, and the probabilities of the teachers.
        distillation: how the teachers count.
    """
    each_BC = logits.unbind(dim=1) if logits.dim() == 3 else (logits,)
    return torch.stack([_loss(logits_BC, batch, distillation) for logits_BC in each_BC]).mean(dim=0)


def _loss(logits_BC: Tensor, batch: Batch, distillation: Distillation) -> Tensor:
    loss_B = cross_entropy(logits_BC, batch.target_BC, reduction="none")
    if batch.teacher_BC is None:
        return loss_B
    temperature, weight = distillation.temperature, distillation.weight
    # Gradients shrink by the square of the temperature (Hinton et al. 2015, arXiv 1503.02531, section 2).
    divergence_B = temperature**2 * divergence(logits_BC / temperature, batch.teacher_BC)
    return (1 - weight) * loss_B + weight * divergence_B


def divergence(logits_BC: Tensor, target_BC: Tensor) -> Tensor:
    """Kullback-Leibler divergence (B,) of the predictions of logits (B, C) from target probabilities (B, C)."""
    gap_BC = target_BC.clamp(min=1e-12).log() - log_softmax(logits_BC, dim=1)
    return (target_BC * gap_BC).sum(dim=1)
