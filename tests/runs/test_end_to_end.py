"""`ser score` on a folder, in this process and on a Ray cluster: what is asserted of one engine holds for the other."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from deltalake import DeltaTable

from tests.support.archive import (
    WINDOW_SECONDS,
    assert_same_predictions,
    expected_keys,
    keys,
    num_windows,
    write_archive,
    write_clip,
)
from tests.support.audio_factory import encode, speech
from tests.support.cli import WITH_DETECTION, Answer, assert_one_line, files, predictions, ser_here
from tests.support.ray_cluster import RayCluster

#: Batches of another shape are rounded otherwise where precision is reduced.
EXACT = ("--precision", "fp32")


def score(*arguments: str | Path, **options: Any) -> Answer:
    """`ser score` in this process, with speech detection."""
    return ser_here("score", *arguments, *WITH_DETECTION, **options)


@dataclass(frozen=True)
class Scored:
    """An archive and the output of one run over it."""

    source: Path
    output: Path
    seconds_of: dict[str, float]
    answer: Answer


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    folder = tmp_path_factory.mktemp("scored")
    seconds_of = write_archive(folder / "in", 40)
    (folder / "in" / "notes.txt").write_text("not audio")
    (folder / "in" / ".hidden.wav").write_bytes(b"")
    answer = score(folder / "in", folder / "out", "--output-mode", "json", "--cpus", "2", *EXACT)
    assert answer.code == 0, answer.err
    return Scored(folder / "in", folder / "out", seconds_of, answer)


@pytest.fixture
def again(scored: Scored, tmp_path: Path) -> Scored:
    """A copy to change; the source stays where the output says it is."""
    moved = tmp_path / "moved"
    shutil.copytree(scored.source, moved)
    shutil.copytree(scored.output, tmp_path / "out")
    shutil.rmtree(scored.source)
    shutil.copytree(moved, scored.source)
    yield Scored(scored.source, tmp_path / "out", dict(scored.seconds_of), scored.answer)
    shutil.rmtree(scored.source)
    moved.rename(scored.source)


def test_every_window_of_every_file_has_one_row(scored: Scored) -> None:
    assert keys(predictions(scored.output)) == expected_keys(scored.seconds_of)
    rows = files(scored.output)
    assert rows["path"].to_pylist() == sorted(scored.seconds_of)
    assert set(rows["status"].to_pylist()) == {"scored"}
    assert rows["audio_seconds"].to_pylist() == pytest.approx(
        [scored.seconds_of[path] for path in sorted(scored.seconds_of)], abs=1e-3
    )


def test_the_last_line_is_one_json_object_that_counts(scored: Scored) -> None:
    data = scored.answer.data
    assert {name: data[name] for name in ("files", "scored", "partial", "failed", "skipped", "gone")} == {
        "files": 40, "scored": 40, "partial": 0, "failed": 0, "skipped": 0, "gone": 0,
    }  # fmt: skip
    assert data["windows"] == len(expected_keys(scored.seconds_of))
    assert data["audio_seconds"] == pytest.approx(sum(scored.seconds_of.values()), abs=0.1)
    assert data["output"] == str(scored.output)
    assert len(scored.answer.out.splitlines()) == 1
    assert 0.2 * data["windows"] < data["no_speech"] < 0.8 * data["windows"]


def test_the_licence_of_the_weights_is_shown(scored: Scored) -> None:
    assert "CC BY-NC-SA 4.0" in scored.answer.err


def test_ray_gives_what_this_process_gives_and_shows_no_word_of_its_own(
    cluster: RayCluster, scored: Scored, tmp_path: Path
) -> None:
    options = ["--batch-size", "7", "--cpus", "2", "--output-mode", "json", *EXACT]
    # A package of the user's own with one of our names, where the command is typed.
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "__init__.py").write_text("raise RuntimeError('not yours')")
    answer = cluster.ser("score", scored.source, "out", *options, *WITH_DETECTION, cwd=tmp_path)
    assert answer.code == 0, answer.err
    lines = [line for line in answer.err.splitlines() if not line.startswith("engine ray: the cluster at")]
    assert len(lines) < len(answer.err.splitlines())
    assert "ray" not in "\n".join(lines).lower()
    assert_same_predictions(predictions(tmp_path / "out"), predictions(scored.output))
    ignored = ["run"]
    assert (
        files(tmp_path / "out")
        .drop_columns([*ignored, *probability_columns(scored.output)])
        .equals(files(scored.output).drop_columns([*ignored, *probability_columns(scored.output)]))
    )
    counted = ("files", "scored", "partial", "failed", "windows", "audio_seconds")
    assert {name: answer.data[name] for name in counted} == pytest.approx(
        {name: scored.answer.data[name] for name in counted}
    )


def probability_columns(output: Path) -> list[str]:
    """Columns that rounding may change in the last digits."""
    exact = ("confidence", "speech_seconds")
    return [name for name in files(output).column_names if name.startswith(("p_", "share_")) or name in exact]


def test_the_record_of_the_run(scored: Scored) -> None:
    record = json.loads((scored.output / "run.json").read_text())
    text = json.dumps(record)
    assert record["state"] == "complete"
    assert "CC BY-NC-SA 4.0" in text
    assert '"txt": 1' in text
    assert '"num_hidden": 1' in text


def test_all_readers_see_the_same_rows(scored: Scored) -> None:
    folder = scored.output / "predictions"
    pattern = f"{folder}/emotion=*/*.parquet"
    expected = predictions(scored.output)
    tables = {
        "duckdb": duckdb.sql(f"SELECT * FROM read_parquet('{pattern}', hive_partitioning = true)").df(),
        "polars": pl.read_parquet(pattern, hive_partitioning=True).to_pandas(),
        "polars delta": pl.scan_delta(str(folder)).collect().to_pandas(),
        "pandas": pd.read_parquet(folder),
        "pyarrow": ds.dataset(folder, partitioning="hive", exclude_invalid_files=False).to_table().to_pandas(),
        "deltalake": DeltaTable(folder).to_pandas(),
    }
    for reader, frame in tables.items():
        ordered = frame[expected.column_names].assign(emotion=frame["emotion"].astype(str))
        ordered = ordered.sort_values(["path", "channel", "window_index"])
        rows = pa.Table.from_pandas(ordered, preserve_index=False).cast(expected.schema)
        assert rows.equals(expected), reader


def test_no_part_lies_in_the_output_that_the_tables_do_not_name(scored: Scored) -> None:
    for name in ("predictions", "files"):
        live = {Path(part).name for part in DeltaTable(scored.output / name).file_uris()}
        assert {part.name for part in (scored.output / name).rglob("*.parquet")} == live


def test_again_scores_nothing(again: Scored) -> None:
    answer = score(again.source, again.output, "--output-mode", "json")
    assert answer.code == 0, answer.err
    assert (answer.data["skipped"], answer.data["windows"]) == (40, 0)


def test_only_what_is_new_or_changed_is_scored_and_the_gone_stay_until_pruned(again: Scored) -> None:
    paths = sorted(again.seconds_of)
    before = predictions(again.output)
    for number in range(3):
        write_clip(again.source / f"new/{number}.wav", 4.0, 100 + number)
        again.seconds_of[f"new/{number}.wav"] = 4.0
    for path in paths[:2]:
        write_clip(again.source / path, 7.0, 200)
        again.seconds_of[path] = 7.0
    (again.source / paths[-1]).unlink()
    answer = score(again.source, again.output, "--output-mode", "json")
    assert answer.code == 0, answer.err
    assert {name: answer.data[name] for name in ("files", "skipped", "gone", "windows")} == {
        "files": 42, "skipped": 37, "gone": 1, "windows": 3 * num_windows(4.0) + 2 * num_windows(7.0),
    }  # fmt: skip
    after = predictions(again.output)
    assert keys(after) == expected_keys(again.seconds_of)
    kept = [path for path in paths if path not in paths[:2]]
    assert after.filter(pa.compute.is_in(after["path"], pa.array(kept))).equals(
        before.filter(pa.compute.is_in(before["path"], pa.array(kept)))
    )
    pruned = score(again.source, again.output, "--prune", "--output-mode", "json")
    assert pruned.data["skipped"] == 42
    del again.seconds_of[paths[-1]]
    assert keys(predictions(again.output)) == expected_keys(again.seconds_of)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--window-seconds", "2"], [f"window_seconds was {WINDOW_SECONDS}, now 2.0"]),
        (["--glob", "**/*.wav"], ["glob was nothing", "**/*.wav"]),
        (["--channels", "each"], ["channels"]),
    ],
)
def test_other_settings_on_the_same_output_are_refused_naming_both(
    scored: Scored, option: list[str], words: list[str]
) -> None:
    answer = score(scored.source, scored.output, *option)
    assert_one_line(answer, 1, "--restart", *words)


def test_another_source_on_the_same_output_is_refused_naming_both(scored: Scored, tmp_path: Path) -> None:
    write_clip(tmp_path / "other" / "a.wav", 1.0, 0)
    answer = score(tmp_path / "other", scored.output)
    assert_one_line(answer, 1, str(scored.source), str(tmp_path / "other"), "--restart")


def test_dry_run_writes_nothing_and_tells_all(scored: Scored, tmp_path: Path) -> None:
    answer = score(scored.source, tmp_path / "none", "--dry-run", "--output-mode", "json")
    assert answer.code == 0, answer.err
    assert not (tmp_path / "none").exists()
    assert (answer.data["files"], answer.data["new"]) == (40, 40)
    assert answer.data["bytes"] == sum((scored.source / path).stat().st_size for path in scored.seconds_of)
    assert answer.data["settings"]["window_seconds"] == WINDOW_SECONDS
    assert "predictor" in answer.data["resources"]
    known = score(scored.source, scored.output, "--dry-run")
    assert "0 new, 0 changed, 0 to try again, 40 unchanged" in known.out


def test_predict_says_what_score_says(scored: Scored, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    paths = [shutil.copy(scored.source / path, tmp_path / "in") for path in sorted(scored.seconds_of)[:4]]
    assert score(tmp_path / "in", tmp_path / "out").code == 0
    answer = ser_here("predict", *paths, "--output-mode", "json", *WITH_DETECTION)
    assert answer.code == 0, answer.err
    rows = files(tmp_path / "out").to_pylist()
    for line, row in zip(map(json.loads, answer.out.splitlines()), rows, strict=True):
        assert line["emotion"] == row["emotion"]
        if row["confidence"] is None:
            assert (line["emotion"], line["confidence"]) == ("no_speech", None)
        else:
            assert line["confidence"] == pytest.approx(row["confidence"], abs=1e-4)


def test_predict_of_a_file_that_is_none_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("words")
    answer = ser_here("predict", tmp_path / "a.wav", tmp_path / "missing.wav")
    assert answer.code == 3
    assert [line.split("\t")[1] for line in answer.out.splitlines()] == ["failed", "failed"]


def test_channels_each_answers_for_each_and_the_hop_may_differ(tmp_path: Path) -> None:
    sides = [speech(5.0, "calm", seed=1), speech(5.0, "angry", seed=2)]
    (tmp_path / "in").mkdir()
    for name, channels in (("call.wav", sides), ("left.wav", sides[:1]), ("right.wav", sides[1:])):
        (tmp_path / "in" / name).write_bytes(
            encode(pa.array(channels).flatten().to_numpy().reshape(len(channels), -1).T)
        )
    options = ["--channels", "each", "--window-seconds", "2", "--hop-seconds", "1", "--cpus", "1"]
    answer = ser_here("score", tmp_path / "in", tmp_path / "out", *options)
    assert answer.code == 0, answer.err
    rows = predictions(tmp_path / "out")
    assert rows["start_seconds"].to_pylist()[:5] == [0.0, 1.0, 2.0, 3.0, 4.0]
    for channel, single in ((0, "left.wav"), (1, "right.wav")):
        of_call = rows.filter((pa.compute.field("path") == "call.wav") & (pa.compute.field("channel") == channel))
        alone = rows.filter(pa.compute.field("path") == single)
        for name in ("p_angry", "p_calm"):
            assert of_call[name].to_pylist() == pytest.approx(alone[name].to_pylist(), abs=1e-5)


@pytest.mark.parametrize(
    "options",
    [["--batch-size", "1", "--cpus", "1"], ["--batch-size", "24", "--cpus", "2"]],
)
def test_batch_size_and_workers_do_not_change_the_predictions(
    scored: Scored, tmp_path: Path, options: list[str]
) -> None:
    answer = score(scored.source, tmp_path / "out", *options, *EXACT)
    assert answer.code == 0, answer.err
    assert_same_predictions(predictions(tmp_path / "out"), predictions(scored.output))


def test_restart_begins_anew_with_other_settings(again: Scored) -> None:
    options = ["--window-seconds", "6", "--restart", "--output-mode", "json"]
    answer = score(again.source, again.output, *options)
    assert answer.code == 0, answer.err
    assert answer.data["skipped"] == 0
    assert predictions(again.output)["window_index"].to_pylist().count(0) == 40
