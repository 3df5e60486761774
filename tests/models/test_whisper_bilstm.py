import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from ser_core.errors import UsageError
from ser_core.models.architectures.whisper_bilstm import WhisperBilstm, _Heard
from ser_core.models.architectures.whisper_encoder import WhisperEncoder, positions
from ser_core.models.architectures.whisper_settings import WhisperBilstmSettings
from ser_core.models.registry import build

NUM_MELS, NUM_LABELS = 20, 5
TINY: dict[str, Any] = {
    "num_layers": 3, "frozen_layers": 2, "first_mixed_layer": 1,
    "width": 128, "lstm_units": 6,
}  # fmt: skip
Tensors = dict[str, torch.Tensor]


def tiny(**changes: Any) -> WhisperBilstm:
    torch.manual_seed(3)
    return WhisperBilstm(WhisperBilstmSettings(**TINY | changes), NUM_MELS, NUM_LABELS).eval()


def reference_layer(tensors: Tensors, prefix: str) -> nn.TransformerEncoderLayer:
    """torch's own pre-norm block with the weights of one of ours."""
    layer = nn.TransformerEncoderLayer(128, 2, 512, dropout=0.0, activation="gelu", norm_first=True, batch_first=True)
    of = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    weights = [of[f"self_attn.{name}_proj.weight"] for name in "qkv"]
    biases = [of["self_attn.q_proj.bias"], torch.zeros(128), of["self_attn.v_proj.bias"]]
    layer.load_state_dict(
        {
            "self_attn.in_proj_weight": torch.cat(weights),
            "self_attn.in_proj_bias": torch.cat(biases),
            "self_attn.out_proj.weight": of["self_attn.out_proj.weight"],
            "self_attn.out_proj.bias": of["self_attn.out_proj.bias"],
            **{f"linear{i}.{kind}": of[f"fc{i}.{kind}"] for i in (1, 2) for kind in ("weight", "bias")},
            **{f"norm1.{kind}": of[f"self_attn_layer_norm.{kind}"] for kind in ("weight", "bias")},
            **{f"norm2.{kind}": of[f"final_layer_norm.{kind}"] for kind in ("weight", "bias")},
        }
    )
    return layer.train()


def convolved(signal_CT: NDArray[Any], weight_DCK: NDArray[Any], bias_D: NDArray[Any], stride: int) -> NDArray[Any]:
    """A convolution of width 3 padded by one, then GELU, by the book."""
    padded = np.pad(signal_CT, ((0, 0), (1, 1)))
    starts = range(0, signal_CT.shape[1], stride)
    out = np.stack([np.tensordot(weight_DCK, padded[:, start : start + 3], 2) + bias_D for start in starts], axis=1)
    return 0.5 * out * (1 + np.vectorize(math.erf)(out / math.sqrt(2)))


@pytest.mark.parametrize("num_frames", [1, 2, 31])
def test_the_encoder_is_whispers(num_frames: int) -> None:
    encoder = tiny().encoder
    mel_BFT = torch.randn(2, NUM_MELS, num_frames)
    state = {name: value.double().numpy() for name, value in encoder.state_dict().items()}
    num_steps = (num_frames + 1) // 2
    time = np.arange(num_steps)[:, None] / 10_000 ** (np.arange(64) / 63)
    for mel_FT, ours_SH in zip(mel_BFT, encoder.embed(mel_BFT), strict=True):
        first = convolved(mel_FT.double().numpy(), state["conv1.weight"], state["conv1.bias"], 1)
        second = convolved(first, state["conv2.weight"], state["conv2.bias"], 2)
        expected = second.T + np.concatenate([np.sin(time), np.cos(time)], axis=1)
        np.testing.assert_allclose(ours_SH.detach().numpy(), expected, atol=1e-5)
    steps_BSH = torch.randn(2, num_steps, 128)
    for index, block in enumerate(encoder.layers):
        reference = reference_layer(encoder.state_dict(), f"layers.{index}.")
        torch.testing.assert_close(block(steps_BSH), reference(steps_BSH), rtol=0, atol=1e-5)


def test_three_seconds_cost_the_encoder_three_seconds() -> None:
    settings = WhisperBilstmSettings()
    model = WhisperBilstm(settings.replace(num_layers=1, frozen_layers=1, first_mixed_layer=1), 80, 8)
    steps = []
    for block in model.encoder.layers:
        block.register_forward_hook(lambda _, inputs, __: steps.append(inputs[0].shape[1]))
    with torch.inference_mode():
        # 100 frames a second in, 50 steps out; 30 s would be 1,500.
        model.eval()(torch.randn(1, 80, 300))
    assert steps == [150]


def test_windows_may_be_longer_than_whispers_thirty_seconds() -> None:
    with torch.inference_mode():
        assert tiny()(torch.randn(1, NUM_MELS, 3_100)).isfinite().all()
    assert positions(1_600, 16).shape == (1_600, 16)


@pytest.mark.parametrize("frozen", [0, 1, 2, 3])
@pytest.mark.parametrize("first_mixed", [0, 2, 3])
@pytest.mark.parametrize("mask_padding", [True, False])
def test_what_is_frozen_does_not_matter_to_the_prediction(frozen: int, first_mixed: int, mask_padding: bool) -> None:
    mel_BFT = torch.randn(4, NUM_MELS, 40)
    mel_BFT[:, :, 30:] = -9
    plain = tiny(frozen_layers=0, first_mixed_layer=first_mixed, mask_padding=mask_padding)
    frozen_model = tiny(frozen_layers=frozen, first_mixed_layer=first_mixed, mask_padding=mask_padding)
    assert frozen_model.has_frozen_layers == (frozen > 0)
    with torch.no_grad():
        expected = plain(mel_BFT)
        torch.testing.assert_close(frozen_model(mel_BFT), expected, rtol=0, atol=1e-6)
        kept = frozen_model.encode_frozen(mel_BFT)
        torch.testing.assert_close(frozen_model.forward_encoded(kept), expected, rtol=0, atol=1e-6)
        if frozen:
            torch.testing.assert_close(frozen_model.forward_encoded(kept.half()), expected, rtol=0, atol=5e-3)
            # Only what is mixed or read on is kept, each step's loudness, and whether it is audio.
            assert kept.shape == (4, 1 + frozen - min(frozen, first_mixed), 20, 130)


@pytest.mark.parametrize(("frozen", "learning"), [(0, {"conv1", "conv2", "0", "1", "2"}), (2, {"2"}), (3, set())])
def test_frozen_layers_get_no_gradient(frozen: int, learning: set[str]) -> None:
    model = tiny(frozen_layers=frozen).train()
    model(torch.randn(2, NUM_MELS, 40)).logsumexp(1).sum().backward()
    names = {name.removeprefix("layers.").split(".")[0] for name, value in model.encoder.named_parameters()
             if value.grad is not None}  # fmt: skip
    assert names == learning
    num_learning = sum(len(layer) for layer in model.encoder_layers())
    assert num_learning == sum(value.grad is not None for value in model.encoder.parameters())
    assert not model.encode_frozen(torch.randn(2, NUM_MELS, 40)).requires_grad


@pytest.mark.parametrize(
    ("frozen", "rates"), [(0, [1.25e-5, 2.5e-5, 5e-5, 1e-4]), (2, [1e-4]), (3, [])], ids=["none", "two", "all"]
)
def test_each_layer_learns_half_as_fast_as_the_next(frozen: int, rates: list[float]) -> None:
    groups = tiny(frozen_layers=frozen).parameter_groups(1e-3, 1e-4, 0.5)
    assert [group["lr"] for group in groups] == pytest.approx([1e-3, *rates])


@pytest.mark.parametrize("statistics", ["none", "mix", "layers"])
# So many that dropout does not switch off all of them.
@pytest.mark.parametrize("hidden", [0, 64])
def test_every_head_learns(statistics: str, hidden: int) -> None:
    model = tiny(statistics=statistics, hidden_units=hidden).train()
    logits_BKC = model(torch.randn(2, NUM_MELS, 40))
    assert logits_BKC.shape == (2, 8, NUM_LABELS)
    logits_BKC.logsumexp(2).sum().backward()
    assert all(value.grad is not None for value in model.parameters() if value.requires_grad)


def test_every_classifier_learns_by_itself_and_the_prediction_is_their_mean() -> None:
    mel_BFT = torch.randn(2, NUM_MELS, 40)
    model = tiny(num_classifiers=3, dropout=0.5).train()
    logits_BKC = model(mel_BFT)
    assert logits_BKC.shape == (2, 3, NUM_LABELS)
    logits_BKC[:, 1].logsumexp(1).sum().backward()
    has_learned = [any(value.grad.any() for value in part.parameters()) for part in model.classifiers]
    assert has_learned == [False, True, False]
    sure = tiny(num_classifiers=3, hidden_units=0, dropout=0.0, statistics_noise=0.0).train()
    # Standardised by what they are given, so a second time they are not what they were.
    sure.standardise.eval()
    each_BKC = sure(mel_BFT)
    torch.testing.assert_close(sure.eval()(mel_BFT), each_BKC.mean(dim=1), rtol=0, atol=1e-6)


def test_statistics_are_noisy_in_training_alone() -> None:
    model = tiny(statistics_noise=0.5)
    plain_BP = model._statistics(torch.randn(64, 3, 20, 128), torch.ones(64, 20))
    silent_BP = model._standardised(plain_BP)
    model.train().standardise.eval()
    noise_BP = model._standardised(plain_BP) - silent_BP
    assert noise_BP.std().item() == pytest.approx(0.5, abs=0.02)
    assert noise_BP.mean().item() == pytest.approx(0.0, abs=0.02)


def test_the_lstm_is_left_out_of_some_windows_in_training_alone() -> None:
    settings = {"statistics": "none", "hidden_units": 0, "dropout": 0.0, "num_classifiers": 1}
    whole, dropped = tiny(**settings), tiny(**settings, lstm_drop_path=0.5)
    dropped.load_state_dict(whole.state_dict())
    mel_BFT = torch.randn(200, NUM_MELS, 40)
    with torch.no_grad():
        torch.testing.assert_close(dropped(mel_BFT), whole(mel_BFT), rtol=0, atol=0)
        bias_C = whole.classifiers[0][1].bias
        lstm_BC = whole(mel_BFT) - bias_C
        kept_BC = dropped.train()(mel_BFT)[:, 0] - bias_C
    is_kept_B = kept_BC.abs().amax(dim=1) > 1e-6
    assert 60 < is_kept_B.sum() < 140
    torch.testing.assert_close(kept_BC[is_kept_B], 2 * lstm_BC[is_kept_B], rtol=0, atol=1e-5)


def statistics_of(model: WhisperBilstm, mel_BFT: torch.Tensor, layers_BLSH: torch.Tensor) -> torch.Tensor:
    """The plain statistics of layers, (B, L, 2H)."""
    loudness_BS = model.encode_frozen(mel_BFT)[:, 0, :, -2]
    heard = _Heard(layers_BLSH, loudness_BS, torch.ones_like(loudness_BS), [])
    (plain_BP,) = model._views(heard, layers_BLSH)
    return plain_BP.unflatten(1, (layers_BLSH.shape[1], -1))


def test_statistics_are_of_speech_alone() -> None:
    model = tiny(frozen_layers=3).eval()
    mel_BFT = torch.zeros(1, NUM_MELS, 40)
    # Frames 10 to 29 speak in one band; all else is 60 dB below (1.5 of Whisper's log-mel).
    mel_BFT[:, 2, 10:30] = 1.5
    layers_BLSH = torch.randn(1, 3, 20, 128)
    speech_BLSH = layers_BLSH[:, :, 5:15]
    expected = torch.cat([speech_BLSH.mean(dim=2), speech_BLSH.std(dim=2, correction=0)], dim=2)
    torch.testing.assert_close(statistics_of(model, mel_BFT, layers_BLSH), expected, rtol=0, atol=1e-3)
    everything = torch.cat([layers_BLSH.mean(dim=2), layers_BLSH.std(dim=2, correction=0)], dim=2)
    whole = tiny(frozen_layers=3, speech_ranges_db=[0.0]).eval()
    torch.testing.assert_close(statistics_of(whole, mel_BFT, layers_BLSH), everything, rtol=0, atol=1e-4)
    # Silence is speech where there is nothing else.
    torch.testing.assert_close(statistics_of(model, 0 * mel_BFT, layers_BLSH), everything, rtol=0, atol=1e-4)


def half_quiet(num_windows: int) -> Tensor:
    """Log-mel (B, F, T) whose second half lies 40 dB below the first."""
    mel_BFT = torch.rand(num_windows, NUM_MELS, 40)
    mel_BFT[:, :, :20] += 1
    return mel_BFT


def test_every_range_is_a_view_and_their_mean_is_the_prediction() -> None:
    def made(*ranges_db: float) -> WhisperBilstm:
        model = tiny(frozen_layers=3, regression=True, classifiers_learn="all", speech_ranges_db=ranges_db)
        assert model.regression is not None
        model.regression.set(torch.randn(NUM_LABELS, 768, generator=torch.Generator().manual_seed(4)), torch.zeros(5))
        for classify in model.classifiers:
            nn.init.normal_(classify[-1].weight, generator=torch.Generator().manual_seed(5))
        return model

    mel_BFT = half_quiet(2)
    model, of_each = made(30.0, 0.0), [made(30.0), made(0.0)]
    encoded = model.encode_frozen(mel_BFT)
    views = [one.regression_features(encoded) for one in of_each]
    assert (views[0] - views[1]).abs().max() > 1e-2
    torch.testing.assert_close(model.regression_views(encoded), views)
    torch.testing.assert_close(model.regression_features(encoded), sum(views) / 2)
    with torch.no_grad():
        torch.testing.assert_close(model(mel_BFT), sum(one(mel_BFT) for one in of_each) / 2)


def test_classifiers_learn_from_a_view_that_is_drawn_for_each_window() -> None:
    plain: dict[str, Any] = {"frozen_layers": 3, "statistics_noise": 0, "dropout": 0, "hidden_units": 0}
    model = tiny(**plain, speech_ranges_db=[30.0, 0.0])
    mel_BFT = half_quiet(1).expand(20, -1, -1)
    with torch.no_grad():
        of_each = [tiny(**plain, speech_ranges_db=[range_db])(mel_BFT[:1]) for range_db in (30.0, 0.0)]
        model.train().standardise.eval()
        found_BC = model(mel_BFT).mean(dim=1)
    from_first_B, from_second_B = ((found_BC - one_BC).abs().amax(dim=1) for one_BC in of_each)
    assert torch.minimum(from_first_B, from_second_B).max() < 1e-4
    assert 0 < (from_first_B < from_second_B).sum() < 20


@pytest.mark.parametrize("frozen", [0, 2, 3])
@pytest.mark.parametrize("speech_range_db", [0.0, 40.0])
def test_padding_is_masked(frozen: int, speech_range_db: float) -> None:
    model = tiny(frozen_layers=frozen, speech_ranges_db=[speech_range_db], mask_padding=True)
    with torch.no_grad():
        # Past a window's end the convolutions see 0: padding is to be the same to them, and to their second one.
        model.encoder.conv1.bias.zero_()
        for classify in model.classifiers:
            # The BiLSTM notices that a window goes on.
            classify[1].weight[:, :24] = 0
        clip_BFT = 2 * torch.rand(4, NUM_MELS, 30)
        clip_BFT[:, :, 29] = 2
        padded_BFT = torch.nn.functional.pad(clip_BFT, (0, 50))
        torch.testing.assert_close(model(padded_BFT), model(clip_BFT), rtol=0, atol=1e-6)
        # What is quiet in the midst of a window is no padding.
        padded_BFT[:, :, 79] = 2
        assert (model(padded_BFT) - model(clip_BFT)).abs().max() > 1e-3


def test_clips_of_unlike_lengths_can_be_mixed() -> None:
    model = tiny(frozen_layers=3, mask_padding=True)
    mel_BFT = 2 * torch.rand(2, NUM_MELS, 40)
    mel_BFT[1, :, 20:] = 0
    longer, shorter = model.encode_frozen(mel_BFT)
    assert not shorter[:, 10:].any()
    mixed = 0.25 * longer + 0.75 * shorter
    torch.testing.assert_close(mixed[:, 10:], 0.25 * longer[:, 10:], rtol=0, atol=0)
    with torch.no_grad():
        assert model.forward_encoded(mixed[None]).isfinite().all()
        assert model(torch.full((1, NUM_MELS, 40), -2.5)).isfinite().all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"speech_ranges_db": []}, "'speech_ranges_db'"),
        ({"frozen_layers": 4}, r"frozen_layers must be at most num_layers \(3\)"),
        ({"first_mixed_layer": 4}, r"first_mixed_layer must be at most num_layers \(3\)"),
        ({"lstm_drop_path": 1}, "'lstm_drop_path' cannot be 1; it takes a number of at least 0 and below 1"),
        ({"num_classifiers": 0}, "'num_classifiers' cannot be 0; it takes a whole number from 1 to 64"),
        ({"width": 100}, "'width' cannot be 100; it takes a multiple of 64 from 64 to 8192"),
    ],
)
def test_sizes_that_do_not_fit_are_one_clear_line(changes: dict[str, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build("whisper-bilstm", TINY | changes, NUM_MELS, NUM_LABELS)


def published(prefix: str = "model.encoder.", num_layers: int = 4) -> Tensors:
    """A checkpoint as Whisper's are published, with one block more than is wanted, in half precision."""
    torch.manual_seed(8)
    tensors = WhisperEncoder(NUM_MELS, 128, num_layers).state_dict()
    tensors |= {"embed_positions.weight": positions(50, 128), "layer_norm.weight": torch.ones(128)}
    return {prefix + name: value.half() for name, value in tensors.items()} | {"proj_out.weight": torch.zeros(2, 2)}


def test_a_new_model_with_a_regression_says_what_the_regression_says() -> None:
    model = tiny(frozen_layers=3, regression=True, num_classifiers=2)
    assert model.regression is not None
    assert not any("regression" in name for name, _ in model.named_parameters())
    weight_CP = torch.randn(NUM_LABELS, 3 * 2 * 128)
    model.regression.set(weight_CP, torch.arange(5.0))
    encoded = model.encode_frozen(torch.randn(4, NUM_MELS, 40))
    with torch.no_grad():
        expected_BC = model.regression_features(encoded) @ weight_CP.T + torch.arange(5.0)
        torch.testing.assert_close(model.forward_encoded(encoded), expected_BC)
        for classify in model.classifiers:
            nn.init.ones_(classify[-1].bias)
        torch.testing.assert_close(model.forward_encoded(encoded), expected_BC + 1)


def test_classifiers_that_learn_all_know_nothing_of_the_regression_and_are_added_to_it() -> None:
    model = tiny(frozen_layers=3, regression=True, classifiers_learn="all", num_classifiers=2, statistics_noise=0)
    assert model.regression is not None
    encoded = model.encode_frozen(torch.randn(4, NUM_MELS, 40))

    def learned(weight_CP: Tensor) -> Tensor:
        model.regression.set(weight_CP, torch.arange(5.0))
        torch.manual_seed(0)
        logits_BKC: Tensor = model.train().forward_encoded(encoded)
        return logits_BKC

    weight_CP = torch.randn(NUM_LABELS, 3 * 2 * 128)
    torch.testing.assert_close(learned(torch.zeros_like(weight_CP)), learned(weight_CP))
    alone = tiny(frozen_layers=3, num_classifiers=2, statistics_noise=0)
    alone.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        expected_BC = model.regression_features(encoded) @ weight_CP.T + torch.arange(5.0)
        torch.testing.assert_close(
            model.eval().forward_encoded(encoded), expected_BC + alone.forward_encoded(encoded), rtol=1e-4, atol=1e-4
        )


def test_a_regression_is_computed_in_full_precision_whatever_the_rest_is() -> None:
    model = tiny(frozen_layers=3, regression=True)
    assert model.regression is not None
    model.regression.set(torch.randn(NUM_LABELS, 768), torch.zeros(NUM_LABELS))
    features_BP = model.regression_features(model.encode_frozen(torch.randn(3, NUM_MELS, 40)))
    with torch.autocast("cpu", torch.bfloat16):
        logits_BC = model.regression(features_BP)
    assert torch.equal(logits_BC, nn.functional.linear(features_BP, model.regression.weight_CP))


@pytest.mark.parametrize("changes", [{"frozen_layers": 2}, {"frozen_layers": 3, "statistics": "mix"}])
def test_a_regression_needs_what_does_not_change(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="frozen_layers must be num_layers, and statistics 'layers'"):
        build("whisper-bilstm", TINY | {"regression": True} | changes, NUM_MELS, NUM_LABELS)


def write(tensors: Tensors, file: Path) -> Path:
    if file.suffix == ".safetensors":
        save_file(tensors, file)
    else:
        torch.save(tensors, file)
    return file


@pytest.mark.parametrize("prefix", ["model.encoder.", "encoder.", ""])
@pytest.mark.parametrize("name", ["whisper.safetensors", "pytorch_model.bin", "whisper.pt"])
def test_starts_from_published_weights(tmp_path: Path, prefix: str, name: str) -> None:
    tensors = published(prefix)
    model = tiny()
    model.load_weights(write(tensors, tmp_path / name))
    for part, value in model.encoder.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, tensors[prefix + part].float()), part
    assert [value.requires_grad for value in model.encoder.layers.parameters()].count(True) == 15


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_taken(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {name: value.to(dtype) for name, value in published("").items() if name != "embed_positions.weight"}
    model = tiny()
    model.load_weights(write(tensors, tmp_path / "half.safetensors"))
    assert all(torch.equal(value, tensors[name].float()) for name, value in model.encoder.state_dict().items())


#: Names of a block's tensors in OpenAI's own files (base.pt), and in the published checkpoints.
OPENAI = {
    "attn.query": "self_attn.q_proj", "attn.key": "self_attn.k_proj", "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj", "attn_ln": "self_attn_layer_norm", "mlp.0": "fc1", "mlp.2": "fc2",
    "mlp_ln": "final_layer_norm",
}  # fmt: skip


def test_openais_own_file_is_taken(tmp_path: Path) -> None:
    tensors = published("")
    theirs: Tensors = {
        "encoder.positional_embedding": tensors["embed_positions.weight"],
        "decoder.ln.weight": torch.ones(1),
    }
    for name, value in tensors.items():
        parts = [openai for openai, ours in OPENAI.items() if f".{ours}." in name]
        called = name.replace(OPENAI[parts[0]], parts[0]) if parts else name
        if "embed" not in name:
            theirs["encoder." + called.replace("layers.", "blocks.")] = value
    torch.save({"dims": {"n_mels": NUM_MELS}, "model_state_dict": theirs}, tmp_path / "base.pt")
    model = tiny()
    model.load_weights(tmp_path / "base.pt")
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, tensors[name].float()), name


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (
            published() | {"model.encoder.conv2.bias": torch.full((128,), float("nan"))},
            "'conv2.bias' holds values that",
        ),
        (
            published() | {"model.encoder.conv2.bias": torch.ones(128, dtype=torch.int8)},
            "'conv2.bias' holds values that",
        ),
        ({"features.0.weight": torch.zeros(3)}, r"no encoder of openai/whisper-base \('conv1.weight' is missing\)"),
        (published(num_layers=2), r"'layers.2.[a-z_.0-9]+' is missing"),
        (published() | {"model.encoder.conv1.bias": torch.zeros(384)}, r"'conv1.bias' is \(384,\) instead of \(128,\)"),
        (
            published() | {"model.encoder.embed_positions.weight": torch.ones(50, 128)},
            "'embed_positions.weight' is not",
        ),
    ],
)
def test_weights_of_another_kind_are_one_clear_line(tmp_path: Path, tensors: Tensors, words: str) -> None:
    file = write(tensors, tmp_path / "other.safetensors")
    model = tiny()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UsageError, match=rf"^weights .*other.safetensors: .*{words}") as refusal:
        model.load_weights(file)
    assert "\n" not in str(refusal.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_is_no_checkpoint_is_one_clear_line(tmp_path: Path) -> None:
    file = tmp_path / "list.pt"
    torch.save([1, 2], file)
    with pytest.raises(UsageError, match="is missing"):
        tiny().load_weights(file)
    with pytest.raises(UsageError, match="starts from scratch"):
        build("compact", {}, NUM_MELS, NUM_LABELS).load_weights(file)
