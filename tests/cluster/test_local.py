"""The pipeline in this process: what comes out, and that nothing of it is left when it ends."""

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from cluster.local import _NONE_JUDGED, LocalPipeline, _Channel
from cluster.resources import Hardware, Resources, plan_resources
from cluster.stages import LoadSettings, PredictSettings
from ser_core.audio.segments import WindowSettings
from ser_core.records import PENDING_SCHEMA, PREDICTED_SCHEMA
from ser_core.score_config import ScoreConfig
from ser_core.source.source import Source
from ser_core.speech import SpeechSettings
from ser_core.storage.local import version_of
from tests.support.audio_factory import encode, noise
from tests.support.misbehaving_worker import WORKER, poisoned
from tests.support.models import tiny_artifact
from tests.support.processes import num_descriptors

WINDOWS = WindowSettings(window_seconds=1.0, hop_seconds=1.0)


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Threads, children and descriptors of before, and no other."""
    threads, descriptors = set(threading.enumerate()), num_descriptors()
    children = psutil.Process().children()
    yield
    assert {thread for thread in threading.enumerate() if thread.name == "ser-stage"} <= threads
    assert psutil.Process().children() == children
    assert num_descriptors() <= descriptors


def pipeline(folder: Path, *, num_loaders: int = 1, num_predictors: int = 2, batch_size: int = 4) -> LocalPipeline:
    resources: Resources = dataclasses.replace(
        plan_resources(ScoreConfig(), Hardware(cpus=2, gpus=0)),
        num_loaders=num_loaders,
        num_predictors=num_predictors,
        batch_size=batch_size,
    )
    load = LoadSettings(
        source=Source.parse(str(folder)),
        channels="mix",
        windows=WINDOWS,
        speech=SpeechSettings(mode="all"),
        features_on="cpu",
        file_timeout_seconds=60.0,
        block_bytes=resources.block_bytes,
        decode_worker=WORKER,
    )
    predict = PredictSettings(
        device="cpu",
        precision="fp32",
        features_on="cpu",
        batch_size=batch_size,
        num_threads=1,
        window_samples=WINDOWS.window_samples,
    )
    return LocalPipeline(load=load, predict=predict, resources=resources, artifact=tiny_artifact())


def archive(folder: Path, num_files: int, *verbs: str) -> pa.Table:
    """PENDING_SCHEMA of clips of 1 to 3 s, and of more that make their worker misbehave."""
    rows = []
    for file_id, verb in enumerate([*[""] * num_files, *verbs]):
        name = f"{verb or format(file_id, '02')}.wav"
        contents = encode(noise(1.0 + file_id % 3, seed=file_id))
        (folder / name).write_bytes(poisoned(contents, verb) if verb else contents)
        status = (folder / name).stat()
        rows.append(
            {"path": name, "size": status.st_size, "version": version_of(status), "modified": 0, "file_id": file_id}
        )
    return pa.Table.from_pylist(rows, PENDING_SCHEMA)


@pytest.mark.parametrize(("num_loaders", "num_predictors", "files_per_block"), [(1, 1, 1), (1, 2, 5), (3, 2, 4)])
def test_every_file_comes_out_once_with_all_its_windows(
    tmp_path: Path, num_loaders: int, num_predictors: int, files_per_block: int
) -> None:
    files = archive(tmp_path, 20)
    with closing(pipeline(tmp_path, num_loaders=num_loaders, num_predictors=num_predictors)) as local:
        tables = list(local.run(files, files_per_block))
    assert all(table.schema == PREDICTED_SCHEMA for table in tables)
    rows = sorted(pa.concat_tables(tables).to_pylist(), key=lambda row: row["path"])
    assert [row["path"] for row in rows] == files["path"].to_pylist()
    assert [len(row["window_index"]) for row in rows] == [1 + index % 3 for index in range(20)]


def test_a_second_pass_follows_the_first(tmp_path: Path) -> None:
    files = archive(tmp_path, 4)
    with closing(pipeline(tmp_path)) as local:
        for _ in range(2):
            assert sum(table.num_rows for table in local.run(files, 2)) == 4


def test_a_pass_that_is_left_midway_ends(tmp_path: Path) -> None:
    files = archive(tmp_path, 30)
    with closing(pipeline(tmp_path)) as local:
        blocks = local.run(files, 1)
        next(blocks)
        blocks.close()
        assert sum(table.num_rows for table in local.run(files, 8)) == 30


def test_closing_ends_a_pass_whose_decoder_hangs(tmp_path: Path) -> None:
    files = archive(tmp_path, 2, "hang")
    seen: list[str] = []
    with closing(pipeline(tmp_path)) as local:

        def read() -> None:
            for table in local.run(files, 1):
                seen.extend(table["path"].to_pylist())
                both.set() if len(seen) == 2 else None

        both = threading.Event()
        reader = threading.Thread(target=read)
        reader.start()
        assert both.wait(30)
    reader.join(10)
    assert not reader.is_alive()
    assert sorted(seen) == ["00.wav", "01.wav"]


def test_a_pass_that_begins_too_late_does_not_begin(tmp_path: Path) -> None:
    local = pipeline(tmp_path)
    blocks = local.run(archive(tmp_path, 2), 1)
    local.close()
    assert list(blocks) == []


def test_whoever_finds_nothing_left_waits_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.local._FILL_SECONDS", 0.001)
    channel, taken = _Channel(num_writers=1, capacity=4), []

    def take() -> None:
        while tables := channel.take(10):
            taken.extend(tables)

    takers = [threading.Thread(target=take, daemon=True) for _ in range(3)]
    for taker in takers:
        taker.start()
    for number in range(100):
        channel.put(number, 1)
        while len(taken) <= number and all(taker.is_alive() for taker in takers):
            time.sleep(0.001)
    assert all(taker.is_alive() for taker in takers)
    channel.finish()
    for taker in takers:
        taker.join(10)
    assert taken == list(range(100))


def test_what_a_stage_raises_comes_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = archive(tmp_path, 6)
    with closing(pipeline(tmp_path)) as local:

        def fail(_: pa.Table) -> pa.Table:
            raise RuntimeError("out of memory")

        monkeypatch.setattr(local, "_predict", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            list(local.run(files, 1))


def test_files_that_misbehave_are_rows_beside_their_neighbours(tmp_path: Path) -> None:
    files = archive(tmp_path, 3, "abort", "eat")
    with closing(pipeline(tmp_path)) as local:
        rows = pa.concat_tables(local.run(files, 2)).to_pylist()
    reasons = {row["path"]: row["reason"] for row in rows}
    expected = {"00.wav": None, "01.wav": None, "02.wav": None, "abort.wav": "crashed", "eat.wav": "memory"}
    assert reasons == expected


def test_a_fault_of_the_service_is_a_record_of_its_own(tmp_path: Path) -> None:
    files = archive(tmp_path, 2, "fault")
    with closing(pipeline(tmp_path)) as local:
        rows = pa.concat_tables(local.run(files, 1)).to_pylist()
    assert [row["service_fault"] for row in rows if row["service_fault"]] == ["the disk is gone"]


def test_records_without_a_window_to_judge_take_no_place_in_a_batch() -> None:
    channel = _Channel(num_writers=1, capacity=100)
    for number in range(8):
        channel.put(f"silent {number}", _NONE_JUDGED)
        channel.put(f"spoken {number}", 1)
    channel.finish()
    taken = [channel.take(4) for _ in range(3)]
    assert [sum("spoken" in record for record in records) for records in taken] == [4, 4, 0]
    assert sum(map(len, taken)) == 16


def test_records_without_a_window_to_judge_do_not_pile_up() -> None:
    channel, put = _Channel(num_writers=1, capacity=2), []
    writer = threading.Thread(
        target=lambda: [put.append(number) for number in range(1000) if channel.put(number, _NONE_JUDGED)], daemon=True
    )
    writer.start()
    while len(put) < 2 / _NONE_JUDGED:
        time.sleep(0.001)
    channel.close()
    writer.join(10)
    assert len(put) == 2 / _NONE_JUDGED
