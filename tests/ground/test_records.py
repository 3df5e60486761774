"""Records hold what is known of their file under the names that the plan has."""

import pytest

from ser_core import records
from ser_core.audio.segments import closing_segment
from ser_core.faults import Fault


def test_what_the_plan_knows_of_a_file_is_in_its_records_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"path": "a.wav", "size": 7, "version": "7-1", "modified": None, "file_id": 3}
    monkeypatch.setattr(records, "_FILE_FIELDS", [*records._FILE_FIELDS, records.PLAN_SCHEMA.field("size")])
    made = records.record(row, closing_segment(Fault("unreadable", "no audio")), payload=b"")
    assert {name: made[name] for name in ("path", "size", "file_version", "file_id")} == {
        "path": "a.wav",
        "size": 7,
        "file_version": "7-1",
        "file_id": 3,
    }
