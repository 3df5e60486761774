"""How weights are stored: matrices that no training changes as int8, and what is read is what was trained with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, load_file, save_file

from ser_core.audio.log_mel import LogMel
from ser_core.audio.settings import MelSettings
from ser_core.errors import ArtifactError
from ser_core.models.artifact import WEIGHTS_FILE, Artifact
from ser_core.models.artifact_config import Adaptation
from ser_core.models.base import SpeechModel
from ser_core.models.predictor import Predictor
from ser_core.models.registry import build
from ser_core.models.stored import dequantise, quantise
from tests.support.models import LABELS, adaptable_artifact, tiny_artifact
from tests.support.training import TWO_ENCODERS, VGG

Tensors = dict[str, torch.Tensor]


def rows(*scales: float, shape: tuple[int, ...] = (64,)) -> torch.Tensor:
    """A matrix whose rows have these magnitudes."""
    generator = torch.Generator().manual_seed(len(shape))
    values = torch.randn(len(scales), *shape, generator=generator)
    return values * torch.tensor(scales).reshape(-1, *[1] * len(shape))


MATRICES = {
    "linear": rows(*[0.03 * 1.01**n for n in range(500)]),
    "convolution": rows(*[0.1] * 40, shape=(5, 3)),
    "two-dimensional convolution": rows(*[0.1] * 40, shape=(5, 3, 3)),
    "one column": rows(*np.geomspace(1e-12, 1e12, 300), shape=(1,)),
    "what float16 does not hold": rows(1e-25, 1e-20, 1e-8, 1e8, 1e30),
    "rows of zeros": rows(0.0, 1.0, 0.0, 1e-35, 1e-45),
    "channels last": rows(*[0.1] * 40, shape=(5, 3, 3)).to(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("name", MATRICES)
def test_each_value_is_half_a_step_away_at_most(name: str) -> None:
    matrix = MATRICES[name]
    integers, scale_R = quantise(matrix)
    found = dequantise(integers, scale_R)
    assert (integers.dtype, scale_R.dtype, found.dtype) == (torch.int8, torch.float32, torch.float32)
    assert (integers.shape, scale_R.shape) == (matrix.shape, matrix.shape[:1])
    largest_R = integers.int().abs().flatten(1).amax(dim=1)
    is_zero_R = matrix.abs().flatten(1).amax(dim=1) < 1e-30
    assert (largest_R == torch.where(is_zero_R, 0, 127)).all()
    assert (scale_R[is_zero_R] == 1).all()
    step_R = torch.where(is_zero_R, 1e-30, scale_R)
    assert ((found - matrix).abs().flatten(1).amax(dim=1) <= 0.5001 * step_R).all()


@pytest.mark.parametrize("name", MATRICES)
def test_what_is_read_comes_to_the_same_integers_and_scales_again(name: str) -> None:
    integers, scale_R = quantise(MATRICES[name])
    once = dequantise(integers, scale_R)
    again, scale_again_R = quantise(once)
    assert torch.equal(again, integers)
    assert torch.equal(scale_again_R, scale_R)
    # A scale that another program wrote, in another precision, says the same.
    if torch.equal(scale_R.half().float(), scale_R):
        assert torch.equal(dequantise(integers, scale_R.half()), once)


def quantised(settings: dict[str, Any]) -> tuple[Artifact, SpeechModel]:
    """A model of these settings, random, in int8, and as it was."""
    architecture = settings["architecture"]
    mel = MelSettings(**settings.get("mel", {"num_mels": 32}))
    if architecture == "whisper-bilstm":
        mel = mel.replace(n_fft=400, hop_length=160)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = build(architecture, settings["architecture_settings"], mel.num_mels, len(LABELS)).eval()
    config = tiny_artifact().config.replace(
        architecture=architecture, architecture_settings=settings["architecture_settings"], mel=mel,
        weights_dtype="int8", licence_file=None,
    )  # fmt: skip
    return Artifact.of_model(config, model, LogMel(mel)), model


@pytest.mark.parametrize("settings", [TWO_ENCODERS, VGG])
def test_matrices_that_no_training_changes_are_int8_and_all_else_is_as_with_fp16(settings: dict[str, Any]) -> None:
    artifact, model = quantised(settings)
    found = {name.removeprefix("model."): value for name, value in load(artifact.weights).items()}
    frozen = {name for name, value in model.named_parameters() if not value.requires_grad}
    assert {name for name, value in found.items() if value.dtype == torch.int8} == model.frozen_matrices
    sizes = {name: value.dim() for name, value in model.named_parameters()}
    assert model.frozen_matrices == {name for name in frozen if sizes[name] == 2}
    assert {name for name in found if name.endswith(".scale")} == {f"{name}.scale" for name in model.frozen_matrices}
    half = load(Artifact.of_model(artifact.config.replace(weights_dtype="fp16"), model, artifact.log_mel()).weights)
    for name in half.keys() - {f"model.{name}" for name in model.frozen_matrices}:
        assert half[name].dtype == found[name.removeprefix("model.")].dtype
        assert torch.equal(half[name], found[name.removeprefix("model.")]), name


@pytest.mark.parametrize("settings", [TWO_ENCODERS, VGG])
def test_what_is_rounded_before_a_training_is_what_is_read_after_it(settings: dict[str, Any], tmp_path: Path) -> None:
    artifact, model = quantised(settings)
    model.round_frozen("int8")
    artifact.save(str(tmp_path))
    loaded = Artifact.load(str(tmp_path))
    read = loaded.model()
    frozen = {name: value for name, value in model.named_parameters() if not value.requires_grad}
    assert model.frozen_matrices < frozen.keys()
    for name, value in frozen.items():
        assert torch.equal(read.state_dict()[name], value), name
    assert (loaded, loaded.identity) == (artifact, artifact.identity)
    assert Artifact.of_model(loaded.config, read, loaded.log_mel()).weights == artifact.weights
    assert {value.dtype for value in read.parameters()} == {torch.float32}


def test_it_is_the_encoder_and_the_predictions_of_what_is_read() -> None:
    artifact, model = quantised(TWO_ENCODERS)
    same = Artifact.of_model(artifact.config.replace(weights_dtype="fp32"), artifact.model(), artifact.log_mel())
    before = Artifact.of_model(artifact.config.replace(weights_dtype="fp16"), model, artifact.log_mel())
    assert artifact.encoder == same.encoder != before.encoder
    assert len(artifact.weights) < 0.8 * len(before.weights)
    pcm = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 16_000)).astype(np.float32))
    windows = artifact.log_mel()(pcm).numpy()
    outputs = [Predictor(one).predict(windows).probabilities_NC for one in (artifact, same, before)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_allclose(outputs[0], outputs[2], atol=0.02)


def test_it_can_be_adapted(tmp_path: Path) -> None:
    whole = adaptable_artifact()
    config = whole.config.replace(weights_dtype="int8")
    artifact = Artifact.of_model(config, whole.model(), whole.log_mel(), reference=whole.reference)
    adapted = artifact.adapted(Adaptation(shift=(0.5, 0.0, -0.5), unseen_distance=1.0))
    adapted.save(str(tmp_path))
    loaded = Artifact.load(str(tmp_path))
    assert loaded.weights == artifact.weights
    assert (loaded.can_adapt, artifact.can_adapt, loaded.encoder) == (False, True, artifact.encoder)


MATRIX, HEAD, BIAS = "model.encoder.layers.0.fc1.weight", "model.lstm.weight_hh_l0", "model.encoder.layers.0.fc1.bias"


def no_scale(tensors: Tensors) -> None:
    del tensors[f"{MATRIX}.scale"]


def scale_of_another_shape(tensors: Tensors) -> None:
    tensors[f"{MATRIX}.scale"] = tensors[f"{MATRIX}.scale"][:, None].clone()


def scale_of_nan(tensors: Tensors) -> None:
    tensors[f"{MATRIX}.scale"][3] = float("nan")


def scale_of_integers(tensors: Tensors) -> None:
    tensors[f"{MATRIX}.scale"] = tensors[f"{MATRIX}.scale"].to(torch.int8)


def head_in_int8(tensors: Tensors) -> None:
    tensors[HEAD], tensors[f"{HEAD}.scale"] = quantise(tensors[HEAD].float())


def bias_in_int8(tensors: Tensors) -> None:
    tensors[BIAS] = tensors[BIAS].to(torch.int8)


def matrix_in_half(tensors: Tensors) -> None:
    tensors[MATRIX] = tensors[MATRIX].half()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (no_scale, f"'{MATRIX}.scale' is missing"),
        (scale_of_another_shape, rf"'{MATRIX}.scale' is \(256, 1\) instead of \(256,\)"),
        (scale_of_nan, f"'{MATRIX}.scale' holds values that are not finite numbers"),
        (scale_of_integers, f"'{MATRIX}.scale' is int8 instead of float32"),
        (head_in_int8, f"'{HEAD}' is int8 instead of float16"),
        (bias_in_int8, f"'{BIAS}' is int8 instead of float16"),
        (matrix_in_half, f"'{MATRIX}' is float16 instead of int8"),
    ],
)
def test_what_does_not_go_together_is_one_clear_line(
    tmp_path: Path, edit: Callable[[Tensors], None], words: str
) -> None:
    quantised(TWO_ENCODERS)[0].save(str(tmp_path))
    tensors = load_file(tmp_path / WEIGHTS_FILE)
    edit(tensors)
    save_file(tensors, tmp_path / WEIGHTS_FILE)
    with pytest.raises(ArtifactError, match=words) as refusal:
        Artifact.load(str(tmp_path))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("weights_dtype", ["fp32", "fp16"])
def test_int8_where_the_config_says_otherwise_is_one_clear_line(tmp_path: Path, weights_dtype: str) -> None:
    artifact, _ = quantised(TWO_ENCODERS)
    config = artifact.config.replace(weights_dtype=weights_dtype)
    Artifact(config.to_json(), artifact.weights).save(str(tmp_path))
    with pytest.raises(ArtifactError, match=r"is int8 instead of float(32|16)$"):
        Artifact.load(str(tmp_path))


class _Own(SpeechModel):
    """A person's own model: one matrix that no training changes, and other things that want no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.fixed = torch.nn.Linear(4, 3).requires_grad_(False)
        self.learns = torch.nn.Linear(3, 2)
        self.numbers = torch.nn.Parameter(torch.ones(2, 2, dtype=torch.int64), requires_grad=False)
        self.none = torch.nn.Parameter(torch.ones(0, 2), requires_grad=False)


def test_ones_own_architecture_says_by_gradients_what_is_frozen() -> None:
    model = _Own()
    assert model.frozen_matrices == {"fixed.weight"}
    stored = model.stored_tensors("int8")
    assert {name: str(value.dtype) for name, value in stored.items()} == {
        "fixed.weight": "torch.int8", "fixed.weight.scale": "torch.float32", "fixed.bias": "torch.float16",
        "learns.weight": "torch.float16", "learns.bias": "torch.float16",
        "numbers": "torch.int64", "none": "torch.float16",
    }  # fmt: skip
    assert tiny_artifact().model().frozen_matrices == frozenset()
