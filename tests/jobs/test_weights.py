"""`ser train --weights`: by name, of one hash alone, written in the model; and what would stay random."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from ser_core.errors import ArtifactError
from ser_core.models import Artifact, bundled_names, read_config
from ser_core.models.architectures.moonshine_encoder import MoonshineEncoder
from ser_core.models.stored import dequantise, quantise
from ser_core.training import TrainConfig
from ser_core.training.transfer import Start
from tests.support.cli import Answer, assert_one_line, ser_here
from tests.support.http_server import FlakyServer, serving
from tests.support.trained_here import TrainsHere
from tests.support.training import REGRESSION, TWO_ENCODERS, settings, write_corpus, write_encoder

NOBODY_NEW = ("--test-share", "0", "--validation-speakers", "0", "--calibration-speakers", "0", "--epochs", "1")
NAME, COMMIT = "openai/whisper-base", "e37978b90ca9"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds tone.parquet, encoder.safetensors and recipe.yaml, whose encoder is frozen."""
    folder = tmp_path_factory.mktemp("data")
    write_corpus(folder, takes=2)
    write_encoder(folder / "encoder.safetensors", 32)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(settings(folder / "cache", **REGRESSION, epochs=1)))
    return folder


@pytest.fixture
def hub(data: Path) -> Iterator[FlakyServer]:
    """A hub that has the encoder."""
    content = (data / "encoder.safetensors").read_bytes()
    with serving(content) as server:
        told = {"X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        server.heads = [(302, {"Location": "https://cdn.example/", **told})]
        yield server


def train(data: Path, folder: Path, *words: str | Path, recipe: Path | None = None, **extra: str) -> Answer:
    recipe = recipe or data / "recipe.yaml"
    return ser_here("train", data / "tone.parquet", folder, "--config", recipe, *words, ray=TrainsHere, **extra)


def test_a_frozen_encoder_of_random_weights_is_refused(data: Path, tmp_path: Path) -> None:
    answer = train(data, tmp_path / "my")
    assert_one_line(answer, 2, "layers of whisper-bilstm are frozen", "stay random; give weights", "--from MODEL")
    vgg = {"architecture": "vgg16-bilstm", "architecture_settings": {"num_blocks": 1, "frozen_blocks": 1}}
    (tmp_path / "vgg.yaml").write_text(yaml.safe_dump(settings(data / "cache", **vgg)))
    answer = train(data, tmp_path / "my", recipe=tmp_path / "vgg.yaml")
    assert_one_line(answer, 2, "layers of vgg16-bilstm are frozen", "frozen_blocks 0")
    assert not (tmp_path / "my").exists()


def test_weights_by_name_are_fetched_written_and_found_again(data: Path, tmp_path: Path, hub: FlakyServer) -> None:
    answer = train(data, tmp_path / "my", "--weights", NAME, HF_ENDPOINT=hub.folder_url)
    assert answer.code in {0, 3}, answer.err
    assert f"weights {NAME}: fetched into" in answer.err
    made = json.loads((tmp_path / "my/config.json").read_text())["training"]
    sha256 = hashlib.sha256(hub.content).hexdigest()
    source = {"repository": NAME, "file": "model.safetensors", "revision": COMMIT, "sha256": sha256}
    assert made["weights_source"] == source
    assert made["settings"]["weights"] == NAME
    card = (tmp_path / "my/MODEL_CARD.md").read_text()
    assert f"Began with {NAME}, model.safetensors, revision {COMMIT}, sha256 {sha256}" in card
    # The settings that the model says it was made with are a recipe, and the same one; the network is not asked.
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(made["settings"] | {"cache_dir": str(data / "cache")}))
    answer = train(data, tmp_path / "my", recipe=tmp_path / "again.yaml", HF_ENDPOINT="http://127.0.0.1:9")
    assert answer.code in {0, 3}, answer.err
    assert "already trained" in answer.err


def test_a_recipe_may_say_the_hash_of_its_weights(data: Path, tmp_path: Path) -> None:
    encoder = data / "encoder.safetensors"
    sha256 = hashlib.sha256(encoder.read_bytes()).hexdigest()
    recipe: dict[str, Any] = yaml.safe_load((data / "recipe.yaml").read_text()) | {"weights": str(encoder)}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"weights_sha256": "0" * 8}))
    answer = train(data, tmp_path / "my", recipe=tmp_path / "recipe.yaml")
    assert_one_line(answer, 2, "weights_sha256 is 00000000, but its sha256 is " + sha256)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"weights_sha256": sha256}))
    answer = train(data, tmp_path / "my", recipe=tmp_path / "recipe.yaml")
    assert answer.code in {0, 3}, answer.err
    made = json.loads((tmp_path / "my/config.json").read_text())["training"]
    assert made["weights_source"] == {"file": "encoder.safetensors", "sha256": sha256}
    # Where a file of one's own lies is nobody's business.
    assert made["settings"]["weights"] == "encoder.safetensors"


def test_a_second_encoder_has_weights_of_its_own(data: Path, tmp_path: Path) -> None:
    first, file = write_encoder(tmp_path / "first.safetensors", 32), tmp_path / "second.safetensors"
    recipe = settings(data / "cache", **TWO_ENCODERS | {"weights_dtype": "int8"}, epochs=1, weights=str(first))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    answer = train(data, tmp_path / "my", recipe=tmp_path / "recipe.yaml")
    assert_one_line(answer, 2, "the second encoder is frozen", "stay random; give second_weights", "--from MODEL")
    (tmp_path / "deaf.yaml").write_text(yaml.safe_dump(recipe | {"mel": {"num_mels": 32}}))
    answer = train(data, tmp_path / "my", recipe=tmp_path / "deaf.yaml")
    assert_one_line(answer, 2, "the second encoder hears samples, and the log-mel has none; give mel: {samples: true")
    second = MoonshineEncoder(32, 2)
    save_file({f"model.encoder.{name}": value for name, value in second.state_dict().items()}, file)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"second_weights": str(file)}))
    answer = train(data, tmp_path / "my", recipe=tmp_path / "recipe.yaml")
    assert answer.code in {0, 3}, answer.err
    artifact = Artifact.load(str(tmp_path / "my"))
    tensors = artifact.model().state_dict()
    for name, value in second.state_dict().items():
        expected = dequantise(*quantise(value)) if value.dim() == 2 else value.half().float()
        assert torch.equal(tensors[f"moonshine.encoder.{name}"], expected), name
    assert artifact.config.training["second_weights_source"]["file"] == "second.safetensors"
    assert "Began with first.safetensors, sha256 " in artifact.card
    assert " and with second.safetensors, sha256 " in artifact.card
    # It goes with the model that another one starts from.
    words = ("train", data / "tone.parquet", tmp_path / "mine", "--from", tmp_path / "my", *NOBODY_NEW)
    answer = ser_here(*words, ray=TrainsHere, XDG_CACHE_HOME=str(tmp_path))
    assert answer.code in {0, 3}, answer.err
    mine = Artifact.load(str(tmp_path / "mine"))
    assert mine.config.weights_dtype == "int8"
    found = mine.model().state_dict()
    assert all(torch.equal(found[name], tensors[name]) for name in mine.model().frozen_matrices)


def test_a_published_name_is_no_folder_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the hub's repository, whose config.json is no model's."""
    monkeypatch.chdir(tmp_path)
    Path(NAME).mkdir(parents=True)
    Path(NAME, "config.json").write_text("{}")
    assert Start("weights", NAME, tmp_path).artifact is None
    with pytest.raises(ArtifactError, match="no config of a ser model"):
        _ = Start("weights", f"./{NAME}", tmp_path).artifact


@pytest.mark.parametrize("name", bundled_names())
def test_the_settings_in_a_cards_config_are_accepted_by_the_version_that_carries_it(name: str) -> None:
    found = read_config(name).training["settings"]
    recipe = TrainConfig.from_dict(found).recipe()
    assert {setting: recipe[setting] for setting in found} == found
