"""Rows of files, or channels, whose windows are adapted to by themselves: the same in whatever order and company."""

from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pytest

from ser_core.models import GroupAdaptation
from ser_core.tables.assembler import Assembler, Totals
from ser_core.tables.row_adaptation import RowAdaptation
from ser_core.tables.rows import Rows, RowSettings, make_rows
from ser_core.vocabulary import GroupMode
from tests.support.records import LABELS, failed, record, table

ADAPTATION = GroupAdaptation(class_logits_CC=4.0 * np.eye(3) - 4.0 / 3.0, temperature=1.5)
PLAIN = RowSettings(labels=LABELS, model="tiny@0", hop_seconds=3.0, run_number=7)
_rng = np.random.default_rng(0)


#: Of the folder of all the calls, and of one that is not there.
FOLDERS = {"calls": (0.5, -0.75, 0.25), "calls/none": (3.0, 0.0, -3.0)}
Mode = Literal["folder", "file", "channel"]


def settings(mode: Mode) -> RowSettings:
    return replace(PLAIN, adaptation=RowAdaptation(mode, ADAPTATION, FOLDERS if mode == "folder" else {}))


def heard(path: str, file_id: int, num_windows: int, **values: Any) -> dict[str, Any]:
    """Windows that sound like this and that, but for every fifth, in which nobody speaks."""
    is_judged = [index % 5 != 4 for index in range(num_windows)]
    odds = _rng.dirichlet([1.0, 3.0, 0.5], sum(is_judged)).astype(np.float32)
    return record(path, file_id, windows=num_windows, is_judged=is_judged, **values) | {
        "probabilities": odds.reshape(-1).tolist(),
        "speech_share": [float(judged) for judged in is_judged],
    }


def call(path: str, file_id: int, num_windows: int) -> list[dict[str, Any]]:
    """Both channels of a file in pieces of 20 windows, in turns."""
    last = 2 * (-(-num_windows // 20)) - 1
    return [
        heard(path, file_id, min(20, num_windows - 20 * (index // 2)), channel=index % 2, segment_index=index)
        | {"first_window": 20 * (index // 2), "is_last": index == last}
        for index in range(last + 1)
    ]


def numbered(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records with their windows' indices from where they begin."""
    made = []
    for one in records:
        first = one.pop("first_window", 0)
        indices = [first + index for index in range(len(one["window_index"]))]
        made.append(one | {"window_index": indices, "end_seconds": [3.0 * (index + 1) for index in indices]})
    return made


CALLS = numbered(
    [*call("calls/a.wav", 0, 70), heard("b.wav", 1, 33), *call("calls/c.wav", 2, 25), heard("calls/x/d.wav", 3, 1)]
)


def in_order(rows: pa.Table) -> list[dict[str, Any]]:
    return sorted(rows.to_pylist(), key=lambda row: (row["path"], row["channel"], row.get("window_index", 0)))


def probabilities(rows: pa.Table) -> np.ndarray:
    return np.array([[row[f"p_{label}"] for label in LABELS] for row in in_order(rows) if row["p_calm"] is not None])


@pytest.mark.parametrize("mode", ["file", "channel"])
def test_windows_are_adapted_to_their_group_and_all_else_follows_from_them(mode: GroupMode) -> None:
    plain, adapted = (make_rows(table(*CALLS), one) for one in (PLAIN, settings(mode)))
    spoken = [row for row in in_order(plain.predictions) if row["p_calm"] is not None]
    groups = [(row["path"], row["channel"] if mode == "channel" else 0) for row in spoken]
    group_N = np.unique(groups, axis=0, return_inverse=True)[1].reshape(-1)
    expected = ADAPTATION.adapt(probabilities(plain.predictions).astype(np.float32), group_N)
    np.testing.assert_array_equal(probabilities(adapted.predictions), expected)
    # As if the model had said so.
    said = [one | {"probabilities": []} for one in CALLS]
    for row, values in zip(spoken, expected, strict=True):
        [one] = [
            one for one in said
            if (one["path"], one["channel"]) == (row["path"], row["channel"])
            and row["window_index"] in one["window_index"]
        ]  # fmt: skip
        one["probabilities"] = [*one["probabilities"], *values.tolist()]
    as_said = make_rows(table(*said), PLAIN)
    assert in_order(as_said.predictions) == in_order(adapted.predictions)
    assert in_order(as_said.files) == in_order(adapted.files)
    assert in_order(plain.files) != in_order(adapted.files)


@pytest.mark.parametrize("mode", ["folder", "file", "channel"])
@pytest.mark.parametrize("seed", range(3))
def test_neither_order_nor_commits_nor_repeats_change_a_bit(mode: Mode, seed: int) -> None:
    whole = make_rows(table(*CALLS), settings(mode))
    rng = np.random.default_rng(seed)
    holder, taken = Assembler(settings(mode), 4, Totals()), []
    for index in [*rng.permutation(len(CALLS)), *rng.permutation(len(CALLS))]:
        holder.add(table(CALLS[index]))
        taken.append(holder.take())
    rows = [one for one in taken if one is not None]
    assert len(rows) == 4
    for of_rows in ("predictions", "files"):
        found = pa.concat_tables([getattr(one, of_rows) for one in rows])
        assert in_order(found) == in_order(getattr(whole, of_rows))


def test_windows_in_another_order_are_told_the_same() -> None:
    one = numbered([heard("a.wav", 0, 40)])[0] | {"is_judged": [True] * 40}
    one["probabilities"] = _rng.dirichlet([1.0, 3.0, 0.5], 40).astype(np.float32).reshape(-1).tolist()
    order = np.random.default_rng(2).permutation(40)
    other = one | {
        name: np.array(one[name], dtype=object)[order].tolist()
        for name in ("window_index", "end_seconds", "level_dbfs", "speech_share")
    }
    other["probabilities"] = np.reshape(one["probabilities"], (40, 3))[order].reshape(-1).tolist()
    before, after = (make_rows(table(each), settings("file")) for each in (one, other))
    assert in_order(before.predictions) == in_order(after.predictions)


def test_one_channel_knows_nothing_of_the_other_and_files_nothing_of_each_other() -> None:
    def of_first(rows: Rows) -> list[dict[str, Any]]:
        return [row for row in in_order(rows.predictions) if (row["path"], row["channel"]) == ("calls/a.wav", 0)]

    without_second = [
        one | {"probabilities": np.roll(one["probabilities"], 1).tolist()} if one["channel"] == 1 else one
        for one in CALLS
        if one["path"] == "calls/a.wav"
    ]
    for mode in get_args(GroupMode):
        before, after = (make_rows(table(*records), settings(mode)) for records in (CALLS, without_second))
        assert (of_first(before) == of_first(after)) == (mode == "channel")


def test_where_nothing_is_judged_nothing_is_adapted() -> None:
    silent = record("silent.wav", 1, windows=3, is_judged=[False] * 3, speech_share=[0.0] * 3) | {"probabilities": []}
    for records in (table(failed("a.wav", 0), silent), table(failed("a.wav", 0))):
        plain, adapted = (make_rows(records, one) for one in (PLAIN, settings("channel")))
        assert plain.predictions.equals(adapted.predictions)
        assert plain.files.equals(adapted.files)
    # Beside one that is.
    beside = make_rows(table(failed("a.wav", 0), silent, *numbered([heard("c.wav", 2, 9)])), settings("file"))
    assert [row["emotion"] for row in in_order(beside.files)][::2] == [None, "no_speech"]


def test_what_is_known_of_a_folder_is_taken_of_its_files_and_of_no_other() -> None:
    before, after = (make_rows(table(*CALLS), one).predictions for one in (PLAIN, settings("folder")))
    is_in = [row["path"].startswith("calls/") and "/x/" not in row["path"] for row in in_order(before)]
    for was, now, is_moved in zip(in_order(before), in_order(after), is_in, strict=True):
        if not is_moved or was["p_calm"] is None:
            assert was == now
        else:
            odds = np.array([was[f"p_{label}"] for label in LABELS]) * np.exp(-np.array(FOLDERS["calls"]) / 1.5)
            assert [now[f"p_{label}"] for label in LABELS] == pytest.approx(odds / odds.sum(), abs=1e-6)
    # Nothing is known of any: all stay as they are, to the bit.
    nothing = replace(PLAIN, adaptation=RowAdaptation("folder", ADAPTATION))
    assert make_rows(table(*CALLS), nothing).predictions.equals(before)
