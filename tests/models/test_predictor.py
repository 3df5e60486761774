import re
import subprocess
import sys
import threading
from typing import Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from ser_core.errors import ArtifactError, UsageError
from ser_core.models.architectures.compact import Compact
from ser_core.models.artifact import Artifact, bundled_names
from ser_core.models.base import SpeechModel
from ser_core.models.precision import has_bf16, resolve_device
from ser_core.models.predictor import Predictor, _hold_in_bf16
from ser_core.models.registry import ARCHITECTURES, build, default_mel
from ser_core.settings import Device, Precision, ResolvedPrecision, Threads
from tests.support.audio_factory import speech
from tests.support.models import LABELS, adaptable_artifact, tiny_artifact

SAMPLES = 16_000
BUNDLED = [Artifact.load(name) for name in bundled_names()]


def pcm_windows(num_windows: int) -> np.ndarray:
    rng = np.random.default_rng(2)
    pitch_N1 = rng.uniform(80, 400, (num_windows, 1))
    time = np.arange(SAMPLES) / SAMPLES
    noise_NS = rng.normal(size=(num_windows, SAMPLES)) * rng.uniform(0.01, 0.5, (num_windows, 1))
    return (np.sin(2 * np.pi * pitch_N1 * time) + noise_NS).astype(np.float32)


def mel_windows(num_windows: int) -> np.ndarray:
    mel: np.ndarray = tiny_artifact().log_mel()(torch.from_numpy(pcm_windows(num_windows))).numpy()
    return mel


@pytest.fixture
def torch_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """On CPUs, too, torch runs the network."""
    monkeypatch.setattr("ser_core.models.predictor.Embedder", lambda *_, **__: None)


@pytest.mark.parametrize("artifact", [tiny_artifact(), tiny_artifact(architecture="whisper-bilstm"), *BUNDLED])
def test_predictions_do_not_depend_on_the_batch_size(artifact: Artifact) -> None:
    pcm = pcm_windows(9)
    predictions = [
        Predictor(artifact, batch_size=size, features_on="device").predict(pcm).probabilities_NC for size in (1, 4, 16)
    ]
    for prediction in predictions[1:]:
        assert (prediction.argmax(1) == predictions[0].argmax(1)).all()
        np.testing.assert_allclose(prediction, predictions[0], atol=1e-5)


@pytest.mark.parametrize("artifact", [tiny_artifact(), *BUNDLED])
def test_predictions_do_not_depend_on_neighbours_or_order(artifact: Artifact) -> None:
    pcm = pcm_windows(10)
    predictor = Predictor(artifact, batch_size=4, features_on="device")
    order = np.random.default_rng(0).permutation(10)
    whole = predictor.predict(pcm).probabilities_NC
    np.testing.assert_allclose(predictor.predict(pcm[order]).probabilities_NC, whole[order], atol=1e-6)
    np.testing.assert_allclose(predictor.predict(pcm[3:4]).probabilities_NC, whole[3:4], atol=1e-6)


@pytest.mark.usefixtures("torch_runs")
def test_every_batch_has_one_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    predictor = Predictor(tiny_artifact(), batch_size=8)
    forward = predictor._model.forward
    monkeypatch.setattr(predictor._model, "forward", lambda mel: (shapes.append(tuple(mel.shape)), forward(mel))[1])
    predictor.predict(mel_windows(19))
    assert shapes == [(8, 32, 51)] * 3


def test_features_on_the_device_are_those_of_the_loader() -> None:
    on_device = Predictor(tiny_artifact(), features_on="device").predict(pcm_windows(9)).probabilities_NC
    np.testing.assert_allclose(
        on_device, Predictor(tiny_artifact()).predict(mel_windows(9)).probabilities_NC, atol=1e-6
    )


def test_probabilities_are_calibrated_and_sum_to_one() -> None:
    mel = mel_windows(5)
    sharp = Predictor(tiny_artifact(temperature=0.5)).predict(mel).probabilities_NC
    plain = Predictor(tiny_artifact(temperature=1.0)).predict(mel).probabilities_NC
    np.testing.assert_allclose(sharp.sum(1), 1.0, atol=1e-6)
    np.testing.assert_allclose(sharp, plain**2 / (plain**2).sum(1, keepdims=True), atol=1e-6)


def test_takes_read_only_arrays_and_none_at_all() -> None:
    predictor = Predictor(tiny_artifact())
    mel = mel_windows(2)
    frozen = np.frombuffer(mel.tobytes(), np.float32).reshape(mel.shape)
    np.testing.assert_array_equal(predictor.predict(frozen).probabilities_NC, predictor.predict(mel).probabilities_NC)
    assert predictor.predict(mel[:0]).probabilities_NC.shape == (0, len(LABELS))


def test_silence_and_absurd_levels_get_a_prediction() -> None:
    pcm = np.stack([np.zeros(SAMPLES), np.full(SAMPLES, 3e38), np.full(SAMPLES, 1e-40)]).astype(np.float32)
    prediction = Predictor(tiny_artifact(), features_on="device").predict(pcm).probabilities_NC
    np.testing.assert_allclose(prediction.sum(1), 1.0, atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("artifact", [*BUNDLED, adaptable_artifact()])
def test_the_last_layers_say_the_same_of_kept_embeddings(artifact: Artifact, precision: ResolvedPrecision) -> None:
    """In float16, as tables keep them; asking for them changes no prediction. Of noise a ridge is too sure for that."""
    if precision == "bf16" and not has_bf16("cpu"):
        pytest.skip("this CPU does not compute in bf16")
    predictor = Predictor(artifact, precision=precision, batch_size=4, features_on="device", gives_embeddings=True)
    voices = np.stack([speech(1.0, ("angry", "calm", "sad")[seed % 3], seed=seed) for seed in range(9)])
    output = predictor.predict(voices)
    assert output.embeddings_NE is not None
    assert output.embeddings_NE.dtype == np.float16
    plain = Predictor(artifact, precision=precision, batch_size=4, features_on="device").predict(voices)
    np.testing.assert_allclose(output.probabilities_NC, plain.probabilities_NC, atol=1e-6)
    assert plain.embeddings_NE is None
    again = predictor.predict_embedded(output.embeddings_NE)
    np.testing.assert_allclose(again.probabilities_NC, plain.probabilities_NC, atol=1e-3)
    assert np.abs(again.probabilities_NC - again.probabilities_NC[:1]).max() > 1e-3


def test_whoever_asks_about_one_window_at_a_time_waits_for_no_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr("ser_core.models.predictor.Embedder", lambda *given, **_: made.append(given))
    Predictor(tiny_artifact(), batch_size=2)
    assert len(made) == 1
    Predictor(tiny_artifact(), batch_size=1)
    assert len(made) == 1


def test_embeddings_are_refused_where_the_architecture_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compact, "embed_encoded", SpeechModel.embed_encoded)
    with pytest.raises(
        ArtifactError, match=r"model 'tiny@.*' gives no embeddings: architecture 'compact'.*use another"
    ):
        Predictor(tiny_artifact(), gives_embeddings=True)


def test_an_encoder_is_the_same_whatever_its_head_is() -> None:
    plain, sharp = tiny_artifact(), tiny_artifact(temperature=0.5)
    tensors = load(plain.weights)
    other_head = Artifact(
        plain.config_json, save(tensors | {"model.classify.bias": tensors["model.classify.bias"] + 1})
    )
    name = "model.attention.bias"
    other_encoder = Artifact(plain.config_json, save(tensors | {name: tensors[name] + 1}))
    identity = plain.encoder.identity
    assert re.fullmatch(r"compact-[0-9a-f]{12}", identity)
    assert sharp.encoder.identity == other_head.encoder.identity == identity
    assert other_encoder.encoder.identity != identity
    assert adaptable_artifact().encoder.identity.startswith("whisper-bilstm-")


@pytest.mark.usefixtures("torch_runs")
def test_no_gradient_is_kept_in_any_thread() -> None:
    predictor = Predictor(tiny_artifact(), threads=Threads(1))
    mel = mel_windows(2)
    inference: list[bool] = []
    predictor._model.register_forward_hook(lambda *_: inference.append(torch.is_inference_mode_enabled()))
    thread = threading.Thread(target=predictor.predict, args=(mel,))
    thread.start()
    thread.join(60)
    assert inference == [True]


@pytest.mark.usefixtures("torch_runs")
def test_the_number_of_threads_holds_in_the_calling_thread() -> None:
    predictor = Predictor(tiny_artifact(), threads=Threads(1))
    seen: list[int] = []
    predictor._model.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        predictor.predict(mel_windows(1))
    finally:
        torch.set_num_threads(before)
    assert seen == [1]


def test_scoring_imports_nothing_that_only_training_needs() -> None:
    code = (
        "import sys, numpy; from ser_core.models.artifact import Artifact;"
        "from ser_core.models.predictor import Predictor;"
        "Predictor(Artifact.load('compact'), features_on='device').predict(numpy.zeros((1, 48000), 'f'));"
        # torch's compiler takes a second and 150 MB; VGG16 is torchvision's, which needs it.
        "Artifact.load('whisper-bilstm').model();"
        "unwanted = {'librosa', 'scipy', 'torchvision', 'sklearn', 'ray', 'requests', 'matplotlib', 'sympy', 'triton'};"
        "sys.exit(', '.join(unwanted & sys.modules.keys()) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_what_is_no_number_never_becomes_a_row() -> None:
    artifact = tiny_artifact()
    tensors = load(artifact.weights)
    tensors["model.classify.bias"][0] = float("inf")
    broken = Artifact(artifact.config_json, save(tensors))
    with pytest.raises(ArtifactError, match=r"tiny@.*no number"):
        Predictor(broken).predict(mel_windows(1))


NEEDS_BF16 = pytest.mark.skipif(not has_bf16("cpu"), reason="this CPU does not compute in bf16")


@NEEDS_BF16
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_held_in_bf16_predict_as_those_that_autocast_rounds(architecture: str) -> None:
    torch.manual_seed(1)
    mel = default_mel(architecture)
    model = build(architecture, {}, mel.num_mels, len(LABELS)).eval()
    mel_BFT = torch.randn(2, mel.num_mels, 64)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        rounded_each_time = model(mel_BFT)
        _hold_in_bf16(model)
        torch.testing.assert_close(model(mel_BFT), rounded_each_time, rtol=0, atol=0)
    held = sum(value.numel() for value in model.parameters() if value.dtype == torch.bfloat16)
    assert held > 0.6 * sum(value.numel() for value in model.parameters())


@NEEDS_BF16
@pytest.mark.parametrize("architecture", ["compact", "whisper-bilstm"])
def test_bf16_is_near_fp32_and_repeats_itself(architecture: str) -> None:
    artifact = Artifact.load("compact") if architecture == "compact" else tiny_artifact(architecture=architecture)
    pcm = pcm_windows(20)
    exact = Predictor(artifact, batch_size=8, features_on="device").predict(pcm).probabilities_NC
    reduced = Predictor(artifact, precision="bf16", batch_size=8, features_on="device")
    np.testing.assert_allclose(reduced.predict(pcm).probabilities_NC, exact, atol=0.05)
    # Nor does it matter where in a batch a window comes.
    np.testing.assert_array_equal(
        reduced.predict(pcm).probabilities_NC[8:16], reduced.predict(pcm[8:16]).probabilities_NC
    )
    np.testing.assert_array_equal(
        reduced.predict(pcm).probabilities_NC[3:16], reduced.predict(pcm[3:16]).probabilities_NC
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU to compare with the CPU")
@pytest.mark.parametrize("model", bundled_names())
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-3), ("bf16", 0.05)])
def test_a_gpu_agrees_with_the_cpu(model: str, precision: Literal["fp32", "bf16"], bound: float) -> None:
    artifact = Artifact.load(model)
    pcm = pcm_windows(20)
    on_gpu = Predictor(artifact, device="cuda", precision=precision, features_on="device").predict(pcm).probabilities_NC
    np.testing.assert_allclose(
        on_gpu, Predictor(artifact, features_on="device").predict(pcm).probabilities_NC, atol=bound
    )


@pytest.mark.parametrize(
    ("has_gpu", "has_bf16", "asked", "resolved"),
    [
        (False, False, ("auto", "auto"), ("cpu", "fp32")),
        (False, True, ("auto", "auto"), ("cpu", "bf16")),
        (False, True, ("auto", "fp32"), ("cpu", "fp32")),
        (False, True, ("cpu", "bf16"), ("cpu", "bf16")),
        (True, True, ("auto", "auto"), ("cuda", "bf16")),
        (True, False, ("auto", "auto"), ("cuda", "fp32")),
        (True, True, ("auto", "fp32"), ("cuda", "fp32")),
        (True, True, ("cpu", "auto"), ("cpu", "bf16")),
    ],
)
def test_auto_is_resolved_by_what_the_machine_has(
    monkeypatch: pytest.MonkeyPatch,
    has_gpu: bool,
    has_bf16: bool,
    asked: tuple[Device, Precision],
    resolved: tuple[str, str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr("ser_core.models.precision.has_bf16", lambda _device: has_bf16)
    assert resolve_device(*asked) == resolved


def test_what_the_machine_does_not_have_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="--device cuda: no usable GPU"):
        resolve_device("cuda", "auto")
    monkeypatch.setattr("ser_core.models.precision.has_bf16", lambda _device: False)
    with pytest.raises(UsageError, match="--precision bf16"):
        resolve_device("cpu", "bf16")
