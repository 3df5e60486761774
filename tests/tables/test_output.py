"""The output folder: where it may be, what it refuses, what it counts, what it says of its runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from ser_core import storage
from ser_core.errors import OutputError
from ser_core.storage.location import Location
from ser_core.tables import comparison
from ser_core.tables.comparison import Comparison, Tally
from ser_core.tables.output import Output
from tests.support.tables import (
    LABELS,
    NEW_COLUMNS,
    NOW,
    OLD,
    SETTINGS,
    Audio,
    World,
    check_complete,
    earlier_version,
    say_nothing,
    score_all,
    write_plan,
)

pytestmark = pytest.mark.usefixtures("quick_disk")


def test_runs_in_any_place(any_place: Location, plan: Callable[[World], Path]) -> None:
    output = Output(any_place)
    assert output.open().fingerprint is None
    output.check_writable()
    assert output.open().fingerprint is None
    with output.lock(say_nothing):
        with earlier_version():
            score_all(output, plan(OLD), OLD)
            check_complete(any_place, OLD)
        score_all(output, plan(NOW), NOW)
    check_complete(any_place, NOW, null_in_first_run=NEW_COLUMNS)
    assert output.open().fingerprint == SETTINGS
    output.check_writable()


def test_making_an_output_touches_nothing(output: Output) -> None:
    assert output.open().fingerprint is None
    assert not Path(output.location.path).exists()


_NAMES_FOR_NO_TABLE = ("a%20b", "a%41", "%2f", "a%ff", "a\\b", "a\nb", "a\tb", "a\x7fb", "a\udcffb")


@pytest.mark.parametrize("name", _NAMES_FOR_NO_TABLE)
def test_place_that_deltalake_reads_differently_is_refused(name: str, tmp_path: Path) -> None:
    for parts in ((name,), (name, "out")):
        with pytest.raises(OutputError, match=r"no Delta table can have '.+' in its path; use another") as caught:
            Output(Location.parse(str(tmp_path.joinpath(*parts))))
        assert str(caught.value).isprintable()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [*_NAMES_FOR_NO_TABLE, "a#b", "a?b", "a//b", "/a", "./a", "a/..", "a/../b"])
def test_prefix_that_deltalake_reads_differently_is_refused(name: str) -> None:
    with pytest.raises(OutputError, match="no Delta table can have"):
        Output(Location.parse(f"s3://bucket/{name}"))


def test_counts_what_the_tables_know(output: Output, plan: Callable[[World], Path]) -> None:
    assert output.open().compare(plan(OLD)) == Comparison(num_new=len(OLD))
    score_all(output, plan(OLD), OLD)
    expected = Comparison(num_new=2, num_changed=2, num_retried=2, num_unchanged=3, num_gone=1)
    assert output.open().compare(plan(NOW)) == expected
    now = output.open().begin(SETTINGS, LABELS, on_event=say_nothing)
    assert now.remove_stale(plan(NOW), prune=False) == expected
    pending = pa.concat_tables(now.pending(plan(NOW)))["path"].to_pylist()
    assert pending == [path for path in sorted(NOW) if NOW[path] != OLD.get(path)]
    tally, all_rows = now.tally(plan(NOW))
    assert tally == Tally(scored=2, partial=0, failed=1)
    assert now.tally(plan(OLD)) == (Tally(scored=3, partial=0, failed=1), all_rows)


def test_slices_of_any_size_compare_alike(
    output: Output, plan: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    score_all(output, plan(OLD), OLD)
    expected = output.open().compare(plan(NOW))
    for rows in (1, 2, 3, 7):
        monkeypatch.setattr(comparison, "ROWS_PER_SLICE", rows)
        assert output.open().compare(plan(NOW)) == expected
    assert output.open().compare(plan({})) == Comparison(num_gone=len(OLD))


@pytest.mark.parametrize("paths", [["b", "a"], ["a", "a"]])
def test_unsorted_plan_is_refused(output: Output, tmp_path: Path, paths: list[str]) -> None:
    file = write_plan(tmp_path / "plan.parquet", {"x": Audio("1"), "y": Audio("1")})
    table = pq.read_table(file)
    pq.write_table(table.set_column(0, table.schema.field("path"), pa.array(paths)), file)
    with pytest.raises(ValueError, match="sorted"):
        output.open().compare(file)


def test_other_settings_are_refused_naming_both(output: Output, plan: Callable[[World], Path]) -> None:
    score_all(output, plan(OLD), OLD)
    with pytest.raises(OutputError, match=r"window_seconds was 3\.0, now 2\.0; use --restart or another output"):
        output.open().begin(SETTINGS.replace(window_seconds=2.0), LABELS, on_event=say_nothing)
    with pytest.raises(OutputError, match=r"glob was nothing, now \"\*\.wav\""):
        output.open().begin(SETTINGS.replace(glob="*.wav"), LABELS, on_event=say_nothing)
    with pytest.raises(OutputError, match=r"window_seconds was 3\.0, now 2\.0; use --restart or another output"):
        output.open().check(SETTINGS.replace(window_seconds=2.0))
    check_complete(output.location, OLD)


def test_settings_are_checked_without_a_trace(output: Output, plan: Callable[[World], Path]) -> None:
    output.open().check(SETTINGS)
    assert not Path(output.location.path).exists()
    score_all(output, plan(OLD), OLD)
    output.open().check(SETTINGS)
    check_complete(output.location, OLD)
    output.open().restart()
    output.open().check(SETTINGS)


def test_restart_deletes_only_what_this_program_wrote(output: Output, plan: Callable[[World], Path]) -> None:
    score_all(output, plan(OLD), OLD)
    notes = [output.location.join("notes.txt"), output.location.join("predictions", "emotion=sad", "my.parquet")]
    for note in notes:
        storage.put(note, b"mine")
    output.open().restart()
    assert output.open().fingerprint is None
    assert not storage.exists(output.location.join("run.json"))
    assert output.open().compare(plan(OLD)) == Comparison(num_new=len(OLD))
    labels = ("calm", "sad")
    other = SETTINGS.replace(model="other")
    score_all(output, plan(NOW), NOW, labels=labels, settings=other)
    assert output.open().fingerprint == other
    for note in notes:
        assert storage.read(note) == b"mine"
        storage.delete(note)
    check_complete(output.location, NOW, labels)


def test_foreign_folder_is_refused(output: Output, plan: Callable[[World], Path]) -> None:
    storage.put(output.location.join("thesis.docx"), b"x")
    for act in (output.open, output.check_writable, lambda: score_all(output, plan(OLD), OLD)):
        with pytest.raises(OutputError, match="not made by ser"):
            act()
    with pytest.raises(OutputError, match="not made by ser"), output.lock(say_nothing):
        pass
    assert [path for path, _ in storage.list_files(output.location)] == ["thesis.docx"]


def test_file_in_the_place_of_the_output_is_refused(output: Output) -> None:
    storage.put(output.location, b"x")
    for act in (output.open, output.check_writable):
        with pytest.raises(OutputError, match=r"cannot be read as a folder \(Not a directory\)"):
            act()


def test_newer_format_is_refused(
    output: Output, plan: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("ser_core.tables.schema.FORMAT", 3)
        patch.setattr("ser_core.tables.schema.FORMAT_OF_EMBEDDINGS", 3)
        patch.setattr("ser_core.tables.output.FORMAT", 3)
        score_all(output, plan(OLD), OLD)
    for act in (output.open, output.check_writable, lambda: score_all(output, plan(OLD), OLD)):
        with pytest.raises(OutputError, match=r"newer ser \(format 3, this one knows 2\); upgrade"):
            act()


def test_storage_that_ignores_conditions_is_refused(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    def put_anyway(location: Location, data: bytes) -> bool:
        storage.put(location, data)
        return True

    monkeypatch.setattr(storage, "put_new", put_anyway)
    with pytest.raises(OutputError, match="If-None-Match"):
        output.check_writable()


def test_a_start_loads_each_log_once(
    output: Output, plan: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    score_all(output, plan(OLD), OLD)
    loaded: list[str] = []
    load = DeltaTable.__init__

    def note(self: DeltaTable, url: str, *args: Any, **options: Any) -> None:
        loaded.append(url)
        load(self, url, *args, **options)

    monkeypatch.setattr(DeltaTable, "__init__", note)
    opened = output.open()
    opened.check(SETTINGS)
    opened.compare(plan(NOW))
    opened.begin(SETTINGS, LABELS, on_event=say_nothing)
    assert sorted(loaded) == [output.location.join(name).url for name in ("files", "predictions")]
