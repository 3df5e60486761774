"""The settings of a training, in the order in which they are asked: options, a file, the model that it starts from.

What that model says is all that fine-tuning needs, so that nothing of it must be said again.
"""

from pathlib import Path
from typing import Any

from ser_core.errors import UsageError
from ser_core.models import ArtifactConfig, read_config
from ser_core.training.config import TrainConfig
from ser_core.yaml_file import read_yaml

#: Settings of the model's own training that its fine-tuning has too. What a training from scratch needs and this does
#: not is left out: teachers, whose labels may be others, and people who say when to stop.
_KEPT = (
    "windows_per_clip", "cache_frozen", "speech", "min_speech_seconds", "batch_size", "layer_rate_decay",
    "weight_decay", "label_smoothing", "regression_c", "regression_centred",
    "regression_speaker_damping", "regression_tempo_damping", "sampling", "augmentation",
)  # fmt: skip
#: And those of one that has a regression: what learns beside it has little to learn, as before.
_KEPT_WITH_REGRESSION = ("epochs", "learning_rate")
#: What all that a network learned begins to be lost by, and what is too little to learn from some hundred clips.
_SHORT = {"epochs": 10, "learning_rate": 3e-4, "encoder_learning_rate": 3e-5}
#: Epochs are fixed, so nobody says when to stop; and a temperature is no reason to lose a second speaker.
_SPLIT = {"validation_speakers": 0, "validation_share": 0.0, "calibration_speakers": 1}
#: Constants of the log-mel that the weights bring with them.
_OF_DATA = ("mean_db", "std_db")


def load_train_config(file: Path | None, overrides: dict[str, Any], start: str | None = None) -> TrainConfig:
    """The settings of a YAML file, with the given ones (not None) in their place; `split.folds` means that of `split`.

    Args:
        file: the file; None: there is none.
        overrides: what goes before it.
        start: the model to start from, a bundled one, a folder or s3://bucket/prefix, whose settings the file goes
            before; None: there is none, or `weights` names it.

    Raises:
        UsageError: the file is missing or not YAML, or a setting is unknown or out of range.
        ArtifactError: the model is missing, broken, foreign or newer.
        ServiceError: the storage that it lies on failed.
    """
    values = _merged({} if start is None else _fine_tuning(start), {} if file is None else read_yaml(file))
    for name, value in overrides.items():
        group, _, field = name.rpartition(".")
        if value is not None:
            values = _merged(values, {group: {field: value}} if group else {field: value})
    return TrainConfig.from_dict(values, "options" if file is None else str(file))


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The values with these changes; of a group that both have, what is not changed stays."""
    merged = values | changes
    for name, change in changes.items():
        of_group = values.get(name)
        if isinstance(of_group, dict) and isinstance(change, dict | None):
            merged[name] = of_group | (change or {})
    return merged


def _fine_tuning(name: str) -> dict[str, Any]:
    """The settings of a training that starts from a bundled model, a folder or s3://bucket/prefix, as plain values.

    Raises:
        ArtifactError: the model is missing, broken, foreign or newer.
        ServiceError: the storage it lies on failed.
    """
    config = read_config(name)
    settings = {
        "weights": name,
        "architecture": config.architecture,
        "architecture_settings": config.architecture_settings,
        "mel": {key: value for key, value in config.mel.to_dict().items() if key not in _OF_DATA},
        "window_seconds": config.window_seconds,
        "weights_dtype": config.weights_dtype,
        "split": _SPLIT,
    }
    has_regression = config.architecture_settings.get("regression") is True
    kept = _kept(config, _KEPT + (_KEPT_WITH_REGRESSION if has_regression else ()))
    if _kept(config, ("regression_loss",)).get("regression_loss") == "squared":
        # Trained weights are moved by the logistic loss, and the strength of a ridge says nothing of that.
        kept.pop("regression_c", None)
    return _SHORT | kept | settings


def _kept(config: ArtifactConfig, names: tuple[str, ...]) -> dict[str, Any]:
    """What the model's own training says of itself, without what no setting of today can be."""
    found = config.training.get("settings")
    kept = {}
    for name in names:
        if isinstance(found, dict) and found.get(name) is not None:
            try:
                TrainConfig.check_field(name, found[name])
            except UsageError:
                continue
            kept[name] = found[name]
    return kept
