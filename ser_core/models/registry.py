"""The architectures by name: normalised log-mel (B, F, T) -> logits (B, C), for any T. One a file."""

import importlib
from typing import Any

from ser_core.audio import MelSettings
from ser_core.errors import UsageError
from ser_core.models.base import Architecture, SpeechModel
from ser_core.settings import Settings

#: Each is the `ARCHITECTURE` of the module of its name, which is imported when it is asked for.
ARCHITECTURES = ("compact", "vgg16-bilstm", "whisper-bilstm")


def build(name: str, settings: dict[str, Any], num_mels: int, num_labels: int) -> SpeechModel:
    """An untrained model of the named architecture, in training mode; settings not given have their defaults.

    Raises:
        UsageError: the architecture, or one of its settings, is unknown.
    """
    return architecture(name).build(_settings(name, settings), num_mels, num_labels)


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
    return architecture(name).mel


def architecture(name: str) -> Architecture:
    """How models of the named architecture are made.

    Raises:
        UsageError: the architecture is unknown.
    """
    if name not in ARCHITECTURES:
        raise UsageError(f"architecture '{name}' is unknown; known: {', '.join(ARCHITECTURES)}")
    found: Architecture = importlib.import_module(f"ser_core.models.{name.replace('-', '_')}").ARCHITECTURE
    return found


def _settings(name: str, settings: dict[str, Any]) -> Settings:
    return architecture(name).settings.from_dict(settings, f"architecture {name}")
