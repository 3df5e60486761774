"""An architecture of a user's own, in one file outside the package, and what of it may be executed."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from ser_core.models import Artifact, OwnCode, architecture
from tests.support.cli import Answer, assert_one_line, predictions, ser_here
from tests.support.own_architecture import CODE, write_code
from tests.support.trained_here import TrainsHere
from tests.support.training import settings, write_corpus

#: What a hostile file would do, seen.
CANARY = "raise RuntimeError('executed')\n"


def ser(*words: str | Path) -> Answer:
    return ser_here(*words, ray=TrainsHere)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds tone.parquet, recipe.yaml, my_net.py, and MY, trained with them."""
    folder = tmp_path_factory.mktemp("own")
    write_corpus(folder)
    recipe = settings(folder / "cache", architecture_settings={"width": 24}, epochs=12, learning_rate=0.02)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    code = write_code(folder)
    answer = ser("train", folder / "tone.parquet", folder / "MY", *recipe_of(folder), "--architecture", code)
    assert answer.code == 0, answer.err
    return folder


def recipe_of(folder: Path) -> tuple[str | Path, ...]:
    return ("--config", folder / "recipe.yaml")


def test_it_is_trained_evaluated_and_scored_with(data: Path, tmp_path: Path) -> None:
    named = ("--architecture", data / "my_net.py")
    answer = ser("evaluate", data / "MY", data / "tone.parquet", tmp_path / "page", "--resamples", "20", *named)
    assert answer.code == 0, answer.err
    answer = ser("score", data / "tone", tmp_path / "out", "--model", data / "MY", "--engine", "local", *named)
    assert answer.code == 0, answer.err
    rows = predictions(tmp_path / "out").to_pylist()
    assert len({row["path"] for row in rows}) == 60
    assert np.mean([row["emotion"] in row["path"] for row in rows]) > 0.8
    # The model's own copy is as good as the file, where it is named.
    answer = ser(
        "predict", data / "tone/0-happy-0.wav", "--model", data / "MY", "--architecture", data / "MY/my_net.py"
    )
    assert answer.code == 0, answer.err


def test_a_model_says_where_its_code_came_from_and_has_a_copy(data: Path) -> None:
    code = OwnCode.read(str(data / "my_net.py"))
    with code.in_use():
        artifact = Artifact.load(str(data / "MY"))
    assert (artifact.config.architecture, artifact.config.architecture_settings) == ("my_net", {"width": 24})
    assert artifact.config.code == code.origin
    assert (data / "MY/my_net.py").read_text() == CODE
    # It travels to other machines, where nobody named the file.
    there = pickle.loads(pickle.dumps(artifact))
    assert there.model()(torch.zeros(1, 32, 9)).shape == (1, 3)


@pytest.mark.parametrize("verb", ["evaluate", "predict", "models", "score"])
def test_without_the_file_on_the_command_line_nothing_is_executed(data: Path, tmp_path: Path, verb: str) -> None:
    (data / "MY/my_net.py").write_text(CANARY)
    try:
        words: dict[str, tuple[str | Path, ...]] = {
            "evaluate": (data / "MY", data / "tone.parquet", tmp_path / "page"),
            "predict": (data / "tone/0-happy-0.wav", "--model", data / "MY"),
            "models": (data / "MY",),
            "score": (data / "tone", tmp_path / "out", "--model", data / "MY", "--engine", "local"),
        }
        answer = ser(verb, *words[verb])
        assert_one_line(answer, 1, "code of my_net.py", "--architecture my_net.py", "a copy is in the model's folder")
    finally:
        (data / "MY/my_net.py").write_text(CODE)


def test_another_file_is_not_the_models(data: Path, tmp_path: Path) -> None:
    changed = write_code(tmp_path, CODE + "\n# Another.\n")
    answer = ser("models", data / "MY", "--architecture", changed)
    assert_one_line(answer, 1, "my_net.py is not the file that it was trained with")
    assert ser("models", data / "MY", "--architecture", data / "my_net.py").code == 0
    # Nor one that has the name of an architecture of this program.
    answer = ser("models", "compact", "--architecture", write_code(tmp_path, name="compact.py"))
    assert_one_line(answer, 1, "'compact' is not that of compact.py")


def test_a_training_goes_on_with_the_same_file_alone(data: Path, tmp_path: Path) -> None:
    def again(code: Path, *more: str) -> Answer:
        return ser("train", data / "tone.parquet", data / "MY", *recipe_of(data), "--architecture", code, *more)

    assert "already trained" in again(data / "my_net.py").err
    assert_one_line(again(write_code(tmp_path, CODE + "\n")), 1, "begun with other settings: code.sha256 was")


def test_a_file_of_settings_names_no_code(data: Path, tmp_path: Path) -> None:
    recipe = yaml.safe_load((data / "recipe.yaml").read_text()) | {"architecture": str(write_code(tmp_path, CANARY))}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    answer = ser("train", data / "tone.parquet", tmp_path / "my", *recipe_of(tmp_path))
    assert_one_line(answer, 2, "code is executed only where the command line names it: --architecture")
    assert not (tmp_path / "my").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def forward(:\n", "SyntaxError: invalid syntax (my_net.py, line 1)"),
        ("\nimport no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module' (line 2)"),
        ("raise SystemExit(3)\n", "SystemExit: 3 (line 1)"),
        ("x = 1\n", "has no ARCHITECTURE"),
        ("ARCHITECTURE = dict\n", "has no ARCHITECTURE"),
        (CODE.replace("nn.ReLU()", "nn.Nothing()"), "has no attribute 'Nothing' (line 19)"),
        (CODE.replace("dim=1))", "dim=1))[:, :2]"), "gives (3, 2) for 3 windows of 64 frames, instead of (3, 3)"),
        (CODE.replace("dim=1))", "dim=1)).log() - 99"), "not finite numbers"),
        (CODE.replace("encoded.mean(dim=2)", "encoded.mean(dim=(0, 2))[None].expand(len(encoded), -1)"), "than alone"),
    ],
    ids=["syntax", "import", "exit", "nothing", "foreign", "build", "shape", "infinite", "neighbours"],
)
def test_what_is_wrong_with_it_is_one_line_before_training(data: Path, tmp_path: Path, text: str, words: str) -> None:
    recipe = yaml.safe_load((data / "recipe.yaml").read_text())
    del recipe["architecture_settings"]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    code = write_code(tmp_path, text)
    answer = ser("train", data / "tone.parquet", tmp_path / "my", *recipe_of(tmp_path), "--architecture", code)
    assert_one_line(answer, 2, "my_net", words)
    assert not (tmp_path / "my").exists()


@pytest.mark.parametrize(
    ("name", "words"), [("none.py", "cannot be read"), ("my-net.py", "letters, digits"), ("my_net", "letters")]
)
def test_a_file_that_cannot_be_one_is_a_line(tmp_path: Path, name: str, words: str) -> None:
    assert_one_line(ser("models", "compact", "--architecture", tmp_path / name), 2, words)


def test_an_installed_package_offers_one(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_code(tmp_path, name="nets_of_mine.py")
    info = tmp_path / "nets_of_mine-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nets-of-mine\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[ser.architectures]\nmine = nets_of_mine:ARCHITECTURE\nbroken = nets_of_mine:NOTHING\n"
    )
    words = ("train", data / "tone.parquet", tmp_path / "my", *recipe_of(data), "--architecture")
    assert_one_line(ser(*words, "mine"), 2, "'mine' is unknown; known: compact, vgg16-bilstm, whisper-bilstm")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert_one_line(ser(*words, "broken"), 2, "architecture nets_of_mine:NOTHING: AttributeError")
    assert "known: broken, compact, mine," in ser(*words, "other").err
    answer = ser(*words, "mine")
    assert answer.code == 0, answer.err
    found: dict[str, Any] = Artifact.load(str(tmp_path / "my")).config.to_dict()["code"]
    assert (found["package"], found["version"], found["file"]) == ("nets-of-mine", "1.2", None)
    assert architecture("mine").origin is not None
    assert not (tmp_path / "my/nets_of_mine.py").exists()
    monkeypatch.undo()
    assert_one_line(ser("models", tmp_path / "my"), 1, "of the package nets-of-mine 1.2, which is not installed")
