"""An architecture as a user writes one: a file outside the package."""

from pathlib import Path

#: The mean and the loudest frame of each band, read by two layers.
CODE = """
import torch
from pydantic import Field
from torch import Tensor, nn

from ser_core.audio import MelSettings
from ser_core.models.base import Architecture, SpeechModel
from ser_core.settings import Settings


class MyNetSettings(Settings):
    width: int = Field(default=16, ge=1, description="Units of the hidden layer.")


class MyNet(SpeechModel):
    def __init__(self, settings: MyNetSettings, num_mels: int, num_labels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * num_mels, settings.width), nn.ReLU(), nn.Linear(settings.width, num_labels)
        )

    def forward_encoded(self, encoded: Tensor) -> Tensor:
        return self.layers(torch.cat([encoded.mean(dim=2), encoded.amax(dim=2)], dim=1))


ARCHITECTURE = Architecture(MyNetSettings, MyNet, MelSettings(num_mels=32))
"""


def write_code(folder: Path, text: str = CODE, name: str = "my_net.py") -> Path:
    """Write the file and return it."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name
