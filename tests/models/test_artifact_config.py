import pytest

from ser_core.errors import UsageError
from ser_core.models.artifact_config import ArtifactConfig
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
