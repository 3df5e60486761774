"""Artifact + windows -> calibrated probabilities, on any device, in batches of one fixed shape.

Shape letters: N windows of one call, B batch size, S samples of a window, F mel bands, T frames, C labels,
P features, R components.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ser_core.errors import ArtifactError
from ser_core.models.artifact import Artifact
from ser_core.score_config import FeaturesOn
from ser_core.settings import ResolvedDevice, ResolvedPrecision


class Predictor:
    """Holds a model on one device. The same window gets the same prediction whatever it is batched with."""

    def __init__(
        self,
        artifact: Artifact,
        *,
        device: ResolvedDevice = "cpu",
        precision: ResolvedPrecision = "fp32",
        batch_size: int = 64,
        features_on: FeaturesOn = "cpu",
        num_threads: int | None = None,
    ) -> None:
        """Load the model onto `device`, as `resolve_device` gives it.

        Args:
            artifact: a checked model.
            device: where the model runs.
            precision: bf16 runs the network (never the features or the softmax) under autocast.
            batch_size: windows of every batch; a short one is padded.
            features_on: `cpu`: payloads are log-mel; `device`: payloads are waveforms, mel is computed here.
            num_threads: CPU threads of torch in this process; None leaves them alone.
        """
        self.artifact = artifact
        self._device = torch.device(device)
        self._precision = precision
        #: Windows of every batch.
        self.batch_size = batch_size
        self._num_threads = num_threads
        self._model = artifact.model().to(self._device)
        if precision == "bf16":
            _hold_in_bf16(self._model)
        self._log_mel = artifact.log_mel().to(self._device) if features_on == "device" else None
        adaptation = artifact.config.adaptation
        shift = (0.0,) * len(artifact.config.labels) if adaptation is None else adaptation.shift
        self._shift_C = torch.tensor(shift, dtype=torch.float32, device=self._device)
        # TF32 would move fp32 predictions by more than the 1e-3 promised between CPU and GPU.
        torch.backends.cudnn.allow_tf32 = False

    def predict(self, payload: np.ndarray) -> np.ndarray:
        """Probabilities (N, C), float32, each row summing to 1.

        Args:
            payload: float32, may be read-only: log-mel (N, F, T), or, with features on the device, pcm (N, S).

        Raises:
            ArtifactError: the model gave something that is no number.
        """
        parts = [probabilities_NC for (probabilities_NC,) in self._in_batches(payload, self._predict_batch)]
        probabilities_NC = np.concatenate([np.zeros((0, len(self._shift_C)), np.float32), *parts])
        if not np.isfinite(probabilities_NC).all():
            raise ArtifactError(
                f"model '{self.artifact.identity}': its prediction is no number; the weights are broken"
            )
        return probabilities_NC

    def statistics(self, payload: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits (N, C), without temperature, and components (N, R) of the model's reference, float32.

        Args:
            payload: as for `predict`.

        Raises:
            ArtifactError: the model cannot be adapted, or is already.
        """
        components_PR = torch.from_numpy(self.artifact.require_adaptable().components_PR).to(self._device)
        parts = list(self._in_batches(payload, lambda batch: self._describe_batch(batch, components_PR)))
        empty = np.zeros((0, len(self._shift_C)), np.float32), np.zeros((0, components_PR.shape[1]), np.float32)
        logits_NC, components_NR = (np.concatenate(columns) for columns in zip(empty, *parts, strict=True))
        return logits_NC, components_NR

    def _in_batches(
        self, payload: np.ndarray, run: Callable[[Tensor], tuple[Tensor, ...]]
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """What `run` gives of each batch, without the rows that filled it up."""
        if self._num_threads is not None:
            # Here, not in __init__: the setting belongs to the calling thread.
            torch.set_num_threads(self._num_threads)
        for start in range(0, len(payload), self.batch_size):
            windows = payload[start : start + self.batch_size]
            batch = np.zeros((self.batch_size, *payload.shape[1:]), dtype=np.float32)
            batch[: len(windows)] = windows
            values = run(torch.from_numpy(batch).to(self._device))
            yield tuple(value[: len(windows)].cpu().numpy() for value in values)

    @torch.inference_mode()
    def _predict_batch(self, batch: Tensor) -> tuple[Tensor, ...]:
        with self._autocast():
            logits_BC = self._model(self._mel(batch))
        logits_BC = logits_BC.float() - self._shift_C
        return ((logits_BC / self.artifact.config.temperature).softmax(dim=1),)

    @torch.inference_mode()
    def _describe_batch(self, batch: Tensor, components_PR: Tensor) -> tuple[Tensor, ...]:
        with self._autocast():
            encoded = self._model.encode_frozen(self._mel(batch))
            logits_BC = self._model.forward_encoded(encoded)
            features_BP = self._model.regression_features(encoded)
        return logits_BC.float(), features_BP.float() @ components_PR

    def _mel(self, batch: Tensor) -> Tensor:
        mel_BFT: Tensor = batch if self._log_mel is None else self._log_mel(batch)
        return mel_BFT

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._precision == "bf16")


def _hold_in_bf16(model: nn.Module) -> None:
    """Round once the weights that autocast would round for every batch: the predictions are the same."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            module.to(torch.bfloat16)
