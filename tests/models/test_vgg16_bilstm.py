from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ser_core.audio import LogMel, MelSettings
from ser_core.errors import UsageError
from ser_core.models import Artifact, ArtifactConfig
from ser_core.models.architectures.vgg16_bilstm import Vgg16Bilstm
from ser_core.models.registry import build, resolved_settings
from tests.models.test_vgg16_weights import published, written

NUM_MELS, NUM_LABELS = 16, 5
TINY: dict[str, Any] = {"num_blocks": 3, "lstm_units": 6}
FROZEN = {"frozen_blocks": 2, "regression": True, "first_read_block": 1, "batch_norm": True}


def tiny(**changes: Any) -> Vgg16Bilstm:
    torch.manual_seed(3)
    model = build("vgg16-bilstm", TINY | changes, NUM_MELS, NUM_LABELS)
    assert isinstance(model, Vgg16Bilstm)
    if model.regression is not None:
        model.regression.set(torch.randn(model.regression.weight_CP.shape), torch.randn(NUM_LABELS))
    for value in (model.classify.weight, model.classify.bias):
        torch.nn.init.normal_(value)
    return model.eval()


@pytest.mark.parametrize("changes", [{}, FROZEN, FROZEN | {"frozen_blocks": 3}, {"frozen_blocks": 1}])
@pytest.mark.parametrize("num_frames", [1, 7, 8, 41])
def test_the_two_halves_are_the_whole_for_any_length(changes: dict[str, Any], num_frames: int) -> None:
    model, mel_BFT = tiny(**changes), torch.randn(3, NUM_MELS, num_frames)
    with torch.inference_mode():
        whole = model(mel_BFT)
        encoded = model.encode_frozen(mel_BFT)
        torch.testing.assert_close(model.forward_encoded(encoded), whole, rtol=0, atol=0)
        if model.has_frozen_layers:
            # As it is cached.
            torch.testing.assert_close(model.forward_encoded(encoded.half()), whole, rtol=1e-2, atol=1e-2)
        for one in range(3):
            torch.testing.assert_close(model(mel_BFT[one : one + 1])[0], whole[one], rtol=0, atol=1e-4)
    assert whole.isfinite().all()
    assert model.has_frozen_layers == ("frozen_blocks" in changes)


def test_a_regression_reads_each_channel_of_each_band_over_time() -> None:
    model, mel_BFT = tiny(**FROZEN), torch.randn(2, NUM_MELS, 41)
    expected = []
    maps_BDRS = mel_BFT[:, None].expand(-1, 3, -1, -1)
    with torch.inference_mode():
        for layers in (model.features[:5], model.features[5:10]):
            maps_BDRS = layers(maps_BDRS)
            by_band = [maps_BDRS.mean(dim=3), maps_BDRS.std(dim=3, correction=0)]
            expected.append(torch.cat(by_band, dim=2).flatten(1))
        features_BP = model.regression_features(model.encode_frozen(mel_BFT))
        torch.testing.assert_close(features_BP, torch.cat(expected, dim=1), rtol=1e-4, atol=1e-3)
        assert model.regression is not None
        torch.nn.init.zeros_(model.classify.weight)
        torch.nn.init.zeros_(model.classify.bias)
        torch.testing.assert_close(model(mel_BFT), model.regression(features_BP), rtol=1e-4, atol=1e-4)


def test_what_is_frozen_does_not_learn() -> None:
    model = tiny(**FROZEN).train()
    model(torch.randn(4, NUM_MELS, 20)).logsumexp(1).sum().backward()
    learns = {name.partition(".")[2] for name, value in model.named_parameters() if value.grad is not None}
    assert {f"{index}.{kind}" for index in (10, 12, 14) for kind in ("weight", "bias")} < learns
    assert not learns & {f"{index}.weight" for index in (0, 2, 5, 7)}
    rates = [group["lr"] for group in model.parameter_groups(1.0, 0.1, 0.5)]
    assert rates == pytest.approx([1.0, 0.025, 0.05, 0.1])


def test_a_new_model_with_a_regression_says_what_the_regression_says() -> None:
    model = build("vgg16-bilstm", TINY | FROZEN, NUM_MELS, NUM_LABELS).eval()
    assert not model(torch.randn(2, NUM_MELS, 20)).any()


def test_what_learns_all_learns_as_if_there_were_no_regression() -> None:
    model = tiny(**FROZEN | {"classifiers_learn": "all", "dropout": 0.0, "batch_norm": False})
    mel_BFT = torch.randn(3, NUM_MELS, 20)
    with torch.no_grad():
        assert model.regression is not None
        of_regression_BC = model.regression(model.regression_features(model.encode_frozen(mel_BFT)))
        alone_BC = model.train()(mel_BFT)
        assert (of_regression_BC.abs().mean() > 0.1).item()
        torch.testing.assert_close(model.eval()(mel_BFT), alone_BC + of_regression_BC, rtol=1e-4, atol=1e-4)
        new = build("vgg16-bilstm", TINY | FROZEN | {"classifiers_learn": "all"}, NUM_MELS, NUM_LABELS).eval()
        assert new(mel_BFT).any()


def test_models_of_before_there_were_these_settings_load() -> None:
    with torch.device("meta"):
        state = build("vgg16-bilstm", {}, 128, 8).state_dict()
    names = {name.partition(".")[0] for name in state}
    assert names == {"features", "lstm", "classify"}
    assert state["lstm.weight_ih_l0_reverse"].shape == (512, 2048)
    assert sum(value.numel() for value in state.values()) == 16_947_016


def test_an_artifact_does_not_know_where_its_weights_came_from(tmp_path: Path) -> None:
    settings = {"num_blocks": 1, "frozen_blocks": 1, "lstm_units": 2}
    mel = MelSettings(num_mels=NUM_MELS)
    logits: dict[str, Tensor] = {}
    for weights_input in ("caffe", "standardised"):
        torch.manual_seed(3)
        model = build("vgg16-bilstm", settings, NUM_MELS, 2)
        model.load_weights(written(published(weights_input, num_blocks=1), tmp_path))
        config = ArtifactConfig(
            name="vgg", architecture="vgg16-bilstm", labels=("angry", "sad"), mel=mel, window_seconds=1.0,
            architecture_settings=resolved_settings("vgg16-bilstm", settings), training={},
        )  # fmt: skip
        Artifact.of_model(config, model, LogMel(mel)).save(str(tmp_path / weights_input))
        (tmp_path / "vgg.safetensors").unlink()
        loaded = Artifact.load(str(tmp_path / weights_input))
        mel_BFT = torch.randn(2, NUM_MELS, 20, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            logits[weights_input] = loaded.model()(mel_BFT)
            torch.testing.assert_close(logits[weights_input], model.eval()(mel_BFT), rtol=0, atol=0)
    assert not torch.equal(logits["caffe"], logits["standardised"])


@pytest.mark.parametrize(
    ("changes", "num_mels", "words"),
    [
        ({"frozen_blocks": 4}, 16, r"frozen_blocks must be at most num_blocks \(3\)"),
        ({"frozen_blocks": 1, "regression": True}, 16, r"first_read_block must be at most frozen_blocks \(1\)"),
        ({"num_blocks": 6}, 16, "'num_blocks' cannot be 6; it takes a whole number from 1 to 5"),
        ({"num_blocks": 5}, 31, "5 blocks of VGG16 need 32 mel bands or more, not 31"),
        ({"weights_input": "rgb"}, 16, "'weights_input' cannot be"),
    ],
)
def test_settings_that_do_not_fit_are_one_clear_line(changes: dict[str, Any], num_mels: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build("vgg16-bilstm", TINY | changes, num_mels, NUM_LABELS)
