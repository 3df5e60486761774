from pathlib import Path
from typing import Any

import pytest

from ser_core.audio.settings import MelSettings
from ser_core.errors import UsageError
from ser_core.settings import RENAMED
from ser_core.training.config import TrainConfig
from ser_core.training.data_config import SplitSettings
from ser_core.training.recipe import load_train_config
from tests.conftest import S3Server
from tests.support.models import tiny_artifact


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


@pytest.mark.parametrize(("before", "now"), RENAMED.items())
def test_a_name_of_before_leads_to_the_one_of_now(before: str, now: str) -> None:
    group = None if now in TrainConfig.model_fields else "split"
    with pytest.raises(UsageError, match=f"^f.yaml: '(split.)?{before}' is now called '{now}'$"):
        TrainConfig.from_dict({group: {before: 1}} if group else {before: 1}, "f.yaml")
    assert now in (SplitSettings if group else TrainConfig).model_fields


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mask_absent_labels": False}, "'mask_absent_labels' is gone (every label counts in the loss of every clip)"),
        ({"distillation": {"hears": "windows"}}, "'distillation.hears' is gone (teachers see the windows"),
        ({"augmentation": {"min_snr_db": 3.0}}, "'augmentation.min_snr_db' is gone (noise is 5 to 35 dB below"),
    ],
)
def test_what_is_gone_says_what_holds_instead(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as error:
        TrainConfig.from_dict(values, "f.yaml")
    assert str(error.value).startswith(f"f.yaml: {words}")
    assert str(error.value).endswith("; leave it out")


def test_home_is_expanded_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    file = tmp_path / "train.yaml"
    file.write_text(
        "licence_file: ~/LICENCE\nweights: ~/base.pth\ncache_dir: ~/cache\ndistillation: {teachers: [~/one, two]}\n"
    )
    config = load_train_config(file, {})
    assert (config.licence_file, config.weights) == ("/home/me/LICENCE", "/home/me/base.pth")
    assert (config.cache_dir, config.distillation.teachers) == ("/home/me/cache", ("/home/me/one", "two"))
    assert load_train_config(file, {"weights": "~/other.pth"}).weights == "/home/me/other.pth"


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


def test_a_model_in_a_bucket_says_the_settings(moto_s3: S3Server) -> None:
    """One that does not say how it was trained: all that is known of it is what it is."""
    start = tiny_artifact(weights_dtype="fp16")
    start.save(moto_s3.location.join("start").url)
    config = load_train_config(None, {"epochs": 2}, moto_s3.location.join("start").url)
    assert config.weights == moto_s3.location.join("start").url
    assert (config.architecture, config.window_seconds, config.weights_dtype) == ("compact", 1.0, "fp16")
    assert config.architecture_settings == start.config.architecture_settings
    mel = config.mel_settings(MelSettings())
    assert mel.num_mels == start.config.mel.num_mels
    assert (config.epochs, config.split.validation_speakers) == (2, 0)
