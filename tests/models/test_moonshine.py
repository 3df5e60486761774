"""Moonshine's encoder against the book, and its statistics beside Whisper's layers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import gelu, group_norm, layer_norm

from ser_core.audio import LogMel, MelSettings
from ser_core.errors import UsageError
from ser_core.models.architectures.moonshine_encoder import MoonshineEncoder
from ser_core.models.architectures.whisper_bilstm import WhisperBilstm
from ser_core.models.architectures.whisper_settings import WhisperBilstmSettings

#: Heads of 10 features, of which 6 turn.
WIDTH = 80
MEL = MelSettings(n_fft=400, hop_length=160, num_mels=20, scale="whisper", cleaned=True, samples=True)
SETTINGS: dict[str, Any] = {
    "num_layers": 1, "frozen_layers": 1, "first_mixed_layer": 1, "width": 64, "lstm_units": 4, "mask_padding": True,
    "moonshine_layers": 3, "moonshine_width": WIDTH, "regression": True, "classifiers_learn": "all",
    "speech_ranges_db": (0.0, 30.0), "statistics_noise": 0.0, "dropout": 0.0,
}  # fmt: skip


def encoder() -> MoonshineEncoder:
    torch.manual_seed(3)
    made = MoonshineEncoder(WIDTH, 2)
    for parameter in made.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter)
    return made.eval()


def by_the_book(tensors: dict[str, Tensor], pcm_BN: Tensor) -> list[Tensor]:
    """Its blocks of windows without padding; positions turn as complex numbers do."""
    maps_BHS = torch.conv1d(pcm_BN[:, None], tensors["conv1.weight"], stride=64).tanh()
    maps_BHS = group_norm(maps_BHS, 1, tensors["groupnorm.weight"], tensors["groupnorm.bias"])
    for name, stride in (("conv2", 3), ("conv3", 2)):
        maps_BHS = gelu(torch.conv1d(maps_BHS, tensors[f"{name}.weight"], tensors[f"{name}.bias"], stride))
    steps_BSH = maps_BHS.transpose(1, 2)
    position_S1 = torch.arange(steps_BSH.shape[1])[:, None]
    turn_SR = torch.polar(torch.ones(1), position_S1 / 10_000 ** (torch.arange(3) / 3))
    layers = []
    for number in range(2):
        of = {name.removeprefix(f"layers.{number}."): value for name, value in tensors.items()}
        normed_BSH = layer_norm(steps_BSH, (WIDTH,), of["input_layernorm.weight"])
        q, k, v = (
            (normed_BSH @ of[f"self_attn.{name}_proj.weight"].T).view(*normed_BSH.shape[:2], 8, 10) for name in "qkv"
        )
        for value in (q, k):
            turned = torch.view_as_complex(value[..., :6].reshape(*value.shape[:3], 3, 2)) * turn_SR[:, None]
            value[..., :6] = torch.view_as_real(turned).flatten(3)
        share = (torch.einsum("bsad,btad->bast", q, k) / 10**0.5).softmax(dim=3)
        attended = torch.einsum("bast,btad->bsad", share, v).flatten(2)
        steps_BSH = steps_BSH + attended @ of["self_attn.o_proj.weight"].T
        normed_BSH = layer_norm(steps_BSH, (WIDTH,), of["post_attention_layernorm.weight"])
        inner = gelu(normed_BSH @ of["mlp.fc1.weight"].T + of["mlp.fc1.bias"])
        steps_BSH = steps_BSH + inner @ of["mlp.fc2.weight"].T + of["mlp.fc2.bias"]
        layers.append(steps_BSH)
    return layers


def test_the_encoder_is_moonshines() -> None:
    model, pcm_BN = encoder(), torch.randn(2, 8_000)
    with torch.no_grad():
        layers, is_audio_BS = model(pcm_BN, torch.tensor([8_000, 8_000]))
        expected = by_the_book(model.state_dict(), pcm_BN)
    assert is_audio_BS.all()
    torch.testing.assert_close(layers, expected, rtol=1e-4, atol=1e-4)


def test_padding_changes_nothing_of_what_is_before_it() -> None:
    model, pcm_BN = encoder(), torch.randn(1, 8_000)
    with torch.no_grad():
        alone, _ = model(pcm_BN, torch.tensor([8_000]))
        padded_BN = torch.cat([pcm_BN, torch.zeros(1, 3_000)], dim=1).expand(2, -1)
        layers, is_audio_BS = model(padded_BN, torch.tensor([8_000, 11_000]))
    num_steps = alone[0].shape[1]
    assert is_audio_BS.sum(dim=1).tolist() == [num_steps, layers[0].shape[1]]
    for one, other in zip(alone, layers, strict=True):
        torch.testing.assert_close(other[:1, :num_steps], one, rtol=1e-4, atol=1e-4)
        assert (other[1, :num_steps] - one[0]).abs().max() > 1e-2


def test_published_weights_are_taken_and_others_are_a_line(tmp_path: Path) -> None:
    model = encoder()
    tensors = {f"model.encoder.{name}": value.half() for name, value in model.state_dict().items()}
    save_file(tensors | {"model.encoder.layers.2.mlp.fc1.bias": torch.zeros(3)}, tmp_path / "all.safetensors")
    other = MoonshineEncoder(WIDTH, 2)
    other.load_published(tmp_path / "all.safetensors")
    for name, value in other.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-3, atol=1e-3)
    for change, words in (
        ({"model.encoder.conv2.bias": torch.zeros(3)}, r"'conv2.bias' is \(3,\) instead of \(160,\)"),
        ({"model.encoder.conv2.bias": torch.full((160,), float("nan"))}, "not finite"),
    ):
        save_file(tensors | change, tmp_path / "other.safetensors")
        with pytest.raises(UsageError, match=words):
            other.load_published(tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match=r"no encoder of UsefulSensors/moonshine-base \('layers.2.*is missing"):
        MoonshineEncoder(WIDTH, 3).load_published(tmp_path / "all.safetensors")


def model_of_both(**changes: Any) -> WhisperBilstm:
    torch.manual_seed(4)
    model = WhisperBilstm(WhisperBilstmSettings(**SETTINGS | changes), MEL.num_mels, 5)
    assert model.regression is not None
    model.regression.set(0.1 * torch.randn(5, model.regression.weight_CP.shape[1]), torch.zeros(5))
    for classify in model.classifiers:
        nn.init.normal_(classify[-1].weight)
    return model.eval()


def clips(*num_samples: int, window: int = 16_000) -> Tensor:
    """Log-mel with samples of noise of these lengths (B, F, T), padded to a window."""
    pcm_BN = torch.zeros(len(num_samples), window)
    for row, number in enumerate(num_samples):
        pcm_BN[row, :number] = torch.randn(number, generator=torch.Generator().manual_seed(row))
        pcm_BN[row, number // 2 : number] *= 0.01
    return LogMel(MEL)(pcm_BN)


def test_samples_of_the_log_mel_are_those_of_the_cleaned_window() -> None:
    mel_BFT = clips(16_000, 9_000)
    assert mel_BFT.shape == (2, MEL.num_rows, MEL.num_frames(16_000)) == (2, 180, 100)
    pcm_BN = mel_BFT[:, 20:].transpose(1, 2).flatten(1)
    assert 0.9 < pcm_BN.abs().max() <= 1.1
    assert (pcm_BN[1, 9_000:] == 0).all()
    torch.testing.assert_close(mel_BFT[:, :20], LogMel(MEL.replace(samples=False))(pcm_BN), rtol=0, atol=0.05)
    with pytest.raises(UsageError, match="samples needs cleaned: true and scale: whisper"):
        MelSettings.from_dict(MEL.to_dict() | {"cleaned": False}, "mel")


def test_it_adds_its_statistics_of_every_view() -> None:
    model, mel_BFT = model_of_both(), clips(16_000, 16_000)
    encoded_BX = model.encode_frozen(mel_BFT)
    views = model.regression_views(encoded_BX)
    assert [tuple(view_BP.shape) for view_BP in views] == [(2, 2 * 64 + 2 * 2 * WIDTH)] * 2
    assert model.moonshine is not None
    layers, _ = model.moonshine.encoder(0.5 * mel_BFT[:, 20:].transpose(1, 2).flatten(1), torch.tensor([16_000] * 2))
    plain = [layer_norm(layer, (WIDTH,)) for layer in layers[1:]]
    expected_BP = torch.cat([part for x in plain for part in (x.mean(dim=1), x.std(dim=1, correction=0))], dim=1)
    torch.testing.assert_close(views[0][:, 128:], expected_BP, rtol=0, atol=1e-3)
    assert (views[1][:, 128:] - expected_BP).abs().max() > 1e-2


def test_a_window_is_the_same_alone_padded_and_kept_in_half_precision() -> None:
    model, mel_BFT = model_of_both(), clips(16_000, 9_600)
    with torch.no_grad():
        model.encoder.conv1.bias.zero_()
        both_BC = model(mel_BFT)
        torch.testing.assert_close(model(mel_BFT[1:]), both_BC[1:], rtol=0, atol=1e-4)
        encoded_BX = model.encode_frozen(mel_BFT)
        torch.testing.assert_close(model.forward_encoded(encoded_BX.half()), both_BC, rtol=0, atol=2e-2)
        embedding_BE = model.embed_encoded(encoded_BX)
        torch.testing.assert_close(model.classify_embedded(embedding_BE), both_BC, rtol=0, atol=1e-4)
        features = [model.regression_features(model.encode_frozen(clips(9_600, window=n))) for n in (16_000, 9_600)]
    torch.testing.assert_close(features[0][:, 128:], features[1][:, 128:], rtol=0, atol=2e-3)


def test_silence_and_the_shortest_windows_have_finite_answers() -> None:
    model = model_of_both()
    with torch.no_grad():
        for mel_BFT in (
            torch.zeros(2, MEL.num_rows, 100),
            clips(1_600, 40, window=1_600),
            clips(160, window=320)[..., :1],
        ):
            assert model(mel_BFT).isfinite().all()


def test_in_training_one_view_is_drawn_of_both_encoders_alike() -> None:
    model, mel_BFT = model_of_both(), clips(16_000)
    encoded_BX = model.encode_frozen(mel_BFT).expand(40, -1)
    views = model.regression_views(encoded_BX)
    model.train()
    (drawn_BP,) = model.regression_views(encoded_BX)
    is_first_B = (drawn_BP == views[0]).all(dim=1)
    assert 5 < is_first_B.sum() < 35
    assert (drawn_BP[~is_first_B] == views[1][~is_first_B]).all()


def test_its_layers_are_frozen_and_each_file_of_weights_goes_where_it_belongs(tmp_path: Path) -> None:
    model, other = model_of_both(), model_of_both(moonshine_width=160)
    assert model.moonshine is not None
    assert not any(parameter.requires_grad for parameter in model.moonshine.parameters())
    for name, module in (("whisper", model.encoder), ("moonshine", model.moonshine.encoder)):
        changed = {f"model.encoder.{key}": value + 1 for key, value in module.state_dict().items()}
        save_file(changed, tmp_path / f"{name}.safetensors")
        before = {key: value.clone() for key, value in model.state_dict().items()}
        model.load_weights(tmp_path / f"{name}.safetensors")
        moved = {
            key.rpartition("encoder.")[0] for key, value in model.state_dict().items() if (value != before[key]).any()
        }
        assert moved == {"moonshine." if name == "moonshine" else ""}
    with pytest.raises(UsageError, match="give UsefulSensors/moonshine-base, or the sizes of this one"):
        other.load_weights(tmp_path / "moonshine.safetensors")
