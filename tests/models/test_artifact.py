import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, load_file, save_file

import ser_core
from ser_core.errors import ArtifactError
from ser_core.models.artifact import CARD_FILE, WEIGHTS_FILE, Artifact, bundled_names, read_config
from ser_core.models.artifact_config import CONFIG_FILE, FORMAT_NUMBER
from ser_core.models.predictor import Predictor
from ser_core.score_config import ScoreConfig
from tests.conftest import S3Server
from tests.support.models import tiny_artifact

Tensors = dict[str, torch.Tensor]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_artifact().save(str(tmp_path / "model"))
    return tmp_path / "model"


def edit_config(folder: Path, **changes: Any) -> None:
    values = json.loads((folder / CONFIG_FILE).read_text()) | changes
    (folder / CONFIG_FILE).write_text(json.dumps({name: value for name, value in values.items() if value is not ...}))


def test_what_is_saved_is_what_is_loaded(folder: Path) -> None:
    saved, loaded = tiny_artifact(), Artifact.load(str(folder))
    assert loaded == saved
    assert loaded.identity == saved.identity == f"tiny@{saved.content_hash[:12]}"
    assert {file.name for file in folder.iterdir()} == {CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, "LICENSE-TEST.txt"}


def test_it_can_be_shipped_to_nodes() -> None:
    artifact = tiny_artifact()
    assert pickle.loads(pickle.dumps(artifact)) == artifact


def test_loads_from_a_bucket(moto_s3: S3Server) -> None:
    url = f"{moto_s3.location.url}/models/tiny"
    tiny_artifact().save(url)
    assert Artifact.load(url) == tiny_artifact()
    with pytest.raises(ArtifactError, match=r"s3://.*/models/none': no config.json there"):
        Artifact.load(f"{moto_s3.location.url}/models/none")


def test_whatever_changes_a_prediction_changes_the_hash(folder: Path) -> None:
    before = Artifact.load(str(folder)).content_hash
    edit_config(folder, temperature=2.0)
    other_temperature = Artifact.load(str(folder)).content_hash
    tensors = load_file(folder / WEIGHTS_FILE)
    tensors["model.classify.bias"] += 1e-3
    save_file(tensors, folder / WEIGHTS_FILE)
    assert len({before, other_temperature, Artifact.load(str(folder)).content_hash}) == 3


def test_half_precision_weights_are_computed_in_float32(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS_FILE)
    save_file(
        {
            name: value.half() if name.startswith("model.") and value.is_floating_point() else value
            for name, value in tensors.items()
        },
        folder / WEIGHTS_FILE,
    )
    windows = np.random.default_rng(0).normal(size=(3, 32, 20)).astype(np.float32)
    full, half = tiny_artifact(), Artifact.load(str(folder))
    assert {value.dtype for value in half.model().parameters()} == {torch.float32}
    np.testing.assert_allclose(
        Predictor(half).predict(windows).probabilities_NC, Predictor(full).predict(windows).probabilities_NC, atol=1e-2
    )


@pytest.mark.parametrize("architecture", ["compact", "whisper-bilstm"])
def test_weights_are_stored_in_half_precision_where_the_config_says_so(architecture: str) -> None:
    full = tiny_artifact(architecture=architecture)
    half = tiny_artifact(architecture=architecture, weights_dtype="fp16")
    stored = load(half.weights)
    parameters = {f"model.{name}" for name, _ in half.model().named_parameters()}
    assert {name for name, value in stored.items() if value.dtype == torch.float16} == parameters
    assert stored["mel.filterbank_FK"].dtype == torch.float32
    assert len(half.weights) < 0.75 * len(full.weights)
    for (name, rounded), exact in zip(
        half.model().state_dict().items(), full.model().state_dict().values(), strict=True
    ):
        assert rounded.dtype == exact.dtype, name
        torch.testing.assert_close(rounded, exact, rtol=1e-3, atol=1e-6)


def test_reading_half_precision_changes_neither_identity_nor_weights(tmp_path: Path) -> None:
    saved = tiny_artifact(architecture="whisper-bilstm", weights_dtype="fp16")
    saved.save(str(tmp_path))
    loaded = Artifact.load(str(tmp_path))
    assert (loaded, loaded.identity) == (saved, saved.identity)
    again = Artifact.of_model(loaded.config, loaded.model(), loaded.log_mel())
    assert again.content_hash == saved.content_hash


def test_an_artifact_holds_no_layer_that_is_not_used() -> None:
    names = {name.split(".layers.")[1][0] for name in load(tiny_artifact(architecture="whisper-bilstm").weights)
             if ".layers." in name}  # fmt: skip
    assert names == {"0", "1"}


def test_the_default_is_bundled() -> None:
    assert ScoreConfig().model in bundled_names()


def test_what_is_bundled_fits_sixty_megabytes() -> None:
    folder = Path(ser_core.__file__).parent / "bundled"
    sizes = {str(file.relative_to(folder)): file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    assert len(sizes) > 3 * len(bundled_names())
    assert sum(sizes.values()) <= 60_000_000, sizes


@pytest.mark.parametrize(
    ("name", "max_bytes"), [("compact", 8_000_000), ("vgg16-bilstm", 30_000_000), ("whisper-bilstm", 40_000_000)]
)
def test_what_is_bundled_is_small_and_says_what_it_is(name: str, max_bytes: int) -> None:
    artifact = Artifact.load(name)
    assert artifact.config.name == name
    assert len(artifact.weights) <= max_bytes
    assert artifact.config.licence
    assert artifact.config.licence in artifact.licence_text
    card = " ".join(artifact.card.split())
    said = (artifact.config.licence, f"({artifact.config.temperature})", "TESS", "unseen", "UAR", "Not good for")
    assert [words for words in said if words not in card] == []


@pytest.mark.parametrize("name", bundled_names())
def test_the_card_is_of_these_very_weights(name: str) -> None:
    artifact = Artifact.load(name)
    assert artifact.identity in artifact.card


def test_names_are_listed_without_torch() -> None:
    code = "import sys; from ser_core.models.artifact import bundled_names as n; n(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_config_is_read_alone(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()
    assert read_config(str(folder)) == tiny_artifact().config
    (folder / CONFIG_FILE).unlink()
    with pytest.raises(ArtifactError, match=r"no config.json there; give a model folder or a bundled name"):
        read_config(str(folder))


def test_a_config_is_read_without_torch() -> None:
    code = (
        "import sys; import ser_core.models.artifact as a; a.read_config('compact'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


CONFIG_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "newer": ({"format_number": FORMAT_NUMBER + 1}, "newer than this ser reads.*upgrade"),
    "foreign": ({"format_number": ...}, "no config of a ser model"),
    "missing field": ({"labels": ...}, "'labels' is missing"),
    "unknown field": ({"colour": "red"}, "unknown setting 'colour'"),
    "wrong type": ({"temperature": "hot"}, "'temperature' cannot be 'hot'"),
    "unknown architecture": ({"architecture": "transformer"}, "'transformer' is unknown; known: compact"),
    "unknown architecture setting": ({"architecture_settings": {"depth": 1}}, "unknown setting 'depth'"),
    "unknown precision of weights": ({"weights_dtype": "fp8"}, "'weights_dtype' cannot be 'fp8'; it takes one of fp32"),
    "unknown mel scale": ({"mel": {"scale": "mel"}}, "'mel.scale' cannot be 'mel'; it takes one of db, whisper"),
    "bad mel": ({"mel": {"num_mels": -1}}, "num_mels"),
    "mel of another kind": ({"mel": 128}, "'mel' cannot be 128"),
    "window": ({"window_seconds": 0}, "'window_seconds' cannot be 0; it takes a number from 0.1"),
    "no temperature": ({"temperature": 0}, "'temperature' cannot be 0; it takes a number from 0.001 to 1000"),
    "labels of another kind": ({"labels": "sad"}, "'labels' cannot be 'sad'; it takes a list of 2 or more"),
    "too few labels": ({"labels": ["sad"]}, "it takes a list of 2 or more"),
    "a label twice": ({"labels": ["sad", "sad", "calm"]}, "each once"),
    "a label no folder can have": ({"labels": ["sad", "a/b", "calm"]}, "'a/b' must be a lower-case word"),
    "a label that is no text": ({"labels": ["sad", 3, "calm"]}, "'labels' cannot be 3"),
    "other number of labels": ({"labels": ["sad", "calm"]}, r"'model.classify.bias' is \(3,\) instead of \(2,\)"),
    "licence elsewhere": ({"licence_file": "../../secret"}, "a file of the model's own folder"),
    "licence missing": ({"licence_file": "LICENSE"}, "no LICENSE there"),
}


@pytest.mark.parametrize("name", CONFIG_FAULTS)
def test_a_config_that_cannot_be_used_is_one_clear_line(folder: Path, name: str) -> None:
    changes, words = CONFIG_FAULTS[name]
    edit_config(folder, **changes)
    assert_refused(folder, words)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"null"])
def test_a_config_that_is_no_json_is_one_clear_line(folder: Path, content: bytes) -> None:
    (folder / CONFIG_FILE).write_bytes(content)
    assert_refused(folder, "config.json")


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert_refused(folder, rf"{name} cannot be read \(it is a device or pipe, not a file\)")


def drop(tensors: Tensors) -> None:
    del tensors["model.classify.bias"]


def add(tensors: Tensors) -> None:
    tensors["model.extra"] = torch.zeros(1)


def reshape(tensors: Tensors) -> None:
    tensors["mel.filterbank_FK"] = torch.zeros(32, 5)


def spoil(tensors: Tensors) -> None:
    tensors["model.attention.weight"][0, 0] = float("nan")


def whole_numbers(tensors: Tensors) -> None:
    tensors["model.classify.bias"] = torch.zeros(3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (drop, "'model.classify.bias' is missing"),
        (add, "'model.extra' is unknown"),
        (reshape, r"'mel.filterbank_FK' is \(32, 5\) instead of \(32, 513\)"),
        (spoil, "'model.attention.weight' holds values that are not finite numbers"),
        (whole_numbers, "'model.classify.bias' holds values that are not finite numbers"),
    ],
)
def test_tensors_that_do_not_fit_are_one_clear_line(folder: Path, edit: Callable[[Tensors], None], words: str) -> None:
    tensors = load_file(folder / WEIGHTS_FILE)
    edit(tensors)
    save_file(tensors, folder / WEIGHTS_FILE)
    assert_refused(folder, words)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.999])
def test_truncated_weights_are_one_clear_line(folder: Path, share: float) -> None:
    data = (folder / WEIGHTS_FILE).read_bytes()
    (folder / WEIGHTS_FILE).write_bytes(data[: int(len(data) * share)])
    assert_refused(folder, "model.safetensors is broken or no safetensors file")


def test_a_pickle_is_not_opened(folder: Path) -> None:
    torch.save({"model.classify.bias": torch.zeros(3)}, folder / WEIGHTS_FILE)
    assert_refused(folder, "model.safetensors is broken or no safetensors file")


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE, CARD_FILE])
def test_a_missing_file_is_named_with_the_bundled_models(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert_refused(folder, f"no {name} there; give a model folder or a bundled name .*compact")


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE, CARD_FILE])
def test_a_file_that_cannot_be_read_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    assert_refused(folder, f"{name} cannot be read")


def test_no_folder_or_a_file_in_its_place_is_one_clear_line(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nowhere", "no config.json there")
    (tmp_path / "file").write_text("x")
    assert_refused(tmp_path / "file", "no config.json there")


def assert_refused(folder: Path, words: str) -> None:
    with pytest.raises(ArtifactError, match=words) as refusal:
        Artifact.load(str(folder))
    assert str(refusal.value).startswith(f"model '{folder}': ")
    assert "\n" not in str(refusal.value)
