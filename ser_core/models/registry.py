"""The architectures by name: normalised log-mel (B, F, T) -> logits (B, C), for any T. One a file."""

import importlib
from typing import Any

from ser_core.audio import MelSettings
from ser_core.errors import UsageError
from ser_core.models import own_code
from ser_core.models.artifact_config import CodeOrigin
from ser_core.models.base import Architecture, SpeechModel
from ser_core.settings import Settings

#: Each is the `ARCHITECTURE` of the module of its name in `architectures`, which is imported when it is asked for.
ARCHITECTURES = ("compact", "vgg16-bilstm", "whisper-bilstm")


def build(name: str, settings: dict[str, Any], num_mels: int, num_labels: int) -> SpeechModel:
    """An untrained model of the named architecture, in training mode; settings not given have their defaults.

    Raises:
        UsageError: the architecture, or one of its settings, is unknown; or its own code fails.
    """
    found, values = architecture(name), _settings(name, settings)
    if found.origin is None:
        return found.build(values, num_mels, num_labels)
    with own_code.faults_of(found.origin.file or name):
        return found.build(values, num_mels, num_labels)


def resolved_settings(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Every setting of an architecture with its value, as an artifact stores them: defaults may change.

    Raises:
        UsageError: the architecture, or one of its settings, is unknown.
    """
    return _settings(name, settings).to_dict()


def chosen_settings(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of an architecture that are not as by default: one that is added later changes nothing here.

    Raises:
        UsageError: the architecture, or one of its settings, is unknown.
    """
    return _settings(name, settings).model_dump(mode="json", exclude_defaults=True)


def default_mel(name: str) -> MelSettings:
    """The features of a new model of the named architecture, where nothing else is said.

    Raises:
        UsageError: the architecture is unknown.
    """
    return architecture(name).mel


def architecture(name: str) -> Architecture:
    """How models of the named architecture are made: one of a file that the user named, this program's or installed.

    Raises:
        UsageError: the architecture is unknown, or its own code fails.
    """
    if (code := own_code.named_by_user(name)) is not None:
        return code.architecture
    if name in ARCHITECTURES:
        found: Architecture = importlib.import_module(
            f"ser_core.models.architectures.{name.replace('-', '_')}"
        ).ARCHITECTURE
        return found
    if (found_installed := own_code.installed(name)) is not None:
        return found_installed
    raise own_code.unknown(name, ARCHITECTURES)


def check_origin(name: str, wanted: CodeOrigin | None) -> None:
    """Whether the code that goes by the name of a model's architecture is the one that it was trained with.

    Raises:
        UsageError: it is another, or is not there.
    """
    found = _origin(name)
    if wanted is None and found is not None:
        raise UsageError(f"its architecture '{name}' is not that of {found.file or found.package}; name another file")
    if wanted is None or wanted == found:
        return
    if wanted.file is None:
        package = " ".join(filter(None, (wanted.package, wanted.version)))
        if found is None or found.package != wanted.package:
            raise UsageError(f"its architecture '{name}' is of the package {package}, which is not installed")
    elif found is None or found.file is None:
        raise UsageError(
            f"its architecture '{name}' is code of {wanted.file}, which is executed only where the command line names "
            f"it: --architecture {wanted.file}; a copy is in the model's folder"
        )
    else:
        raise UsageError(
            f"{found.file} is not the file that it was trained with (sha256 {found.sha256:.12} instead of "
            f"{wanted.sha256:.12}); give that one, of which a copy is in the model's folder"
        )


def _settings(name: str, settings: dict[str, Any]) -> Settings:
    return architecture(name).settings.from_dict(settings, f"architecture {name}")


def _origin(name: str) -> CodeOrigin | None:
    """Where the code of what goes by this name came from, without executing it; None: it is this program's."""
    if (code := own_code.named_by_user(name)) is not None:
        return code.origin
    return None if name in ARCHITECTURES else own_code.origin_installed(name)
