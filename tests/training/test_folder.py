from pathlib import Path

import pytest

from ser_core.errors import OutputError
from ser_core.storage.location import Location
from ser_core.training.folder import TrainingFolder, differences


def folder(path: Path) -> TrainingFolder:
    return TrainingFolder(Location(str(path)))


def test_a_run_has_one_name_until_it_is_restarted(tmp_path: Path) -> None:
    run = folder(tmp_path).begin({"epochs": 1})
    assert folder(tmp_path).begin({"epochs": 1}) == run == folder(tmp_path).run()
    folder(tmp_path).check({"epochs": 1})
    again = folder(tmp_path).begin({"epochs": 2}, restart=True)
    assert again != run
    assert folder(tmp_path).run() == again


def test_a_restart_deletes_what_a_training_left_and_nothing_else(tmp_path: Path) -> None:
    folder(tmp_path).begin({})
    own = [
        "report.json",
        "config.json",
        "model.safetensors",
        "fold-1/report.json",
        "_training/checkpoint-1-a.safetensors",
    ]
    others = ["notes.txt", "fold-1/notes.txt", "fold-plans/report.txt"]
    for name in own + others:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    folder(tmp_path).begin({}, restart=True)
    left = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file())
    assert left == sorted([*others, "_training/settings.json"])


def test_other_settings_are_named(tmp_path: Path) -> None:
    folder(tmp_path).begin({"split": {"seed": 1, "folds": None}, "epochs": 3})
    with pytest.raises(OutputError, match=r"split.folds was not set, now 5; .*--restart"):
        folder(tmp_path).check({"split": {"seed": 1, "folds": 5}, "epochs": 3})


def test_a_newer_programs_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "_training").mkdir()
    (tmp_path / "_training/settings.json").write_text('{"format_number": 9}')
    with pytest.raises(OutputError, match="newer ser"):
        folder(tmp_path).check({})


def test_an_older_programs_folder_is_refused_unless_it_is_restarted(tmp_path: Path) -> None:
    (tmp_path / "_training").mkdir()
    (tmp_path / "_training/settings.json").write_text('{"format_number": 1, "run": "a", "settings": {}}')
    (tmp_path / "answers.parquet").write_text("")
    with pytest.raises(OutputError, match=r"begun by an older ser, .*--restart"):
        folder(tmp_path).check({})
    folder(tmp_path).check(None)
    folder(tmp_path).begin({}, restart=True)
    assert [file.name for file in tmp_path.rglob("*.*")] == ["settings.json"]


def test_differences_are_phrases() -> None:
    assert differences({"a": 1, "b": {"c": "x"}}, {"a": 1, "b": {"c": "y" * 99}, "d": True}) == [
        'b.c was "x", now "' + "y" * 36 + "...",
        "d was not set, now true",
    ]
