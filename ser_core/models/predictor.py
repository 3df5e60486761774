"""Artifact + windows -> what the model says of them, on any device, in batches of one fixed shape.

Shape letters: N windows of one call, B batch size, S samples of a window, F mel bands, T frames, C labels,
E values of an embedding, R components.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ser_core.errors import ArtifactError
from ser_core.models.artifact import Artifact
from ser_core.models.engine.embedder import Embedder
from ser_core.models.layers import fold_batch_norms
from ser_core.models.output import ModelOutput
from ser_core.models.tensors import require_embeddings
from ser_core.score_config import FeaturesOn
from ser_core.settings import ResolvedDevice, ResolvedPrecision, Threads

_ALL = Threads()


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
        threads: Threads = _ALL,
        gives_embeddings: bool = False,
        gives_components: bool = False,
    ) -> None:
        """Load the model onto `device`, as `resolve_device` gives it.

        Args:
            artifact: a checked model.
            device: where the model runs.
            precision: bf16 runs the network (never the features or the softmax) under autocast.
            batch_size: windows of every batch; a short one is padded.
            features_on: `cpu`: payloads are log-mel; `device`: payloads are waveforms, mel is computed here.
            threads: of the CPU, here.
            gives_embeddings: whether outputs hold them.
            gives_components: whether outputs hold those of the model's reference.

        Raises:
            ArtifactError: embeddings are asked for, and the architecture gives none; or components, and the model
                cannot be adapted, or is already.
        """
        self.artifact = artifact
        self._device = torch.device(device)
        self._precision = precision
        #: Windows of every batch.
        self.batch_size = batch_size
        self._num_threads = threads.per_batch
        self._model = artifact.model().to(self._device)
        if artifact.config.code is None:
            # Code that is not this program's may read between two layers.
            fold_batch_norms(self._model)
        self._gives_embeddings = gives_embeddings
        if self._gives_embeddings:
            require_embeddings(artifact.identity, artifact.config.architecture, self._model)
        self._components_PR: Tensor | None = None
        if gives_components:
            self._components_PR = torch.from_numpy(artifact.require_adaptable().components_PR).to(self._device)
        self._embedder: Embedder | None = None
        # Whoever asks about one window at a time has few: torch is done with them before OpenVINO begins.
        if batch_size > 1 and device == "cpu" and self._model.has_embeddings:
            num_threads = threads.per_batch or torch.get_num_threads()
            self._embedder = Embedder(
                artifact, precision=precision, num_threads=num_threads, num_callers=threads.num_callers
            )
        if precision == "bf16":
            _hold_in_bf16(self._model)
        self._log_mel = artifact.log_mel().to(self._device) if features_on == "device" else None
        adaptation = artifact.config.adaptation
        shift = (0.0,) * len(artifact.config.labels) if adaptation is None else adaptation.shift
        self._shift_C = torch.tensor(shift, dtype=torch.float32, device=self._device)
        # TF32 would move fp32 predictions by more than the 1e-3 promised between CPU and GPU.
        torch.backends.cudnn.allow_tf32 = False

    def predict(self, payload: np.ndarray) -> ModelOutput:
        """What the model says of windows.

        Args:
            payload: float32, may be read-only: log-mel (N, F, T), or, with features on the device, pcm (N, S).

        Raises:
            ArtifactError: the model gave something that is no number.
        """
        return self._output(payload, self._predict_batch)

    def predict_embedded(self, embeddings_NE: np.ndarray) -> ModelOutput:
        """The same from the windows' embeddings: only the model's last layers are computed.

        Args:
            embeddings_NE: float16, those of a model with the same encoder (`Artifact.encoder`).

        Raises:
            ArtifactError: the model gave something that is no number.
        """
        return self._output(embeddings_NE, self._classify_batch)

    def _output(self, payload: np.ndarray, run: Callable[[Tensor], dict[str, Tensor]]) -> ModelOutput:
        """What `run` gives of batches, without the rows that filled them up."""
        if not len(payload):
            # A batch of nothing tells the shapes.
            empty = np.zeros((1, *payload.shape[1:]), np.float32)
            return ModelOutput(**{name: values[:0] for name, values in next(self._in_batches(empty, run)).items()})
        parts = list(self._in_batches(payload, run))
        output = ModelOutput(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
        is_number = np.isfinite(output.probabilities_NC).all()
        if not is_number or not (output.embeddings_NE is None or np.isfinite(output.embeddings_NE).all()):
            what = "an embedding does not fit float16" if is_number else "its prediction is no number"
            raise ArtifactError(f"model '{self.artifact.identity}': {what}; the weights are broken")
        return output

    def _in_batches(
        self, payload: np.ndarray, run: Callable[[Tensor], dict[str, Tensor]]
    ) -> Iterator[dict[str, np.ndarray]]:
        """What `run` gives of each batch, without the rows that filled it up."""
        if self._num_threads is not None:
            # Here, not in __init__: the setting belongs to the calling thread.
            torch.set_num_threads(self._num_threads)
        for start in range(0, len(payload), self.batch_size):
            windows = payload[start : start + self.batch_size]
            batch = np.zeros((self.batch_size, *payload.shape[1:]), dtype=np.float32)
            batch[: len(windows)] = windows
            values = run(torch.from_numpy(batch).to(self._device))
            yield {name: value[: len(windows)].cpu().numpy() for name, value in values.items()}

    @torch.inference_mode()
    def _predict_batch(self, batch: Tensor) -> dict[str, Tensor]:
        model = self._model
        if (embedding_BE := self._embedded(batch)) is not None:
            return self._classify_batch(embedding_BE)
        with self._autocast():
            mel_BFT = self._mel(batch)
            if not self._gives_embeddings and self._components_PR is None:
                return self._said(model(mel_BFT))
            encoded = model.encode_frozen(mel_BFT)
            if not model.has_embeddings:
                return self._said(model.forward_encoded(encoded), features_BP=model.regression_features(encoded))
            return self._said_of_embedded(model.embed_encoded(encoded))

    def _embedded(self, batch: Tensor) -> Tensor | None:
        """The embeddings of a batch, where they are computed by OpenVINO."""
        return None if self._embedder is None else self._embedder(self._mel(batch))

    @torch.inference_mode()
    def _classify_batch(self, embedding_BE: Tensor) -> dict[str, Tensor]:
        with self._autocast():
            return self._said_of_embedded(embedding_BE)

    def _said_of_embedded(self, embedding_BE: Tensor) -> dict[str, Tensor]:
        features_BP = None if self._components_PR is None else self._model.embedded_features(embedding_BE)
        return self._said(self._model.classify_embedded(embedding_BE), embedding_BE, features_BP)

    def _said(
        self, logits_BC: Tensor, embedding_BE: Tensor | None = None, features_BP: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The fields of a `ModelOutput`; nothing here is computed in less than float32."""
        with torch.autocast(self._device.type, enabled=False):
            logits_BC = logits_BC.float()
            adapted_BC = (logits_BC - self._shift_C) / self.artifact.config.temperature
            said = {"logits_NC": logits_BC, "probabilities_NC": adapted_BC.softmax(dim=1)}
            if self._gives_embeddings and embedding_BE is not None:
                said["embeddings_NE"] = embedding_BE.half()
            if self._components_PR is not None and features_BP is not None:
                said["components_NR"] = features_BP.float() @ self._components_PR
        return said

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
