"""Which files of VGG16's weights are taken, for which pictures, and what is said of the others."""

import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ser_core.errors import UsageError
from ser_core.models.architectures.vgg16_weights import CONVOLUTIONS, read_features
from ser_core.models.registry import build

Tensors = dict[str, Tensor]
#: The first biases of the two published sorts of weights, by what they want.
FIRST = {"standardised": (0.4034, 0.3778, 0.4644, -0.3228), "caffe": (0.7344, 0.0934, 0.0677, 0.8862)}
DEVIATION_255 = torch.tensor([58.395, 57.12, 57.375])


def published(weights_input: str | None = "standardised", num_blocks: int = 5) -> Tensors:
    """Tensors with the names and shapes of torchvision's VGG16 without its classifier."""
    generator = torch.Generator().manual_seed(3)
    state = {}
    for index, (channels_in, channels_out) in list(CONVOLUTIONS.items())[: (2, 4, 7, 10, 13)[num_blocks - 1]]:
        scale = (2 / (9 * channels_in)) ** 0.5
        state[f"features.{index}.weight"] = scale * torch.randn(channels_out, channels_in, 3, 3, generator=generator)
        state[f"features.{index}.bias"] = 0.1 * torch.randn(channels_out, generator=generator)
    if weights_input:
        state["features.0.bias"][:4] = torch.tensor(FIRST[weights_input])
    return state


def written(state: Any, folder: Path, suffix: str = "safetensors") -> Path:
    file = folder / f"vgg.{suffix}"
    if suffix == "safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    return file


def maps(features: Tensors, picture_B3FT: Tensor, num_convolutions: int) -> Tensor:
    """What the first convolutions of torchvision's network make of pictures."""
    from torchvision.models.vgg import cfgs, make_layers

    layers = make_layers(cfgs["D"])[: list(CONVOLUTIONS)[num_convolutions - 1] + 1]
    layers.load_state_dict({name: features[name].float() for name in layers.state_dict()})
    with torch.inference_mode():
        return layers(picture_B3FT)


def test_the_names_and_shapes_are_torchvisions() -> None:
    from torchvision.models import vgg16

    with torch.device("meta"):
        state = vgg16(weights=None, init_weights=False).state_dict()
    theirs = {name: tuple(value.shape) for name, value in state.items() if name.startswith("features.")}
    assert {name: tuple(value.shape) for name, value in published().items()} == theirs


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_torchvisions_weights_take_the_log_mel_itself(suffix: str, dtype: torch.dtype, tmp_path: Path) -> None:
    # torchvision's files have a classifier; in that of IMAGENET1K_FEATURES it is not even numbers.
    state = {name: value.to(dtype) for name, value in published(num_blocks=2).items()}
    classifier = {"classifier.0.bias": torch.full((4,), float("nan"))}
    features = read_features(written(state | classifier, tmp_path, suffix), 2, "auto")
    assert {f"features.{name}" for name in features} == set(state)
    for name, value in features.items():
        assert torch.equal(value, state[f"features.{name}"].float()), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_original_weights_see_the_same_picture(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {name: value.to(dtype) for name, value in published("caffe", num_blocks=2).items()}
    features = read_features(written(state, tmp_path), 2, "auto")
    mel_B3FT = torch.randn(2, 1, 16, 24).expand(-1, 3, -1, -1)
    picture_B3FT = DEVIATION_255[:, None, None] * mel_B3FT
    theirs = maps({name.removeprefix("features."): value for name, value in state.items()}, picture_B3FT, 4)
    ours = maps(features, mel_B3FT, 4)
    torch.testing.assert_close(DEVIATION_255.mean() * ours, theirs, rtol=1e-4, atol=1e-3)


def test_bare_names_and_the_layers_of_a_classifier_behind_them_are_taken(tmp_path: Path) -> None:
    state = {name.removeprefix("features."): value for name, value in published(num_blocks=3).items()}
    file = written(state | {"31.weight": torch.zeros(2, 2, 3, 3)}, tmp_path)
    assert read_features(file, 3, "auto").keys() == state.keys()


def test_other_weights_are_taken_where_it_is_said_which_pictures_they_want(tmp_path: Path) -> None:
    file = written(published(None, num_blocks=1), tmp_path)
    with pytest.raises(UsageError, match=r"vgg\.safetensors: are VGG16's, but none of ImageNet's.* weights_input: st"):
        read_features(file, 1, "auto")
    plain = read_features(file, 1, "standardised")
    caffe = read_features(file, 1, "caffe")
    torch.testing.assert_close(caffe["2.bias"], plain["2.bias"] / DEVIATION_255.mean())


def changed(**changes: Any) -> Tensors:
    state = published(num_blocks=4)
    for name, value in changes.items():
        state |= {name.replace("_", "."): value}
    return {name: value for name, value in state.items() if value is not None}


KERAS = {"block1_conv1.kernel": torch.zeros(3, 3, 3, 64)}
CASES = {
    "a layer less": (changed(features_7_weight=None), r"'features\.7\.weight' is missing; give VGG16's"),
    "blocks less": (published(num_blocks=3), r"'features\.17\.weight' is missing"),
    "another shape": (changed(features_5_bias=torch.zeros(3)), r"'features\.5\.bias' is \(3,\) instead of \(128,\)"),
    "no numbers": (changed(features_5_bias=torch.full((128,), float("inf"))), "values that are not finite numbers"),
    "whole numbers": (changed(features_5_bias=torch.zeros(128, dtype=torch.int8)), "not finite numbers"),
    "normalised": (changed(features_1_weight=torch.ones(64)), r"of another network: 'features\.1\.weight' is no layer"),
    "vgg19": (changed(features_16_bias=torch.ones(256)), r"of another network: 'features\.16\.bias' is no layer"),
    "keras": (KERAS, r"has 'block1_conv1\.kernel' and no 'features\.0\.weight'; give VGG16's convolutions"),
    "whisper": ({"model.encoder.conv1.weight": torch.zeros(2)}, r"has 'model\.encoder\.conv1\.weight' and no"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_vgg16_is_one_clear_line(case: str, tmp_path: Path) -> None:
    state, words = CASES[case]
    model = build("vgg16-bilstm", {"num_blocks": 4, "lstm_units": 1}, 16, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UsageError, match=rf"weights .*vgg\.safetensors: .*{words}") as caught:
        model.load_weights(written(state, tmp_path))
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("state", [torch.zeros(64), {"state_dict": {"a": torch.zeros(1)}}, 3])
def test_a_torch_file_of_something_else_is_one_clear_line(state: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"vgg\.pth: has (no tensors by name|'a') and no 'features\.0\.weight'; give"):
        read_features(written(state, tmp_path, "pth"), 1, "auto")


class Runs:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran"),)


def test_nothing_in_a_pickle_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = written({"features.0.weight": Runs()}, tmp_path, "pth")
    with pytest.raises(UsageError, match=r"vgg\.pth: cannot be read as weights"):
        read_features(file, 1, "auto")
    assert not Path("ran").exists()


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\x80\x02cos\nsystem\n."])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_other_files_are_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    file = tmp_path / f"other.{suffix}"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=rf"weights .*other\.{suffix}: cannot be read as weights"):
        read_features(file, 1, "auto")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_damaged_file_is_one_clear_line_or_what_it_was(tmp_path: Path, suffix: str) -> None:
    data = written({"features.0.bias": torch.zeros(4)}, tmp_path, suffix).read_bytes()
    rng = random.Random(5)
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(3):
            damaged[rng.randrange(len(damaged) // 3)] = rng.randrange(256)
        file = tmp_path / f"damaged.{suffix}"
        file.write_bytes(damaged)
        with pytest.raises(UsageError, match=rf"weights .*damaged\.{suffix}: (cannot be read as|has)") as caught:
            read_features(file, 1, "auto")
        assert len(str(caught.value).splitlines()) == 1


def test_torchvisions_own_file_is_of_an_older_format(tmp_path: Path) -> None:
    """A pickle with the tensors behind it, in which no archive is; of an OrderedDict."""
    state = OrderedDict(published(num_blocks=1))
    file = tmp_path / "vgg16-397923af.pth"
    torch.save(state, file, _use_new_zipfile_serialization=False)
    assert file.read_bytes()[:2] != b"PK"
    assert torch.equal(read_features(file, 1, "auto")["0.weight"], state["features.0.weight"])


@pytest.mark.parametrize("group", ["state_dict", "model_state_dict", "model"])
def test_what_a_training_program_stored_beside_other_things_is_found(tmp_path: Path, group: str) -> None:
    state = published(num_blocks=1)
    file = written({"epoch": 3, group: state}, tmp_path, "pth")
    assert torch.equal(read_features(file, 1, "auto")["0.weight"], state["features.0.weight"])


def test_a_whole_model_in_a_pickle_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.pth"
    torch.save(torch.nn.Linear(2, 2), file)
    with pytest.raises(
        UsageError, match=r"model\.pth: cannot be read as weights \(UnpicklingError\); .*model\.state_dict"
    ):
        read_features(file, 1, "auto")
