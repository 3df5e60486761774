import pytest
import torch

from ser_core.errors import UsageError
from ser_core.models.base import SpeechModel
from ser_core.models.registry import ARCHITECTURES, build, default_mel, resolved_settings

NUM_MELS, NUM_LABELS = 128, 8


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> SpeechModel:
    torch.manual_seed(1)
    return build(request.param, {}, NUM_MELS, NUM_LABELS).eval()


@pytest.mark.parametrize("num_frames", [1, 6, 31, 32, 151])
def test_takes_windows_of_any_length(model: SpeechModel, num_frames: int) -> None:
    with torch.inference_mode():
        logits_BC = model(torch.randn(2, NUM_MELS, num_frames))
    assert logits_BC.shape == (2, NUM_LABELS)
    assert logits_BC.isfinite().all()


def test_predictions_do_not_depend_on_the_batch(model: SpeechModel) -> None:
    mel_BFT = torch.randn(5, NUM_MELS, 64)
    with torch.inference_mode():
        whole = model(mel_BFT).softmax(1)
        for size in (1, 3):
            parts = torch.cat([model(part).softmax(1) for part in mel_BFT.split(size)])
            torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)


def test_hears_what_comes_late_and_early(model: SpeechModel) -> None:
    mel_BFT = torch.randn(1, NUM_MELS, 151)
    with torch.inference_mode():
        for frames in (slice(0, 10), slice(141, 151)):
            changed = mel_BFT.clone()
            changed[:, :, frames] += 3.0
            assert not torch.equal(model(changed), model(mel_BFT))


def test_every_parameter_learns_but_the_frozen(model: SpeechModel) -> None:
    model.zero_grad()
    model(torch.randn(2, NUM_MELS, 64)).logsumexp(1).sum().backward()
    for name, value in model.named_parameters():
        assert (value.grad is not None) == value.requires_grad, name
    groups = model.parameter_groups(1e-3, 1e-5, 0.5)
    grouped = [id(value) for group in groups for value in group["params"]]
    assert sorted(grouped) == sorted(id(value) for value in model.parameters() if value.requires_grad)
    assert all(group["params"] for group in groups)
    layers = [layer for layer in model.encoder_layers() if layer]
    of_layers = [{id(value) for value in group["params"]} for group in groups[1:]]
    assert of_layers == [{id(value) for value in layer} for layer in layers]


def test_the_two_halves_are_the_whole(model: SpeechModel) -> None:
    mel_BFT = torch.randn(3, NUM_MELS, 64)
    with torch.inference_mode():
        encoded = model.encode_frozen(mel_BFT)
        torch.testing.assert_close(model.forward_encoded(encoded), model(mel_BFT), rtol=0, atol=0)
        if model.has_embeddings:
            embedding_BE = model.embed_encoded(encoded)
            assert embedding_BE.dim() == 2
            torch.testing.assert_close(model.classify_embedded(embedding_BE), model(mel_BFT), rtol=0, atol=0)
    assert (encoded is mel_BFT) != model.has_frozen_layers


def test_whole_settings_name_the_defaults_too() -> None:
    whole = resolved_settings("compact", {"width": 16})
    assert whole == {"width": 16} | {"lstm_units": 96, "dropout": 0.3}


def test_an_unknown_architecture_or_setting_is_named() -> None:
    with pytest.raises(UsageError, match=r"'transformer' is unknown; known: compact, vgg16-bilstm, whisper-bilstm"):
        build("transformer", {}, NUM_MELS, NUM_LABELS)
    with pytest.raises(UsageError, match="'transformer' is unknown"):
        default_mel("transformer")
    with pytest.raises(UsageError, match="depth"):
        build("compact", {"depth": 3}, NUM_MELS, NUM_LABELS)
    with pytest.raises(UsageError, match="width"):
        build("compact", {"width": 20}, NUM_MELS, NUM_LABELS)
