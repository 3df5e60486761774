"""Clips that a tiny model learns in seconds, and the settings of such trainings."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from safetensors.torch import save_file

from ser_core.corpora.manifest import rows_to_table, write_manifest
from ser_core.models.architectures.whisper_encoder import WhisperEncoder
from ser_core.training.config import TrainConfig
from ser_core.training.data.augment import OFF

RATE_HZ = 16_000
#: What tells the emotions apart: pitch and its movement, whoever speaks.
PITCHES_HZ = {"calm": (200, 200), "happy": (400, 1_600), "angry": (1_600, 400)}
WITHOUT_AUGMENTATION = OFF.to_dict()
#: The smallest model, without dropout, in half a minute of clips.
SETTINGS: dict[str, Any] = {
    "architecture_settings": {"width": 16, "lstm_units": 8, "dropout": 0.0},
    "mel": {"num_mels": 32},
    "window_seconds": 0.5,
    "speech": "all",
    "windows_per_clip": 2,
    "epochs": 3,
    "batch_size": 12,
    "learning_rate": 5e-3,
    "ema_decay": 0.8,
    "seed": 3,
    "augmentation": WITHOUT_AUGMENTATION,
    "split": {"validation_speakers": 1, "calibration_speakers": 1},
}


def settings(cache: Path, **changes: Any) -> dict[str, Any]:
    """`SETTINGS` with some changed; groups are changed by name."""
    changed = {name: SETTINGS[name] | value if name in {"split", "augmentation"} else value
               for name, value in changes.items()}  # fmt: skip
    return SETTINGS | {"cache_dir": str(cache)} | changed


def config(cache: Path, **changes: Any) -> TrainConfig:
    """As `TrainConfig`."""
    return TrainConfig.from_dict(settings(cache, **changes))


def tone(emotion: str, rng: np.random.Generator) -> np.ndarray:
    """Samples of a clip."""
    first, last = PITCHES_HZ[emotion]
    pitch = np.linspace(first, last, int(rng.uniform(0.5, 0.9) * RATE_HZ)) * rng.uniform(0.9, 1.1)
    return 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE_HZ) + 0.01 * rng.normal(size=len(pitch))


def write_corpus(
    folder: Path, corpus: str = "tone", *, num_speakers: int = 5, takes: int = 4, emotions: Iterable[str] = PITCHES_HZ
) -> Path:
    """Clips of every speaker and emotion, and their manifest, which is returned."""
    rng = np.random.default_rng(len(corpus))
    rows = []
    (folder / corpus).mkdir(parents=True)
    for speaker in range(num_speakers):
        for emotion in emotions:
            for take in range(takes):
                file = folder / corpus / f"{speaker}-{emotion}-{take}.wav"
                soundfile.write(file, tone(emotion, rng), RATE_HZ)
                rows.append(
                    {
                        "path": str(file),
                        "corpus": corpus,
                        "emotion": emotion,
                        "speaker": f"{corpus}-{speaker}",
                        "gender": ("male", "female")[speaker % 2],
                        "language": "en",
                        "statement": str(take),
                    }
                )
    manifest = folder / f"{corpus}.parquet"
    write_manifest(rows_to_table(rows), str(manifest))
    return manifest


#: Everything that draws at random, or that the state holds.
EVERYTHING = {
    "architecture_settings": {"width": 16, "lstm_units": 8, "dropout": 0.3},
    "augmentation": {
        "speed": 0.1,
        "overhang": 0.15,
        "tempo": 0.5,
        "num_masks": 1,
        "gain_db": 6.0,
        "mixup_probability": 0.5,
    },
    "sampling": "balanced",
}


#: Frozen layers, whose answers are kept, beneath what learns.
WHISPER = {
    "architecture": "whisper-bilstm",
    "architecture_settings": {
        "num_layers": 2, "frozen_layers": 1, "first_mixed_layer": 1, "width": 64,
        "lstm_units": 6, "hidden_units": 5, "num_classifiers": 2,
    },
    "cache_frozen": True,
    "weights_dtype": "fp16",
    "augmentation": {"mixup_probability": 0.5},
}  # fmt: skip


#: A regression on all that is frozen, and what learns adds to it.
REGRESSION = WHISPER | {
    "architecture_settings": WHISPER["architecture_settings"]
    | {"num_layers": 1, "regression": True, "hidden_units": 0, "num_classifiers": 1},
    "sampling": "square_root",
    "windows_per_clip": 3,
}


#: The same with a second encoder beside the first, which hears samples.
TWO_ENCODERS = REGRESSION | {
    "architecture_settings": REGRESSION["architecture_settings"]
    | {"moonshine_layers": 2, "moonshine_width": 32, "mask_padding": True, "speech_ranges_db": [0.0, 30.0]},
    "mel": {"num_mels": 32, "scale": "whisper", "cleaned": True, "samples": True},
    "augmentation": {},
}


def write_encoder(file: Path, num_mels: int) -> Path:
    """Weights of a Whisper encoder as small as that of REGRESSION, made up."""
    sizes = REGRESSION["architecture_settings"]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        encoder = WhisperEncoder(num_mels, sizes["width"], sizes["num_layers"])
    save_file({f"model.encoder.{name}": value for name, value in encoder.state_dict().items()}, file)
    return file


#: A block of VGG16 that is frozen, read by a regression, and one that learns, read by an LSTM.
VGG: dict[str, Any] = {
    "architecture": "vgg16-bilstm",
    "architecture_settings": {
        "num_blocks": 2, "frozen_blocks": 1, "regression": True, "first_read_block": 1,
        "batch_norm": True, "lstm_units": 4,
    },
    "cache_frozen": True,
    "weights_dtype": "fp16",
    "augmentation": {"mixup_probability": 0.5},
}  # fmt: skip
