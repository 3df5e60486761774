"""Windows without speech are rows that say so, for every reader; outputs of before go on as they were."""

import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest
from deltalake import DeltaTable

from ser_core.storage.location import Location
from ser_core.tables.output import Output
from tests.support.audio_factory import RATE_HZ, encode, noise, speech
from tests.support.cli import Answer, assert_one_line, files, predictions, ser_here
from tests.support.tables import before_speech, forget_speech

NOTHING = {None, pd.NA}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A call with half a minute of silence and noise in it, silence, and what is no audio."""
    folder = tmp_path_factory.mktemp("calls")
    pause = np.concatenate([np.zeros(10 * RATE_HZ, np.float32), noise(5.0)[:, 0]])
    (folder / "call.wav").write_bytes(encode(np.concatenate([speech(10.0, "angry"), pause])))
    (folder / "silence.wav").write_bytes(encode(np.zeros(7 * RATE_HZ, np.float32)))
    (folder / "text.wav").write_text("no sound")
    return folder


@pytest.fixture(scope="module")
def scored(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    output = tmp_path_factory.mktemp("out") / "out"
    answer = ser_here("score", source, output, "--speech", "on", "--output-mode", "json")
    assert answer.code == 3, answer.err
    return output, answer


def seen_by_readers(output: Path, table: str) -> dict[str, list[dict[str, Any]]]:
    folder = str(output / table)
    glob = f"{folder}/*/*.parquet"
    return {
        "duckdb": duckdb.sql(f"from read_parquet('{glob}', hive_partitioning=true)").to_arrow_table().to_pylist(),
        "polars": pl.read_parquet(glob, hive_partitioning=True).to_dicts(),
        "polars delta": pl.scan_delta(folder).collect().to_dicts(),
        "pandas": pd.read_parquet(folder, dtype_backend="pyarrow").to_dict("records"),
        "pyarrow": ds.dataset(folder, partitioning="hive", exclude_invalid_files=True).to_table().to_pylist(),
        "deltalake": DeltaTable(folder).to_pyarrow_table().to_pylist(),
    }


def test_every_reader_sees_nulls_where_there_is_no_speech(scored: tuple[Path, Answer]) -> None:
    for reader, rows in seen_by_readers(scored[0], "predictions").items():
        found = {(row["path"], row["window_index"]): row for row in rows}
        said = {key: row["emotion"] for key, row in found.items()}
        has_speech = [said["call.wav", index] != "no_speech" for index in range(5)]
        assert has_speech == [True, True, False, False, False], reader
        assert said["silence.wav", 0] == said["silence.wav", 1] == "no_speech", reader
        for row in found.values():
            values = [row[name] for name in row if name.startswith("p_") or name == "confidence"]
            are_null = {value in NOTHING for value in values}
            assert are_null == {row["emotion"] == "no_speech"}, (reader, row)
            assert 0 <= row["speech_share"] <= 1
    for reader, rows in seen_by_readers(scored[0], "files").items():
        call, silence, text = sorted(rows, key=lambda row: row["path"])
        said_of_silence = [silence[name] for name in ("status", "emotion", "speech_seconds")]
        assert said_of_silence == ["scored", "no_speech", 0.0], reader
        assert {silence[name] in NOTHING for name in ("confidence", "p_angry", "share_angry")} == {True}, reader
        assert {text[name] in NOTHING for name in ("emotion", "speech_seconds", "share_angry")} == {True}, reader
        assert 9 < call["speech_seconds"] <= 10, reader
        shares = [value for name, value in call.items() if name.startswith("share_")]
        assert sum(shares) == pytest.approx(1.0), reader
        assert call["modified"].timestamp() > 1e9, reader


def test_hours_of_audio_and_of_speech_are_told(scored: tuple[Path, Answer], source: Path) -> None:
    output, answer = scored
    assert (answer.data["windows"], answer.data["no_speech"], answer.data["audio_seconds"]) == (7, 5, 32.0)
    assert 9 < answer.data["speech_seconds"] <= 10
    record = json.loads((output / "run.json").read_text())
    for told in (record["this_run"], record["all_rows"]):
        assert (told["num_files"], told["num_failed"], told["num_windows"], told["num_no_speech"]) == (3, 1, 7, 5)
        assert told["audio_hours"] == pytest.approx(32 / 3600)
        assert told["speech_hours"] == pytest.approx(answer.data["speech_seconds"] / 3600, abs=1e-6)
    assert (record["settings"]["speech"], record["settings"]["min_speech_seconds"]) == ("on", 0.3)
    again = ser_here("score", source, output.with_name("again"), "--speech", "on")
    speech = f"{answer.data['speech_seconds'] / 60:.2f} of speech"
    assert f"7 windows, 5 of them without speech, 0.53 minutes of audio, {speech}, in" in again.out
    assert ser_here("verify", output).code == 0


def test_without_detection_everything_is_judged_and_nothing_is_said_of_speech(source: Path, tmp_path: Path) -> None:
    answer = ser_here("score", source, tmp_path / "out", "--speech", "all", "--output-mode", "json")
    assert (answer.data["no_speech"], answer.data["speech_seconds"]) == (0, None)
    rows, of_files = predictions(tmp_path / "out"), files(tmp_path / "out")
    assert rows["speech_share"].null_count == rows.num_rows == 7
    assert not rows["confidence"].null_count
    assert of_files["speech_seconds"].null_count == 3
    other = ser_here("score", source, tmp_path / "out", "--speech", "on", "--min-speech-seconds", "1")
    assert_one_line(other, 1, 'with other settings: speech was "all", now "on"; use --restart or another output')
    assert ser_here("verify", tmp_path / "out").code == 0


def test_how_much_speech_is_needed_belongs_to_the_output(scored: tuple[Path, Answer], source: Path) -> None:
    answer = ser_here("score", source, scored[0], "--speech", "on", "--min-speech-seconds", "1")
    assert_one_line(answer, 1, "min_speech_seconds was 0.3, now 1.0", "use --restart or another output")
    answer = ser_here("score", source, scored[0], "--speech", "all")
    assert_one_line(answer, 1, 'with other settings: speech was "on", now "all"; use --restart or another output')


@pytest.mark.parametrize("verb", ["score", "predict", "evaluate"])
def test_how_much_speech_is_needed_does_not_go_with_judging_everything(verb: str, source: Path, tmp_path: Path) -> None:
    places = [source, tmp_path / "out"] if verb != "predict" else [source / "call.wav"]
    arguments = ["compact", *places] if verb == "evaluate" else places
    answer = ser_here(verb, *arguments, "--speech", "all", "--min-speech-seconds", "1")
    assert_one_line(answer, 2, "speech all judges every window; leave out min_speech_seconds, or use speech on")


def test_a_run_that_has_nothing_to_do_hears_no_speech(source: Path, scored: tuple[Path, Answer]) -> None:
    answer = ser_here("score", source, scored[0], "--speech", "on", "--output-mode", "json")
    assert (answer.data["windows"], answer.data["audio_seconds"], answer.data["speech_seconds"]) == (0, 0.0, 0.0)
    record = json.loads((scored[0] / "run.json").read_text())
    told = record["this_run"]
    assert (told["num_windows"], told["audio_hours"], told["speech_hours"]) == (0, 0.0, 0.0)
    told = record["all_rows"]
    assert (told["num_windows"], told["num_no_speech"], told["audio_seconds"]) == (7, 5, 32.0)
    assert 9 < told["speech_seconds"] <= 10


def test_a_run_that_goes_on_tells_what_it_added_and_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, seconds in (("first.wav", 10), ("gone.wav", 5)):
        (tmp_path / "in" / name).write_bytes(encode(np.zeros(seconds * RATE_HZ, np.float32)))
    asked = ["score", tmp_path / "in", tmp_path / "out", "--speech", "on", "--channels", "each"]
    assert "all rows" not in ser_here(*asked).out
    (tmp_path / "in" / "gone.wav").unlink()
    (tmp_path / "in" / "new.wav").write_bytes(encode(np.stack([speech(5.0, "angry"), np.zeros(5 * RATE_HZ)], axis=1)))
    answer = ser_here(*asked)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    counts = [
        [record[told][name] for name in ("num_files", "num_windows", "num_no_speech", "audio_seconds")]
        for told in ("this_run", "all_rows")
    ]
    # Both channels have five seconds.
    assert counts == [[1, 2, 1, 10.0], [3, 5, 4, 25.0]]
    assert 4 < record["this_run"]["speech_seconds"] == record["all_rows"]["speech_seconds"] <= 5
    spoken = f"{record['all_rows']['speech_seconds'] / 60:.2f} of speech"
    assert f"this run: 2 windows, 1 of them without speech, 0.17 minutes of audio, {spoken}, in" in answer.out
    assert f"all rows: 5 windows, 4 of them without speech, 0.42 minutes of audio, {spoken}\n" in answer.out


def test_predict_names_what_has_no_speech(source: Path) -> None:
    paths = [source / name for name in ("call.wav", "silence.wav")]
    call, silence = (line.split("\t") for line in ser_here("predict", *paths, "--speech", "on").out.splitlines())
    assert len(call) == 3
    assert silence[1:] == ["no_speech"]
    answer = ser_here("predict", *paths, "--speech", "on", "--output-mode", "json")
    call_data, silence_data = (json.loads(line) for line in answer.out.splitlines())
    assert answer.code == 0
    assert 9 < call_data["speech_seconds"] <= 10
    assert silence_data | {"status": "scored", "emotion": "no_speech", "confidence": None, "speech_seconds": 0.0} == (
        silence_data
    )


def test_predict_is_told_how_much_speech_is_needed(tmp_path: Path) -> None:
    spoken_T = np.concatenate([speech(1.2, "angry"), np.zeros(3 * RATE_HZ, np.float32)])
    (tmp_path / "short.wav").write_bytes(encode(spoken_T))
    asked = ["predict", tmp_path / "short.wav", "--speech", "on", "--min-speech-seconds"]
    enough, too_little = (ser_here(*asked, seconds).out.split()[1] for seconds in ("0.3", "2"))
    assert (enough != "no_speech", too_little) == (True, "no_speech")


@pytest.fixture
def of_before(source: Path, tmp_path: Path) -> Path:
    """An output of an earlier version, without speech detection."""
    with before_speech():
        assert ser_here("score", source, tmp_path / "out", "--speech", "all").code == 3
    forget_speech(Output(Location(str(tmp_path / "out"))))
    assert "share_angry" not in files(tmp_path / "out").column_names
    return tmp_path / "out"


@pytest.mark.parametrize("asked", [["--speech", "on"], ["--min-speech-seconds", "0.5"]])
def test_speech_that_is_asked_for_is_refused_where_an_output_is_without(
    asked: list[str], of_before: Path, source: Path, defaults: Path
) -> None:
    for more in ([], ["--dry-run"]):
        answer = ser_here("score", source, of_before, "--config", defaults, *asked, *more)
        assert_one_line(answer, 1, 'speech was "all", now "on"; use --restart or another output')
        assert "goes on without" not in answer.err


@pytest.fixture
def defaults(tmp_path: Path) -> Path:
    """Settings that say nothing of speech."""
    file = tmp_path / "score.yaml"
    file.write_text("model: compact\n")
    return file


def test_an_output_of_before_goes_on_without_detection_and_says_so(
    of_before: Path, source: Path, tmp_path: Path, defaults: Path
) -> None:
    (source / "new.wav").write_bytes(encode(np.zeros(6 * RATE_HZ, np.float32)))
    answer = ser_here("score", source, of_before, "--config", defaults)
    assert answer.code == 3, answer.err
    said = f"{of_before} was made by an earlier version, without speech detection, and goes on without"
    assert answer.err.count(said) == 1
    assert "predictions: new column speech_share, null in the rows of before" in answer.err
    rows = files(tmp_path / "out").to_pylist()
    assert [row["path"] for row in rows] == ["call.wav", "new.wav", "silence.wav", "text.wav"]
    assert [row["emotion"] == "no_speech" for row in rows] == [False] * 4
    assert [row["modified"] is None for row in rows] == [True, False, True, True]
    for row in rows:
        assert row["speech_seconds"] is None
    (source / "new.wav").unlink()
    assert ser_here("verify", tmp_path / "out").code == 0
    assert ser_here("score", source, of_before, "--speech", "on", "--restart").code == 3
    assert predictions(tmp_path / "out")["emotion"].to_pylist().count("no_speech") == 5
