"""What an encoder is called: outputs that keep embeddings name it, and go on where it is the same."""

from ser_core.models.artifact import Artifact, bundled_names
from ser_core.models.registry import resolved_settings
from tests.support.models import tiny_artifact


def test_those_of_bundled_models_are_called_as_outputs_call_them() -> None:
    """Where this fails, outputs with embeddings can no longer go on: a setting's default has changed, or a model."""
    names = {name: Artifact.load(name).encoder.identity for name in bundled_names()}
    assert names == {
        "compact": "compact-defad73a12bf",
        "vgg16-bilstm": "vgg16-bilstm-6c1880c28bd8",
        "whisper-bilstm": "whisper-bilstm-9fe7a704e82b",
    }


def test_it_is_what_changes_an_embedding_and_nothing_else() -> None:
    artifact = tiny_artifact()
    config = artifact.config
    with_defaults = config.replace(architecture_settings=resolved_settings("compact", config.architecture_settings))
    assert with_defaults != config
    for same in (with_defaults, config.replace(temperature=3.0, window_seconds=2.0)):
        made = Artifact.of_model(same, artifact.model(), artifact.log_mel())
        assert made.encoder == artifact.encoder
        assert made.identity != artifact.identity
    head, attention = artifact.model(), artifact.model()
    head.state_dict()["classify.bias"].add_(1)
    attention.state_dict()["attention.bias"].add_(1)
    assert Artifact.of_model(config, head, artifact.log_mel()).encoder == artifact.encoder
    louder = config.replace(mel=config.mel.replace(mean_db=-41.0))
    others = [
        Artifact.of_model(config, attention, artifact.log_mel()),
        Artifact.of_model(louder, artifact.model(), artifact.log_mel()),
    ]
    assert len({one.encoder.identity for one in (artifact, *others)}) == 3
