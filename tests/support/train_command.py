"""`ser train` on tiny clips: its words, one that runs, and what it must leave."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.support.cli import start
from tests.support.run_control import Follower
from tests.support.training import settings, write_corpus

EPOCHS = 8
CHANGES: dict[str, Any] = {
    "architecture_settings": {"width": 16, "lstm_units": 8, "dropout": 0.2},
    "augmentation": {"speed": 0.05, "num_masks": 1, "mixup_probability": 0.3},
    "epochs": EPOCHS,
    "threads": 1,
    "workers": 2,
    "device": "cpu",
}
_FILES = ("model.safetensors", "config.json", "report.json", "MODEL_CARD.md")


def write_data(folder: Path) -> None:
    """Write tone.parquet, hum.parquet and train.yaml."""
    write_corpus(folder)
    write_corpus(folder, "hum", num_speakers=4, emotions=("happy", "angry"))
    (folder / "train.yaml").write_text(yaml.safe_dump(settings(folder / "cache", **CHANGES)))


def words(data: Path, model: Path | str, *more: str) -> list[str | Path]:
    """The command that trains on what `write_data` wrote."""
    return ["train", data / "tone.parquet", data / "hum.parquet", model, "--config", data / "train.yaml", *more]


class Training:
    """A running `ser train`, watched; `begin` starts it, on a Ray of its own unless it is a cluster's."""

    def __init__(self, data: Path, model: Path | str, begin: Callable[..., Any] = start, **options: Any) -> None:
        self.process = begin(*words(data, model), **options)
        self.follower = Follower(self.process)

    def wait_for_epoch(self, number: int) -> None:
        words = f"epoch {number}/{EPOCHS}: "
        self.follower.wait_for(words)

    def end(self) -> int:
        """Wait for its end; the exit code."""
        code: int = self.process.wait(120)
        self.follower.close()
        return code

    @property
    def err(self) -> str:
        return self.follower.text


def assert_same_model(model: Path, whole: Path) -> None:
    """What a training left is to the bit what an unbroken one left."""
    for name in _FILES:
        found, expected = ((folder / name).read_bytes() for folder in (model, whole))
        if name == "report.json":
            found, expected = (json.dumps(json.loads(text) | {"run": ""}).encode() for text in (found, expected))
        assert found == expected, name
    assert not list((model / "_training").glob("checkpoint*"))
