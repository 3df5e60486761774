"""Small models for tests."""

import functools

import torch

from ser_core.artifact import Artifact
from ser_core.artifact_config import ArtifactConfig
from ser_core.config import MelSettings
from ser_core.features import LogMel
from ser_core.models import build

LABELS = ("calm", "happy", "sad")
WINDOW_SECONDS = 1.0


@functools.cache
def tiny_artifact(temperature: float = 1.5) -> Artifact:
    """An untrained `compact` of the smallest size, 32 mel bands, 3 labels, windows of 1 s."""
    mel = MelSettings(num_mels=32)
    settings = {"width": 16, "lstm_units": 8}
    config = ArtifactConfig(
        name="tiny",
        architecture="compact",
        architecture_settings=settings,
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
        model = build("compact", settings, mel.num_mels, len(LABELS))
    return Artifact.of_model(config, model, LogMel(mel), card="# tiny\n", licence_text="none at all\n")
