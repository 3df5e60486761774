"""`ser score` without `--adapt`: what can be adapted is, and what rows were made with stays."""

import json
from pathlib import Path
from typing import Any

from tests.support.archive import write_clip
from tests.support.cli import ser_here
from tests.support.models import adaptable_artifact


def test_a_new_output_is_adapted_to_where_the_model_can_be_and_an_old_one_goes_on(tmp_path: Path) -> None:
    model, source = tmp_path / "model", tmp_path / "in"
    adaptable_artifact().save(str(model))
    for index in range(3):
        write_clip(source / f"{index}.wav", 3.0, index)

    def adapted(output: str, *more: str) -> tuple[str, str]:
        answer = ser_here("score", source, tmp_path / output, "--engine", "local", "--speech", "all", *more)
        assert answer.code == 0, answer.err
        settings: dict[str, Any] = json.loads((tmp_path / output / "run.json").read_text())["settings"]
        return settings["adapt"], settings["model"]

    asked = adapted("asked", "--model", str(model), "--adapt", "archive")
    assert asked[0] == "archive"
    assert adapted("new", "--model", str(model)) == asked
    assert adapted("new", "--model", str(model)) == asked
    without = adapted("old", "--model", str(model), "--adapt", "none")
    assert without[0] == "none"
    assert adapted("old", "--model", str(model)) == without
    assert adapted("other", "--model", "compact")[0] == "none"
