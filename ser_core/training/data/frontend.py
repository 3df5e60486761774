"""Windows -> what a model in training takes: by the scoring code, now or once for all.

Shape letters: B windows, S samples of a window, F mel bands, T frames, C labels.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from ser_core.audio import LogMel
from ser_core.models import Artifact, SpeechModel
from ser_core.settings import ResolvedPrecision

Floats = npt.NDArray[Any]
#: Of what is kept; another one when the code that computes it gives something else.
_FORMAT = 3


class FrontEnd:
    """The part of a model that does not learn: its log-mel, and its frozen layers.

    What is kept of a window is its log-mel before `mean_db` and `std_db`, or what the frozen layers give, as float16.
    """

    def __init__(
        self,
        model: SpeechModel,
        log_mel: LogMel,
        device: torch.device,
        *,
        caches_encoded: bool,
        precision: ResolvedPrecision = "fp32",
    ) -> None:
        """Take over a model that is on the device already; `precision` is that of its frozen layers."""
        self._model = model
        self._log_mel = log_mel.to(device)
        raw = log_mel.settings
        if raw.scale == "db":
            raw = raw.replace(mean_db=0.0, std_db=1.0)
        self._raw_mel = LogMel(raw, log_mel.filterbank_FK).to(device)
        self._device = device
        self._precision = precision
        self.caches_encoded = caches_encoded and model.has_frozen_layers

    @property
    def key(self) -> str:
        """Names whatever changes what is kept."""
        if not self.caches_encoded:
            return _digest([_FORMAT, self._device.type, self._raw_mel.settings.to_dict()])
        digest = hashlib.sha256()
        for name, parameter in sorted(self._model.named_parameters()):
            if not parameter.requires_grad:
                digest.update(name.encode() + parameter.detach().cpu().contiguous().numpy().tobytes())
        parts: list[Any] = [_FORMAT, self._device.type, self._log_mel.settings.to_dict()]
        return _digest([*parts, digest.hexdigest(), self._model.encoding_key, self._precision])

    @torch.no_grad()
    def keep(self, pcm_BS: Floats) -> Floats:
        """What is kept of windows: float32 (B, F, T), or float16 (B, ...)."""
        pcm = torch.from_numpy(pcm_BS).to(self._device)
        if not self.caches_encoded:
            return self._raw_mel(pcm).cpu().numpy()  # type: ignore[no-any-return]
        self._model.eval()
        return self.encode(self._log_mel(pcm)).half().cpu().numpy()

    @torch.no_grad()
    def mel(self, pcm_BS: Floats) -> Tensor:
        """Normalised log-mel (B, F, T), on the device, of samples."""
        mel_BFT: Tensor = self._log_mel(torch.from_numpy(pcm_BS).to(self._device))
        return mel_BFT

    def cached_mel(self, kept: Floats) -> Tensor:
        """Normalised log-mel (B, F, T), on the device, of what was kept."""
        mel_BFT = torch.from_numpy(kept).to(self._device)
        settings = self._log_mel.settings
        return mel_BFT if settings.scale == "whisper" else (mel_BFT - settings.mean_db) / settings.std_db

    def encoded(self, kept: Floats) -> Tensor:
        """What `forward_encoded` takes, on the device, of what was kept."""
        return torch.from_numpy(kept).to(self._device) if self.caches_encoded else self.encode(self.cached_mel(kept))

    def on_device(self, values: Floats) -> Tensor:
        """A tensor of these, where the model is."""
        return torch.from_numpy(values).to(self._device)

    @property
    def num_regression_features(self) -> int:
        """How many the model's regression reads."""
        return 0 if self._model.regression is None else self._model.regression.weight_CP.shape[1]

    @torch.no_grad()
    def regression_features(self, encoded: Tensor) -> Floats:
        """What the model's regression reads (B, P)."""
        self._model.eval()
        return self._model.regression_features(encoded).cpu().numpy()

    def encode(self, mel_BFT: Tensor) -> Tensor:
        """What `forward_encoded` takes."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == "bf16"):
            return self._model.encode_frozen(mel_BFT)


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


class Teachers:
    """Models whose answers are learned from: the mean of their probabilities at a temperature."""

    def __init__(self, artifacts: Sequence[Artifact], temperature: float, device: torch.device) -> None:
        self._models = [artifact.model().to(device) for artifact in artifacts]
        self._log_mels = [artifact.log_mel().to(device) for artifact in artifacts]
        self._temperatures = [temperature * artifact.config.temperature for artifact in artifacts]
        self._device = device
        names = [artifact.content_hash for artifact in artifacts]
        self.key = _digest([names, temperature, device.type])

    @torch.no_grad()
    def answer(self, pcm_BS: Floats) -> Tensor:
        """Probabilities (B, C) on the device."""
        pcm = torch.from_numpy(pcm_BS).to(self._device)
        teachers = zip(self._models, self._log_mels, self._temperatures, strict=True)
        answers = [(model(log_mel(pcm)) / temperature).softmax(dim=1) for model, log_mel, temperature in teachers]
        return torch.stack(answers).mean(dim=0)
