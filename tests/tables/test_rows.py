from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ser_core.tables import schema
from ser_core.tables.assembler import Assembler, Totals
from ser_core.tables.rows import Rows, RowSettings, make_rows
from ser_core.tables.schema import file_schema, prediction_schema
from tests.support.records import LABELS, failed, record, table

SETTINGS = RowSettings(labels=LABELS, model="tiny@0", hop_seconds=3.0, run_number=7)


def assembler(num_files: int) -> Assembler:
    return Assembler(SETTINGS, num_files, Totals())


def taken(holder: Assembler) -> Rows:
    rows = holder.take()
    assert rows is not None
    return rows


def test_rows_have_the_published_schemas_and_start_at_index_times_hop() -> None:
    rows = make_rows(table(record("a.wav", 0, windows=2)), SETTINGS)
    assert rows.predictions.schema == prediction_schema(LABELS)
    assert rows.files.schema == file_schema(LABELS)
    assert rows.predictions["start_seconds"].to_pylist() == [0.0, 3.0]
    assert rows.predictions["model"].to_pylist() == ["tiny@0"] * 2
    assert rows.files["run"].to_pylist() == [7]


def test_a_new_column_has_what_the_records_have_under_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pitch, size = pa.field("pitch_hz", pa.float32()), pa.field("size", pa.int64())
    monkeypatch.setattr(schema, "PREDICTION_COLUMNS", [*schema.PREDICTION_COLUMNS, pitch, size])
    monkeypatch.setattr(schema, "FILE_COLUMNS", [size, *schema.FILE_COLUMNS])
    records = table(record("a.wav", 0, windows=2), failed("b.wav", 1), record("c.wav", 2))
    records = records.append_column("pitch_hz", pa.array([[0.25, 1.0], [], [0.5]]))
    records = records.append_column("size", pa.array([7, 8, 9]))
    rows = make_rows(records, SETTINGS)
    assert rows.predictions["pitch_hz"].to_pylist() == [0.25, 1.0, 0.5]
    assert rows.predictions["size"].to_pylist() == [7, 7, 9]
    assert rows.files["size"].to_pylist() == [7, 8, 9]


def test_emotion_is_the_label_of_the_highest_probability() -> None:
    rows = make_rows(table(record("a.wav", 0, probabilities=[0.1, 0.7, 0.2])), SETTINGS)
    [window] = rows.predictions.to_pylist()
    assert (window["emotion"], window["p_angry"]) == ("angry", pytest.approx(0.7))
    assert window["confidence"] == window["p_angry"]


def test_a_files_answer_weighs_windows_by_their_seconds() -> None:
    long_then_short = record(
        "a.wav", 0, windows=2, end_seconds=[3.0, 3.5], probabilities=[0.8, 0.1, 0.1, 0.05, 0.9, 0.05]
    )
    [file] = make_rows(table(long_then_short), SETTINGS).files.to_pylist()
    logs = (3.0 * np.log([0.8, 0.1, 0.1]) + 0.5 * np.log([0.05, 0.9, 0.05])) / 3.5
    expected = np.exp(logs) / np.exp(logs).sum()
    assert [file["p_calm"], file["p_angry"], file["p_sad"]] == pytest.approx(expected, abs=1e-6)
    assert file["emotion"] == "calm"


def heard(path: str, file_id: int, shares: list[float | None], probabilities: list[list[float]], **values: Any) -> Any:
    """A record of windows of 3 s of which those are judged that have probabilities."""
    is_judged = [bool(row) for row in probabilities]
    seconds = None if None in shares else 3.0 * sum(share or 0.0 for share in shares)
    return record(
        path,
        file_id,
        windows=len(shares),
        speech_share=shares,
        is_judged=is_judged,
        speech_seconds=seconds,
        probabilities=[p for row in probabilities for p in row],
        **values,
    )


def test_a_window_without_speech_is_a_row_without_probabilities() -> None:
    rows = make_rows(table(heard("a.wav", 0, [0.0, 0.5, 0.05], [[], [0.1, 0.8, 0.1], []])), SETTINGS)
    silent, spoken, hardly = rows.predictions.to_pylist()
    nothing = {"confidence": None, "p_calm": None, "p_angry": None, "p_sad": None}
    assert silent | {"emotion": "no_speech", "speech_share": 0.0, **nothing} == silent
    assert hardly | {"emotion": "no_speech", "speech_share": pytest.approx(0.05), **nothing} == hardly
    assert (spoken["emotion"], spoken["speech_share"]) == ("angry", 0.5)
    assert [row["window_index"] for row in (silent, spoken, hardly)] == [0, 1, 2]


def test_a_files_answer_weighs_windows_by_their_speech() -> None:
    little_and_much = heard("a.wav", 0, [0.1, 1.0, 0.0], [[0.9, 0.05, 0.05], [0.1, 0.6, 0.3], []])
    [file] = make_rows(table(little_and_much), SETTINGS).files.to_pylist()
    logs = (0.1 * np.log([0.9, 0.05, 0.05]) + 1.0 * np.log([0.1, 0.6, 0.3])) / 1.1
    expected = np.exp(logs) / np.exp(logs).sum()
    assert [file["p_calm"], file["p_angry"], file["p_sad"]] == pytest.approx(expected, abs=1e-6)
    assert (file["status"], file["emotion"], file["num_windows"]) == ("scored", "angry", 3)
    assert file["speech_seconds"] == pytest.approx(3.3)
    assert [file["share_calm"], file["share_angry"], file["share_sad"]] == pytest.approx([0.1 / 1.1, 1.0 / 1.1, 0.0])


def test_a_file_without_speech_is_scored_and_says_so_and_a_failed_one_says_nothing() -> None:
    records = table(heard("silence.wav", 0, [0.0, 0.02], [[], []]), failed("broken.wav", 1))
    silence, broken = make_rows(records, SETTINGS).files.sort_by([("path", "descending")]).to_pylist()
    nothing = {f"{name}_{label}": None for name in ("p", "share") for label in LABELS} | {"confidence": None}
    assert silence | {"status": "scored", "emotion": "no_speech", "num_windows": 2, **nothing} == silence
    assert silence["speech_seconds"] == pytest.approx(0.06)
    assert broken | {"status": "failed", "emotion": None, "speech_seconds": None, **nothing} == broken


def test_where_nobody_listened_all_seconds_count_and_no_speech_is_told_of() -> None:
    rows = make_rows(table(heard("a.wav", 0, [None, None], [[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])), SETTINGS)
    [file] = rows.files.to_pylist()
    assert rows.predictions["speech_share"].to_pylist() == [None, None]
    assert file["speech_seconds"] is None
    assert [file["share_calm"], file["share_angry"], file["share_sad"]] == [0.5, 0.0, 0.5]


def test_status_follows_from_windows_and_gaps() -> None:
    gap = [{"start_seconds": 3.0, "end_seconds": 9.0}]
    records = table(
        record("whole.wav", 0),
        record("cut.wav", 1, gaps=gap, reason="truncated", detail="ends early"),
        failed("broken.wav", 2),
    )
    files = {row["path"]: row for row in make_rows(records, SETTINGS).files.to_pylist()}
    assert {path: row["status"] for path, row in files.items()} == {
        "whole.wav": "scored",
        "cut.wav": "partial",
        "broken.wav": "failed",
    }
    assert files["cut.wav"]["gaps"] == gap
    assert files["whole.wav"]["reason"] is None
    assert files["broken.wav"]["emotion"] is None
    assert files["broken.wav"]["p_calm"] is None


@pytest.mark.parametrize(("reason", "retryable"), [("network", True), ("unreadable", False)])
def test_only_what_may_pass_is_retryable(reason: str, retryable: bool) -> None:
    [file] = make_rows(table(failed("a.wav", 0, reason)), SETTINGS).files.to_pylist()
    assert file["retryable"] is retryable


def test_channels_get_a_row_each() -> None:
    records = table(
        record("call.wav", 0, channel=0, segment_index=0, is_last=False),
        record("call.wav", 0, windows=2, channel=1, segment_index=1),
    )
    files = make_rows(records, SETTINGS).files
    assert files["channel"].to_pylist() == [0, 1]
    assert files["num_windows"].to_pylist() == [1, 2]


def test_a_file_is_held_back_until_its_last_segment() -> None:
    holder = assembler(1)
    holder.add(table(record("long.wav", 0, windows=2, first_window=2, segment_index=1)))
    assert holder.take() is None
    assert holder.missing_F().tolist() == [0]
    holder.add(table(record("long.wav", 0, windows=2, segment_index=0, is_last=False)))
    rows = taken(holder)
    assert sorted(rows.predictions["window_index"].to_pylist()) == [0, 1, 2, 3]
    assert rows.files["audio_seconds"].to_pylist() == [12.0]
    assert not len(holder.missing_F())


def test_segments_of_a_long_file_add_up_to_one_answer() -> None:
    whole = make_rows(table(record("a.wav", 0, windows=4)), SETTINGS).files.to_pylist()[0]
    holder = assembler(1)
    holder.add(
        table(
            record("a.wav", 0, windows=3, first_window=1, segment_index=1),
            record("a.wav", 0, windows=1, segment_index=0, is_last=False),
        )
    )
    parts = taken(holder).files.to_pylist()[0]
    assert parts.pop("gaps") == whole.pop("gaps")
    assert parts == pytest.approx(whole)


def test_a_record_that_comes_again_is_dropped_before_and_after_it_was_taken() -> None:
    holder = assembler(2)
    again = table(record("a.wav", 0), record("a.wav", 0), record("b.wav", 1, segment_index=0, is_last=False))
    holder.add(again)
    holder.add(again)
    assert taken(holder).predictions.num_rows == 1
    holder.add(again)
    holder.add(table(record("b.wav", 1, first_window=1, segment_index=1)))
    assert taken(holder).predictions["path"].to_pylist() == ["b.wav"] * 2


def test_a_whole_file_beside_an_earlier_piece_of_it_is_taken() -> None:
    holder = assembler(1)
    holder.add(table(record("a.wav", 0, is_last=False), record("a.wav", 0)))
    assert taken(holder).predictions.num_rows == 1
    assert not holder._held


def test_all_segments_of_a_file_twice_in_one_table_count_once() -> None:
    holder = assembler(1)
    pieces = [
        record("a.wav", 0, is_last=False),
        record("a.wav", 0, first_window=1, segment_index=1),
    ]
    holder.add(table(*pieces, *pieces))
    assert taken(holder).predictions["window_index"].to_pylist() == [0, 1]


def test_totals_count_files_failures_windows_and_seconds() -> None:
    totals = Totals()
    holder = Assembler(SETTINGS, 3, totals)
    holder.add(table(record("a.wav", 0, windows=2), failed("b.wav", 1)))
    assert (totals.num_files, totals.num_failed, totals.num_windows) == (2, 1, 2)
    assert (totals.audio_seconds, totals.speech_seconds, totals.num_no_speech) == (6.0, 6.0, 0)
    holder.add(table(heard("c.wav", 2, [0.0, 1.0], [[], [0.8, 0.1, 0.1]])))
    assert (totals.audio_seconds, totals.speech_seconds, totals.num_no_speech) == (12.0, 9.0, 1)


def test_a_file_counts_as_failed_by_its_worst_channel() -> None:
    totals = Totals()
    Assembler(SETTINGS, 1, totals).add(
        table(
            record("call.wav", 0, channel=0, is_last=False),
            failed("call.wav", 0, "not_finite") | {"channel": 1, "segment_index": 1},
        )
    )
    assert (totals.num_files, totals.num_failed) == (1, 1)


def test_failures_alone_make_rows_too() -> None:
    rows = make_rows(table(failed("a.wav", 0)), SETTINGS)
    assert rows.predictions.num_rows == 0
    assert rows.files["status"].to_pylist() == ["failed"]
