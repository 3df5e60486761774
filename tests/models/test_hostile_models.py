"""Models that nobody made by this program: refused in one line before anything is scored."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import assert_one_line, ser_here
from tests.support.models import tiny_artifact

HUGE = 10**18
DEEP = "[" * 200 + "]" * 200


def write(folder: Path, text: str | bytes) -> str:
    """A model whose config.json is this text."""
    tiny_artifact().save(str(folder))
    (folder / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(folder)


def config(**changes: Any) -> str:
    return json.dumps(tiny_artifact().config.to_dict() | changes)


MEL = tiny_artifact().config.mel.to_dict()
SETTINGS = tiny_artifact(architecture="whisper-bilstm").config.architecture_settings
HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "nested a million times": ("[" * 1_000_000, "nested too deeply"),
    "nested deeply in a group": (config(training={"data": 0}).replace('"data": 0', f'"data": {DEEP}'), "too deeply"),
    "digits without end": ('{"format_number": ' + "9" * 10_000 + "}", "is not JSON"),
    "a number beyond all": (config().replace('"temperature": 1.5', f'"temperature": {10**400}'), "'temperature'"),
    "no finite number": (config().replace('"temperature": 1.5', '"temperature": 1e400'), "'temperature'"),
    "a tiny temperature": (config(temperature=1e-300), "'temperature'"),
    "a sample rate beyond all": (config(mel=MEL | {"sample_rate_hz": 10**300}), "'mel.sample_rate_hz'"),
    "a sample rate in powers": (config(mel=MEL | {"sample_rate_hz": 1e300}), "'mel.sample_rate_hz'"),
    "a huge transform": (config(mel=MEL | {"n_fft": HUGE}), "'mel.n_fft'"),
    "a huge hop": (config(mel=MEL | {"hop_length": HUGE}), "'mel.hop_length'"),
    "bands without end": (config(mel=MEL | {"num_mels": HUGE}), "'mel.num_mels'"),
    "a huge width": (config(architecture_settings={"width": 16 * HUGE, "lstm_units": 8}), "'width'"),
    "units without end": (config(architecture_settings={"width": 16, "lstm_units": HUGE}), "'lstm_units'"),
    "layers without end": (
        config(architecture="whisper-bilstm", architecture_settings=SETTINGS | {"num_layers": HUGE}), "'num_layers'",
    ),
    "classifiers without end": (
        config(architecture="whisper-bilstm", architecture_settings=SETTINGS | {"num_classifiers": HUGE}),
        "'num_classifiers'",
    ),
    "steps without end": (
        config(architecture="whisper-bilstm", architecture_settings=SETTINGS | {"steps_per_lstm_step": HUGE}),
        "'steps_per_lstm_step'",
    ),
    "a setting of another kind": (config(architecture_settings={"width": [[[]]]}), "'width'"),
    "a label of 300 letters": (config(labels=["a" * 300, "happy", "sad"]), "64 letters at most"),
    "a label that rings": (config(labels=["\a\x1b[2J", "happy", "sad"]), "must be a lower-case word"),
    "too many labels": (config(labels=[f"a{number}" for number in range(1_000)]), "'labels'"),
    "a name that draws": (config(name="\x1b]0;mine\a\nser: all is well"), "without control characters"),
    "a name without end": (config(name="a" * 10_000), "'name'"),
    "half a character": (config(name="\ud800"), "'name' cannot be"),
    "a licence elsewhere": (config(licence_file=".."), "cannot be read"),
    "a licence of no name": (config(licence_file="a\0b"), "cannot be loaded"),
    "no UTF-8": (b"\xff\xfe{}", "is not JSON"),
    "no characters": (b"", "is not JSON"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_config_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    text, words = HOSTILE[case]
    answer = ser_here("score", "examples", tmp_path / "out", "--model", write(tmp_path / "model", text))
    assert_one_line(answer, 1, f"model '{tmp_path / 'model'}': ", words)
    assert len(answer.err) < 1_000
    assert "traceback" not in answer.err
    assert answer.err.isprintable() or answer.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_bounds_leave_room_for_what_is_meant(tmp_path: Path) -> None:
    answer = ser_here("models", write(tmp_path, config(training={"note": "ü", "list": [[[[1]]]]})))
    assert answer.code == 0, answer.err
