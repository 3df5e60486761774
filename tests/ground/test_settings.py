import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, ValidationError

from ser_core.audio.segments import WindowSettings
from ser_core.audio.settings import MelSettings
from ser_core.errors import UsageError
from ser_core.score_config import ScoreConfig, load_score_config
from ser_core.settings import Names, Settings, seconds_from_environment
from ser_core.training import load_train_config
from ser_core.yaml_file import read_yaml


def test_options_override_the_file_and_none_does_not(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("channels: each\nbatch_size: 8\n")
    config = load_score_config(file, {"batch_size": 4, "channels": None})
    assert (config.channels, config.batch_size) == ("each", 4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("chanels: each", "unknown setting 'chanels'"),
        ("channels: both", "'channels' cannot be 'both'; it takes one of mix, each"),
        ("batch_size: many", "'batch_size' cannot be 'many'; it takes a whole number from 1 to 65536 or nothing"),
        ("batch_size: 0", "'batch_size' cannot be 0; it takes a whole number from 1 to 65536"),
        ("prune: 1", "'prune' cannot be 1; it takes true or false"),
        ("commit_seconds: -1", "'commit_seconds' cannot be -1; it takes a number from 0.001 to 10000000"),
        ("window_seconds: 0", "'window_seconds' cannot be 0; it takes a number from 0.1 to 600"),
        ("file_timeout_seconds: .inf", "'file_timeout_seconds' cannot be inf"),
        ("- a list", "must be a mapping: a line 'name: value' for each setting, no list"),
        ("model: ~", "'model' is empty; it takes a text"),
        ("commit_seconds: 1:30", "'commit_seconds' cannot be '1:30'; it takes a number from"),
        ("batch_size: 1_0", "'batch_size' cannot be '1_0'"),
        ("commit_seconds: 1_0.5", "'commit_seconds' cannot be '1_0.5'"),
        ("cpus: 1\nprune: true\n'cpus': 2", "'cpus' is there twice (lines 1 and 3); keep one"),
        ("cpus: none\nmodle: a", "unknown setting 'modle'; did you mean 'model'?"),
        ("b: 1\na: 1\nc: 1\nd: 1\ne: 1", "; unknown too: 'a', 'c', 'd' and 1 more"),
        ("a: [", "not YAML"),
    ],
)
def test_a_bad_file_gets_one_line_that_names_it(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"(?s)^[^\n]*$") as error:
        load_score_config(file, {})
    assert words in str(error.value)


def test_numbers_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("learning_rate: 1e-3\nweight_decay: .5e-1\nepochs: 010\nseed: 0x1F\nmax_failures: 0o17\n")
    config = load_train_config(file, {})
    assert (config.learning_rate, config.weight_decay) == (0.001, 0.05)
    assert (config.epochs, config.seed, config.max_failures) == (10, 31, 15)
    file.write_text("commit_seconds: 1e3\nfile_timeout_seconds: 1.E+2\n")
    score = load_score_config(file, {})
    assert (score.commit_seconds, score.file_timeout_seconds) == (1000.0, 100.0)


def test_a_key_of_a_group_is_there_once(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("split:\n  folds: 2\n  folds: 3\n")
    with pytest.raises(UsageError, match=r"f\.yaml: 'folds' is there twice \(lines 2 and 3\); keep one$"):
        read_yaml(file)


def test_settings_do_not_change_and_a_changed_copy_is_checked() -> None:
    config = ScoreConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.device = "cpu"
    assert config.replace(device="cpu") == ScoreConfig(device="cpu")
    with pytest.raises(UsageError, match="'batch_size' cannot be 0"):
        config.replace(batch_size=0)


class Group(Settings):
    """For tests."""

    size: int | None = Field(default=None, ge=2, multiple_of=2)
    names: Names = Field(default=(), min_length=1)
    share: float = Field(default=0.5, gt=0, lt=1)


class Whole(Settings):
    """For tests."""

    group: Group = Group()
    text: str


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"text": "a", "group": {"size": 3}},
            "'group.size' cannot be 3; it takes a multiple of 2 of at least 2 or nothing",
        ),
        ({"text": "a", "group": {"size": "4"}}, "'group.size' cannot be '4'"),
        ({"text": "a", "group": {"size": True}}, "'group.size' cannot be True"),
        (
            {"text": "a", "group": {"names": []}},
            "'group.names' cannot be []; it takes a list of 1 or more (each of it a text)",
        ),
        ({"text": "a", "group": {"names": [1]}}, "'group.names' cannot be 1; it takes a list"),
        ({"text": "a", "group": {"share": 1}}, "'group.share' cannot be 1; it takes a number above 0 and below 1"),
        ({"text": "a", "group": {"share": math.nan}}, "'group.share' cannot be nan"),
        ({"text": "a", "group": 3}, "'group' cannot be 3; it takes a group of settings"),
        ({"text": "a", "group": {"shares": 1}}, "unknown setting 'group.shares'; did you mean 'share'?"),
        ({"text": "a" * 100, "group": 3, "more": 1}, "unknown setting 'more'; known: group, text"),
        (
            {"text": ["a" * 100]},
            "'text' cannot be ['aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...; it takes a text",
        ),
        ({}, "'text' is missing"),
        ({1: 2, "text": "a"}, "1 is no name of a setting"),
    ],
)
def test_the_first_fault_is_one_line_in_this_programs_words(values: dict[Any, Any], words: str) -> None:
    with pytest.raises(UsageError) as error:
        Whole.from_dict(values, "f.yaml")
    assert str(error.value).startswith(f"f.yaml: {words}")
    assert "\n" not in str(error.value)


class Room(Settings):
    size: float = Field(ge=0)


class House(Settings):
    rooms: dict[str, Room] = Field(default_factory=dict)
    doors: dict[str, int] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"rooms": {"a b": {"size": -1.0}}}, "'rooms.a b.size' cannot be -1.0; it takes a number of at least 0"),
        ({"rooms": {"size": {"size": math.nan}}}, "'rooms.size.size' cannot be nan; it takes a number of at least 0"),
        ({"rooms": {"a\nb": 5}}, r"'rooms.a\x0ab' cannot be 5; it takes a group of settings"),
        ({"rooms": {"a": {}}}, "'rooms.a.size' is missing"),
        ({"rooms": {"a": {"size": 1.0, "sise": 2}}}, "unknown setting 'rooms.a.sise'; did you mean 'size'?"),
        ({"rooms": []}, "'rooms' cannot be []; it takes a group of settings"),
        ({"doors": {"front": "x"}}, "'doors.front' cannot be 'x'; it takes a whole number"),
    ],
)
def test_a_fault_in_a_field_with_names_of_its_own_is_one_line(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as failed:
        House.from_dict(values, "here")
    assert str(failed.value) == f"here: {sentence}"


def test_an_empty_group_has_its_defaults() -> None:
    assert Whole.from_dict({"text": "a", "group": None}) == Whole(text="a")


def test_home_is_expanded_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    file = tmp_path / "score.yaml"
    for given, expected in (
        ("~/model", "/home/me/model"),
        ("s3://bucket/~/model", "s3://bucket/~/model"),
        ("a~", "a~"),
    ):
        file.write_text(f"model: {given}\n")
        assert load_score_config(file, {}).model == expected


def test_the_decoding_child_starts_without_pydantic() -> None:
    code = "import sys, ser_core.audio.worker; sys.exit('pydantic' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml: cannot be read"):
        load_score_config(tmp_path / "nowhere.yaml", {})


@pytest.mark.parametrize("values", [{"hop_length": 0}, {"f_max_hz": 9000.0}, {"std_db": 0.0}])
def test_mel_settings_are_checked(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"^mel: .*f_max_hz|'hop_length' cannot be 0|'std_db' cannot be 0"):
        MelSettings.from_dict(values, "mel")


def test_windows_in_samples() -> None:
    windows = WindowSettings(window_seconds=2.5, hop_seconds=1.25)
    assert (windows.window_samples, windows.hop_samples) == (40_000, 20_000)
    assert MelSettings().num_frames(48_000) == 151


#: The first is 10^9 values in 10 lines.
BOMBS = {
    "aliases": "\n".join(
        ["l0: &l0 [x, x]", *(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 10))]
    ),
    "a loop": "a: &a [*a]",
    "brackets": "a: " + "[" * 50_000,
    "dashes": "- " * 30_000,
    "size": "# " + "a" * 100_000,
    "a date that is none": "epochs: 2001-99-99",
    "a time that is none": 'a: !!timestamp "x"',
    "a truth that is none": 'a: !!bool "x"',
    "digits": "epochs: " + "1" * 10_000,
    "a key that is a list": "? [a]\n: b",
    "code": '!!python/object/apply:os.system ["true"]',
    "a NUL": "a: \0",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_file_of_settings_that_explodes_is_refused_in_one_short_line(bomb: str, tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(BOMBS[bomb])
    with pytest.raises(UsageError, match=r"^config .*/f\.yaml: ") as error:
        read_yaml(file)
    assert len(str(error.value)) < 400
    assert "\n" not in str(error.value)


def test_a_huge_value_is_not_shown_whole() -> None:
    for value in (10**5_000, "a" * 10**6, [["a" * 1_000] * 1_000] * 1_000):
        with pytest.raises(UsageError, match="'group' cannot be ") as error:
            Whole.from_dict({"text": "a", "group": value}, "f.yaml")
        assert len(str(error.value)) < 200


@pytest.mark.parametrize("text", ["long", "5s", "nan", "inf", "-1", "1e300", "9" * 400, "\x1b[31m1", "0x10", "1,5"])
def test_seconds_of_the_environment_that_are_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SER_SOME_SECONDS", text)
    with pytest.raises(
        UsageError, match=r"^SER_SOME_SECONDS must be a number of seconds, 0 or more and at most"
    ) as error:
        seconds_from_environment("SER_SOME_SECONDS", 5.0)
    assert "\x1b" not in str(error.value)
    assert len(str(error.value)) < 200
