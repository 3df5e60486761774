from pathlib import Path
from typing import Any

import pytest

from ser_core.audio.segments import WindowSettings
from ser_core.audio.settings import MelSettings
from ser_core.errors import UsageError
from ser_core.score_config import load_score_config


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
        ("- a list", "must be a list of 'name: value' lines"),
        ("a: [", "not YAML"),
    ],
)
def test_a_bad_file_gets_one_line_that_names_it(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"(?s)^[^\n]*$") as error:
        load_score_config(file, {})
    assert words in str(error.value)


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
