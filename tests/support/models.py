"""Small models for tests."""

import functools
from typing import Any

import numpy as np
import torch

from ser_core.audio.log_mel import LogMel
from ser_core.audio.settings import MelSettings
from ser_core.models.artifact import Artifact
from ser_core.models.artifact_config import ArtifactConfig
from ser_core.models.reference import Reference
from ser_core.models.registry import build
from ser_core.settings import WeightsDtype

LABELS = ("calm", "happy", "sad")
WINDOW_SECONDS = 1.0


#: The smallest settings and features of each architecture that is small enough.
_TINY: dict[str, tuple[dict[str, Any], MelSettings]] = {
    "compact": ({"width": 16, "lstm_units": 8}, MelSettings(num_mels=32)),
    "whisper-bilstm": (
        {"num_layers": 2, "frozen_layers": 1, "first_mixed_layer": 1} | {"width": 64, "lstm_units": 8},
        MelSettings(n_fft=400, hop_length=160, num_mels=32, scale="whisper"),
    ),
}


@functools.cache
def adaptable_artifact() -> Artifact:
    """An untrained model with a regression and a made-up reference, so that it can be adapted to an archive."""
    settings, mel = _TINY["whisper-bilstm"]
    settings = settings | {"frozen_layers": 2, "regression": True, "mask_padding": True}
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = build("whisper-bilstm", settings, mel.num_mels, len(LABELS))
        assert model.regression is not None
        num_features = model.regression.weight_CP.shape[1]
        model.regression.set(0.5 * torch.randn(len(LABELS), num_features), torch.zeros(len(LABELS)))
        components_PR = torch.randn(num_features, 4).numpy() / num_features**0.5
    reference = Reference(components_PR, np.zeros((1, 4)), 4.0 * np.eye(len(LABELS)) - 4.0 / len(LABELS), 0.01)
    config = tiny_artifact().config.replace(
        architecture="whisper-bilstm", architecture_settings=settings, mel=mel, licence_file=None
    )
    return Artifact.of_model(config, model.eval(), LogMel(mel), card="# adaptable\n", reference=reference)


@functools.cache
def tiny_artifact(
    temperature: float = 1.5, architecture: str = "compact", weights_dtype: WeightsDtype = "fp32"
) -> Artifact:
    """An untrained model of the smallest size, 32 mel bands, 3 labels, windows of 1 s."""
    settings, mel = _TINY[architecture]
    config = ArtifactConfig(
        name="tiny",
        architecture=architecture,
        architecture_settings=settings,
        weights_dtype=weights_dtype,
        mel=mel,
        window_seconds=WINDOW_SECONDS,
        labels=LABELS,
        temperature=temperature,
        licence="none at all",
        licence_file="LICENSE-TEST.txt",
        training={"data": "untrained", "seed": 7},
    )
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = build(architecture, settings, mel.num_mels, len(LABELS))
    return Artifact.of_model(config, model, LogMel(mel), card="# tiny\n", licence_text="none at all\n")
