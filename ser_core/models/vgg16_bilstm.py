"""`vgg16-bilstm`: the convolutions of VGG16, read along time by a BiLSTM; 15 to 20 M parameters, made for GPUs.

Shape letters: B windows, F mel bands, T mel frames, S steps (T / 32), H features, D channels, C labels.
"""

from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from ser_core.audio import MelSettings
from ser_core.errors import UsageError
from ser_core.models.base import Architecture, SpeechModel
from ser_core.models.pretrained import read_checkpoint
from ser_core.settings import Settings

_CHANNELS = 512
#: VGG16 halves both sides five times.
_REDUCTION = 32


class Vgg16BilstmSettings(Settings):
    """Sizes of the head; the convolutions are VGG16's (Simonyan & Zisserman 2014, arXiv 1409.1556)."""

    lstm_units: int = Field(default=128, ge=1, le=8192, description="Units of the BiLSTM in each direction.")
    dropout: float = Field(default=0.4, ge=0, le=1, description="Dropout before the classifier.")


class Vgg16Bilstm(SpeechModel):
    """VGG16 features -> BiLSTM over time -> mean over time -> one logit a label. At least 32 mel bands."""

    def __init__(self, settings: Vgg16BilstmSettings, num_mels: int, num_labels: int) -> None:
        super().__init__()
        self.features = _vgg16_features()
        self.lstm = nn.LSTM(
            _CHANNELS * (num_mels // _REDUCTION), settings.lstm_units, batch_first=True, bidirectional=True
        )
        self.dropout = nn.Dropout(settings.dropout)
        self.classify = nn.Linear(2 * settings.lstm_units, num_labels)
        self.features.to(memory_format=torch.channels_last)

    def forward_encoded(self, encoded: Tensor) -> Tensor:
        """Logits (B, C) of normalised log-mel windows (B, F, T); under 32 frames the last one is repeated."""
        missing = max(0, _REDUCTION - encoded.shape[2])
        image_B3FT = pad(encoded, (0, missing), mode="replicate").unsqueeze(1).expand(-1, 3, -1, -1)
        maps_BDFS = self.features(image_B3FT.contiguous(memory_format=torch.channels_last))
        steps_BSH, _ = self.lstm(maps_BDFS.flatten(1, 2).transpose(1, 2))
        logits_BC: Tensor = self.classify(self.dropout(steps_BSH.mean(dim=1)))
        return logits_BC

    def encoder_layers(self) -> list[list[nn.Parameter]]:
        """Each convolution's."""
        return [list(layer.parameters()) for layer in self.features.children()]

    def load_weights(self, file: Path | None) -> None:
        """Start the convolutions from trained ones: a checkpoint of VGG16, or torchvision's ImageNet weights for None.

        Raises:
            UsageError: the file is no VGG16 checkpoint, or the ImageNet weights cannot be downloaded.
        """
        state = _imagenet_state() if file is None else read_checkpoint(file)
        features = {name.removeprefix("features."): value for name, value in state.items() if "classifier" not in name}
        try:
            self.features.load_state_dict(features)
        except RuntimeError as error:
            raise UsageError(f"weights {file}: these are not VGG16's weights; give a torchvision vgg16 file") from error


def _vgg16_features() -> nn.Sequential:
    """VGG16's convolutions, new; torchvision's `vgg16` would make its 120 M parameters of classifier, too."""
    # torchvision takes a second to import: only models of this architecture pay for it.
    from torchvision.models.vgg import cfgs, make_layers

    features: nn.Sequential = make_layers(cfgs["D"])
    for parameter in features.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")
        else:
            nn.init.zeros_(parameter)
    return features


def _imagenet_state() -> dict[str, Tensor]:
    from torchvision.models import VGG16_Weights

    try:
        state: dict[str, Tensor] = VGG16_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
    except OSError as error:
        raise UsageError(
            f"weights imagenet: cannot be downloaded ({error}); give a file, or none to start from scratch"
        ) from error
    return state


ARCHITECTURE = Architecture(Vgg16BilstmSettings, Vgg16Bilstm, MelSettings(cleaned=True, high_pass_hz=70.0))
