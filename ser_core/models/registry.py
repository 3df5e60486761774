"""The architectures: normalised log-mel (B, F, T) -> logits (B, C), for any T. One a file, one table of names."""

import dataclasses
from collections.abc import Callable
from typing import Any

from ser_core.audio import MelSettings
from ser_core.errors import UsageError
from ser_core.models.base import SpeechModel
from ser_core.models.compact import Compact, CompactSettings
from ser_core.models.vgg16_bilstm import Vgg16Bilstm, Vgg16BilstmSettings
from ser_core.models.whisper_bilstm import WhisperBilstm, WhisperBilstmSettings
from ser_core.settings import Settings

_WHISPER_MEL = MelSettings(n_fft=400, hop_length=160, num_mels=80, scale="whisper")


@dataclasses.dataclass(frozen=True)
class Architecture:
    """How a model of one kind is made: its settings, and a builder taking (settings, num_mels, num_labels)."""

    settings: type[Settings]
    build: Callable[[Any, int, int], SpeechModel]
    #: The log-mel of a new model, where the settings do not say.
    mel: MelSettings


ARCHITECTURES: dict[str, Architecture] = {
    "compact": Architecture(CompactSettings, Compact, MelSettings()),
    "vgg16-bilstm": Architecture(Vgg16BilstmSettings, Vgg16Bilstm, MelSettings()),
    "whisper-bilstm": Architecture(WhisperBilstmSettings, WhisperBilstm, _WHISPER_MEL),
}


def build(name: str, settings: dict[str, Any], num_mels: int, num_labels: int) -> SpeechModel:
    """An untrained model of the named architecture, in training mode; settings not given have their defaults.

    Raises:
        UsageError: the architecture, or one of its settings, is unknown.
    """
    return _architecture(name).build(_settings(name, settings), num_mels, num_labels)


def resolved_settings(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Every setting of an architecture with its value, as an artifact stores them: defaults may change.

    Raises:
        UsageError: the architecture, or one of its settings, is unknown.
    """
    return _settings(name, settings).to_dict()


def default_mel(name: str) -> MelSettings:
    """The features of a new model of the named architecture, where nothing else is said.

    Raises:
        UsageError: the architecture is unknown.
    """
    return _architecture(name).mel


def _architecture(name: str) -> Architecture:
    architecture = ARCHITECTURES.get(name)
    if architecture is None:
        raise UsageError(f"architecture '{name}' is unknown; known: {', '.join(ARCHITECTURES)}")
    return architecture


def _settings(name: str, settings: dict[str, Any]) -> Settings:
    return _architecture(name).settings.from_dict(settings, f"architecture {name}")
