"""What an output was made with: outputs of earlier versions go on, under whatever names their settings were stored."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from ser_core.errors import OutputError
from ser_core.storage.location import Location
from ser_core.tables import schema
from ser_core.tables.output import Output
from ser_core.tables.schema import Fingerprint, describe, read_description
from tests.support.tables import LABELS, NOW, OLD, SETTINGS, World, check_complete, say_nothing, score_all

HERE = Location("/results/predictions")
#: As version 0.1.0 wrote it, to the byte.
DESCRIPTION_0_1 = (
    '{"format": 1, "settings": {"source": "/archive", "glob": null, "model": "compact@0123", "channels": "mix", '
    '"window_seconds": 3.0, "hop_seconds": 3.0, "precision": "fp32"}}'
)


def test_what_version_0_1_stored_is_read_and_written_with_what_came_since() -> None:
    assert read_description(DESCRIPTION_0_1, HERE) == SETTINGS
    stored, now = json.loads(DESCRIPTION_0_1), json.loads(describe(SETTINGS))
    came = {"adapt": "none", "audio_stream": 0, "max_file_hours": 24.0, "speech": None, "min_speech_seconds": None}
    assert now == stored | {"settings": stored["settings"] | came}


def test_what_has_to_do_with_embeddings_is_for_programs_that_know_of_them() -> None:
    stored = json.loads(describe(with_other(from_embeddings="/kept")))
    assert stored["format"] == 2
    assert read_description(json.dumps(stored), HERE) == with_other(from_embeddings="/kept")
    assert SETTINGS.changes_to(with_other(from_embeddings="/kept")) == ['from_embeddings was nothing, now "/kept"']
    assert json.loads(describe(with_other(embeddings="compact-0")))["format"] == 2
    assert json.loads(describe(SETTINGS))["format"] == 1


def test_an_output_that_was_let_go_takes_any_settings() -> None:
    assert read_description('{"format": 1, "settings": null}', HERE) is None
    assert read_description(describe(None), HERE) is None


def describe_again(output: Output, description: str) -> None:
    DeltaTable(output.location.join("predictions").url).alter.set_table_description(description)


def test_an_output_goes_on_though_a_setting_has_another_name_now(
    output: Output, plan: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    score_all(output, plan(OLD), OLD)
    describe_again(output, DESCRIPTION_0_1.replace('"hop_seconds"', '"stride"'))
    with pytest.raises(OutputError, match="unknown setting 'stride'"):
        output.open()
    monkeypatch.setattr(schema, "FORMER_NAMES", {"stride": "hop_seconds"})
    score_all(output, plan(NOW), NOW)
    check_complete(output.location, NOW)
    with pytest.raises(OutputError, match=r"hop_seconds was 3\.0, now 1\.0"):
        output.open().begin(with_other(hop_seconds=1.0), LABELS, on_event=say_nothing)


def test_a_setting_that_is_missing_is_not_guessed() -> None:
    stored = SETTINGS.to_dict()
    del stored["glob"]
    with pytest.raises(OutputError, match=r"does not tell what it was made with .*glob"):
        read_description(json.dumps({"format": 1, "settings": stored}), HERE)


def test_changes_name_both_values() -> None:
    assert SETTINGS.changes_to(SETTINGS) == []
    assert SETTINGS.changes_to(with_other(glob="*.wav", precision="bf16")) == [
        'glob was nothing, now "*.wav"',
        'precision was "fp32", now "bf16"',
    ]


def with_other(**values: Any) -> Fingerprint:
    return Fingerprint.from_dict({**SETTINGS.to_dict(), **values})
