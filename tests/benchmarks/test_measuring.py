"""What a benchmark makes of seconds, and that its programs score the same windows."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import scale, score
from benchmarks.clips import find_clips, lay_out
from benchmarks.cost import Archive, Prices, Rate, row
from benchmarks.measuring import Line, Spread, others
from benchmarks.programs import agreement
from benchmarks.report import row_of_lines


def test_what_begins_and_ends_a_run_is_not_in_its_steady_state() -> None:
    assert Line.through((100, 5.0, 6.0), (500, 13.0, 22.0)) == Line(3.0, 0.02, 0.04)
    with pytest.raises(ValueError, match="too busy"):
        Line.through((100, 5.0, 6.0), (500, 4.9, 22.0))


def test_ratios_are_of_rounds() -> None:
    # The machine was half as fast in the second round, for both.
    ours, theirs = [Line(1.0, 0.01, 0.02), Line(1.0, 0.02, 0.02)], [Line(2.0, 0.03, 0.06), Line(2.0, 0.06, 0.05)]
    known = {"model": "m", "place": "local", "name": "theirs", "settings": {}}
    row = row_of_lines(theirs, ours, [200.0, 100.0], is_ours=False, counts_cpu=True, **known)
    assert row.ours_over_this == Spread(3.0, 3.0, 3.0)
    assert row.cpu_ms == Spread(55.0, 50.0, 60.0)
    assert row.of_limit == Spread.of([1 / 6, 1 / 6])


def test_work_of_another_process_is_seen() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        seen = others()["busy"]
        busy.kill()
    assert seen > 0


def test_what_an_archive_costs_is_added_up() -> None:
    # 720 files of 5 s: as many windows, half of them left out at a tenth of the cost, ten a second.
    archive = Archive(hours=1, file_seconds=5, bytes_per_second=32_000, speech_share=0.5, nights=0.1)
    prices = Prices(core_hour=1000.0, thousand_puts=1000.0, thousand_gets=500.0)
    said = row(Rate.parse("m=10:5"), archive, prices, cores_per_node=1, silent_cost=0.1, commit_seconds=3600)
    # One hour: 39.6 s of a core; 1 listing and 6 writes; 720 files and 6 reads.
    assert said == "| m | 720 | 0 | 1 | 0 | 726 | 0 | 11 | 370 |"
    long = Archive(hours=1, file_seconds=3600, bytes_per_second=32_000, speech_share=1, nights=1)
    assert (long.num_files, long.num_gets) == (1, 14)


def test_other_windows_are_no_comparison(tmp_path: Path) -> None:
    for name, paths in (("ours", ["a.wav", "b.wav"]), ("same", ["b.wav", "a.wav"]), ("other", ["a.wav", "c.wav"])):
        columns = {"path": paths, "window_index": [0, 0], "emotion": ["sad", "sad"], "p_sad": [0.9, 0.8]}
        (tmp_path / name).mkdir()
        pq.write_table(pa.table(columns), tmp_path / name / "part.parquet")
    same = agreement(str(tmp_path / "ours"), str(tmp_path / "same"))
    assert (same.same_labels, round(same.mean_difference, 3)) == (1.0, 0.1)
    with pytest.raises(ValueError, match="other windows"):
        agreement(str(tmp_path / "ours"), str(tmp_path / "other"))


def test_a_folder_holds_as_many_clips_as_are_asked_for(tmp_path: Path) -> None:
    found = find_clips(None, tmp_path)
    files = sorted(lay_out(found, len(found) + 3, tmp_path / "many").rglob("*.wav"))
    assert len(files) == len(found) + 3
    assert files[-1].read_bytes() == found[2].read_bytes() != found[3].read_bytes()


@pytest.mark.heavy
def test_every_row_is_measured_on_the_same_windows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = tmp_path / "history.jsonl"
    options = ["--models", "compact", "--clips", "4", "40", "--rounds", "1", "--limit-seconds", "0.1", "--no-sweep"]
    score.main([*options, "--history", str(history)])
    lines = [json.loads(line) for line in history.read_text().splitlines()]
    programs = [line for line in lines if "startup_seconds" in line]
    assert {line["name"] for line in programs} == {*score.DEFAULT_ROWS}
    assert [line["agreement"]["same_labels"] >= 0.95 for line in programs if "agreement" in line] == [True] * 3
    assert len([line for line in lines if line["name"].startswith("limit: ")]) == 4
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(lines)


def test_what_the_driver_costs_is_measured_by_the_steps_of_a_run(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    scale.main(["--files", "300", "--history", str(history)])
    [line] = [json.loads(line) for line in history.read_text().splitlines()]
    assert [name for name in line["steps"] if "rows" in name and "commits" in name] == [
        "first run: rows and commits of 300 files",
        "1 % changed: rows and commits of 3 files",
    ]
