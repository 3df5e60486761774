from pathlib import Path
from typing import Any

import pytest

from ser_core.errors import UsageError
from ser_core.training.config import TrainConfig, load_train_config


def test_options_override_the_file_and_none_does_not(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("epochs: 7\nsplit:\n  split: random\n  test_share: 0.5\n")
    config = load_train_config(file, {"epochs": None, "split.folds": 3, "seed": 4, "split.split": None})
    assert (config.epochs, config.seed) == (7, 4)
    assert (config.split.split, config.split.folds, config.split.test_share) == ("random", 3, 0.5)
    assert load_train_config(None, {"split.folds": 3}).split.folds == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch: 3", "unknown setting 'epoch'"),
        ("epochs: 0", "'epochs' cannot be 0; it takes a whole number from 1 to 1000000"),
        ("schedule: cosine", "'schedule' cannot be 'cosine'; it takes one of one_cycle, none"),
        ("split: {sort: random}", "unknown setting 'split.sort'; known: calibration_share"),
        ("split: random", "'split' cannot be 'random'"),
        ("augmentation: {speed: fast}", "'augmentation.speed' cannot be 'fast'; it takes a number"),
        ("distillation: {weight: 2.0}", "'distillation.weight' cannot be 2.0; it takes a number from 0 to 1"),
        ("distillation: {teachers: one}", "'distillation.teachers' cannot be 'one'; it takes a list"),
        ("mel: {bands: 3}", "mel: unknown setting 'bands'"),
        ("cache_frozen: true", "switch the augmentation off, or cache_frozen"),
    ],
)
def test_a_bad_file_gets_one_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"(?s)^[^\n]*$") as error:
        load_train_config(file, {})
    assert words in str(error.value)


def test_a_recipe_tells_names_and_no_places() -> None:
    values = {
        "weights": "https://me:secret@host/models/base.pth?key=secret",
        "licence_file": "/home/me/LICENCE.txt",
        "distillation": {"teachers": ["/home/me/teacher/", "s3://bucket/models/other", "compact"]},
    }
    recipe = TrainConfig.from_dict(values).recipe()
    assert (recipe["weights"], recipe["licence_file"]) == ("base.pth", "LICENCE.txt")
    assert recipe["distillation"]["teachers"] == ["teacher", "other", "compact"]


@pytest.mark.parametrize("values", [{"workers": 3}, {"device": "cpu"}, {"cache_dir": "there"}, {"threads": 2}])
def test_where_it_is_done_is_no_part_of_the_recipe(values: dict[str, Any]) -> None:
    assert TrainConfig(**values).recipe() == TrainConfig().recipe()
