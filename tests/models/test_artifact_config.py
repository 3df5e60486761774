import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ser_core.audio.log_mel import LogMel
from ser_core.errors import UsageError
from ser_core.evaluation.result import ModelSpeakers
from ser_core.models.artifact import Artifact
from ser_core.models.artifact_config import FORMAT_NUMBER, ArtifactConfig
from ser_core.training.data_config import SplitSettings
from tests.support.audio_factory import speech
from tests.support.models import tiny_artifact


def test_what_is_written_is_what_is_read() -> None:
    config = tiny_artifact().config
    assert ArtifactConfig.from_json(config.to_json()) == config


def test_only_what_has_no_default_must_be_given() -> None:
    config = ArtifactConfig.from_json(
        b'{"format_number": 1, "name": "x", "architecture": "compact", "architecture_settings": {}, "mel": {},'
        b' "window_seconds": 2, "labels": ["sad", "calm"], "training": {}}'
    )
    assert (config.temperature, config.licence, config.mel.num_mels) == (1.0, None, 128)


@pytest.mark.parametrize("label", ["a/b", "1", "é", "", "Sad", "very-sad", "a\n", "_a"])
def test_label_that_is_no_plain_word_is_refused(label: str) -> None:
    with pytest.raises(UsageError, match="must be a lower-case word"):
        tiny_artifact().config.replace(labels=("sad", label))


def test_what_stands_for_no_speech_is_no_label() -> None:
    with pytest.raises(UsageError, match="label 'no_speech' says that there is no emotion to judge"):
        tiny_artifact().config.replace(labels=("sad", "no_speech"))


def test_a_model_of_an_older_format_hears_windows_as_they_are(tmp_path: Path) -> None:
    artifact = tiny_artifact()
    artifact.save(str(tmp_path))
    config = tmp_path / "config.json"
    values = json.loads(config.read_text())
    values["format_number"] = 2
    for name in ("cleaned", "high_pass_hz"):
        values["mel"].pop(name)
    config.write_text(json.dumps(values))
    found = Artifact.load(str(tmp_path))
    assert json.loads(found.config_json)["format_number"] < FORMAT_NUMBER == found.config.format_number
    window_BN = torch.from_numpy(0.01 + 0.3 * speech(1.0))[None]
    raw = LogMel(artifact.config.mel.replace(cleaned=False, high_pass_hz=0.0), artifact.log_mel().filterbank_FK)
    torch.testing.assert_close(found.log_mel()(window_BN), raw(window_BN), rtol=0, atol=0)
    with torch.inference_mode():
        torch.testing.assert_close(found.model()(raw(window_BN)), artifact.model()(raw(window_BN)), rtol=0, atol=0)


def old(**changes: Any) -> ArtifactConfig:
    """A config of format 2 with these values."""
    values = {"name": "x", "architecture": "whisper-bilstm", "architecture_settings": {}, "mel": {}, "training": {}}
    return ArtifactConfig.from_json(
        json.dumps(values | {"format_number": 2, "window_seconds": 2, "labels": ["sad", "calm"]} | changes).encode()
    )


def test_settings_of_an_older_format_have_the_names_of_now() -> None:
    settings = {"hears_padding": False, "pooling": "attentive-statistics", "hidden_dropout": 0.3, "dropout": 0.2}
    config = old(architecture_settings=settings | {"width": 128, "num_heads": 2, "mlp_width": 512})
    assert config.architecture_settings == {"mask_padding": True, "dropout": 0.2, "width": 128}
    assert old().architecture_settings == {"mask_padding": False}


@pytest.mark.parametrize("written", [2, 4])
def test_the_one_range_of_speech_of_an_older_format_is_a_list_of_one(written: int) -> None:
    settings = {"speech_range_db": 30.0, "width": 128}
    config = old(format_number=written, architecture_settings=settings, training={"settings": {"model": settings}})
    expected = {"speech_ranges_db": [30.0], "width": 128}
    assert {name: config.architecture_settings[name] for name in expected} == expected
    assert config.training["settings"]["model"] == expected


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pooling": "attention"}, "pooling 'attention' is no longer supported, only 'attentive-statistics'"),
        ({"num_heads": 4}, "num_heads 4 is no longer supported, only 8"),
        ({"width": 128, "mlp_width": 128}, "mlp_width 128 is no longer supported, only 512"),
    ],
)
def test_a_setting_that_is_no_longer_supported_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=f"^architecture whisper-bilstm: {words}; use the ser that made the model$"):
        old(architecture_settings=settings)


def test_what_an_older_format_says_of_its_training_is_read_as_now() -> None:
    epoch = {"number": 3, "loss": 0.5, "stopping_loss": 0.4, "stopping_uar": None}
    split = {"split": "speaker", "stopping_speakers": 0, "temperature_speakers": 1, "test_statements": None}
    training = {
        "speakers": ["a-1"],
        "stopping_speakers": ["a-2"],
        "temperature_speakers": ["a-3"],
        "history": [epoch],
        "figures": {"best_epoch": epoch, "test": {"clips": 7}},
        "settings": {"split": split, "average_decay": 0.9},
    }
    found = old(training=training).training
    assert ModelSpeakers.of_training(found) == ModelSpeakers(
        training=("a-1",), validation=("a-2",), calibration=("a-3",)
    )
    assert found["history"] == [{"number": 3, "loss": 0.5, "validation_loss": 0.4, "validation_uar": None}]
    assert (found["best_epoch"], found["test"]) == (3, {"clips": 7})
    assert found["settings"]["ema_decay"] == 0.9
    # As a later training compares it with its own.
    assert (
        found["settings"]["split"].items()
        <= SplitSettings(validation_speakers=0, calibration_speakers=1).to_dict().items()
    )


@pytest.mark.parametrize("training", [{}, {"figures": 3}, {"settings": None}, {"figures": {"best_epoch": 1}}])
def test_what_is_not_as_it_should_be_does_no_harm(training: dict[str, Any]) -> None:
    assert isinstance(old(training=training).training, dict)
