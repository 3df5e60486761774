"""The two stages in this process, on real files, without Ray; with Ray they run in the end-to-end tests."""

import os
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from cluster.stages import Attempts, Loader, LoadSettings, PredictSettings, PredictStage, failure_records
from ser_core.audio.isolated import DECODE_WORKER
from ser_core.audio.log_mel import LogMel
from ser_core.audio.segments import WindowSettings
from ser_core.faults import Fault
from ser_core.models.artifact import Artifact
from ser_core.models.predictor import Predictor
from ser_core.records import LOADED_SCHEMA, PENDING_SCHEMA, PREDICTED_SCHEMA
from ser_core.score_config import FeaturesOn
from ser_core.source import fetch
from ser_core.source.listing import PlannedFile
from ser_core.source.source import Source
from ser_core.speech import SpeechSettings
from ser_core.storage.local import version_of
from ser_core.tables.assembler import Assembler, Totals
from ser_core.tables.rows import RowSettings
from ser_core.vocabulary import Channels
from tests.support.audio_factory import encode, noise, speech
from tests.support.misbehaving_worker import WORKER, poisoned
from tests.support.models import LABELS, tiny_artifact

WINDOWS = WindowSettings(window_seconds=1.0, hop_seconds=1.0)
ALL = SpeechSettings(mode="all")
MEL_WINDOW_BYTES = 4 * 32 * 51


#: The loaders of this test.
made: list[Loader] = []


@pytest.fixture(autouse=True)
def _no_child_is_left() -> Iterator[None]:
    yield
    while made:
        made.pop().close()


def pending(folder: Path, *paths: str) -> pa.Table:
    """PENDING_SCHEMA of these files as they are now."""
    rows = []
    for file_id, path in enumerate(paths):
        status = (folder / path).stat() if (folder / path).exists() else None
        size, version = (-1, "") if status is None else (status.st_size, version_of(status))
        rows.append({"path": path, "size": size, "version": version, "modified": 0, "file_id": file_id})
    return pa.Table.from_pylist(rows, PENDING_SCHEMA)


def write(folder: Path, path: str, seconds: float = 1.0, *, num_channels: int = 1) -> None:
    (folder / path).write_bytes(encode(noise(seconds, num_channels=num_channels, seed=len(path))))


def loader(
    folder: Path,
    *,
    worker: str = DECODE_WORKER,
    artifact: Artifact | None = None,
    attempts: Attempts | None = None,
    channels: Channels = "mix",
    features_on: FeaturesOn = "cpu",
    block_bytes: int = 2**20,
    speech: SpeechSettings = ALL,
) -> Loader:
    settings = LoadSettings(
        source=Source.parse(str(folder)),
        channels=channels,
        windows=WINDOWS,
        speech=speech,
        features_on=features_on,
        file_timeout_seconds=60.0,
        block_bytes=block_bytes,
        decode_worker=worker,
    )
    made.append(Loader(settings, artifact or tiny_artifact(), attempts or Attempts()))
    return made[-1]


def predict_stage(features_on: FeaturesOn = "cpu", batch_size: int = 4) -> PredictStage:
    settings = PredictSettings(
        device="cpu",
        precision="fp32",
        features_on=features_on,
        batch_size=batch_size,
        num_threads=1,
        window_samples=WINDOWS.window_samples,
    )
    return PredictStage(settings, tiny_artifact())


def load(stage: Loader, files: pa.Table) -> list[dict[str, Any]]:
    """All records of a block; every table is of the schema that predictors take."""
    records: list[dict[str, Any]] = []
    for table in stage(files):
        assert table.schema == LOADED_SCHEMA
        records += table.to_pylist()
    return records


def outcomes(records: list[dict[str, Any]]) -> dict[str, tuple[int, str | None]]:
    """Windows and reason of each file, every one of which has just one record."""
    by_path = {record["path"]: (len(record["window_index"]), record["reason"]) for record in records}
    assert len(by_path) == len(records)
    return by_path


class FragileMel(torch.nn.Module):
    """Raises on loud windows what no one has thought of."""

    def __init__(self, log_mel: LogMel) -> None:
        super().__init__()
        self._log_mel = log_mel

    def forward(self, pcm_NS: torch.Tensor) -> torch.Tensor:
        if pcm_NS.abs().max() > 0.95:
            raise KeyError("a loud\nwindow")
        mel_NFT: torch.Tensor = self._log_mel(pcm_NS)
        return mel_NFT


class FragileArtifact(Artifact):
    def log_mel(self) -> LogMel:
        return FragileMel(super().log_mel())  # type: ignore[return-value]


@pytest.fixture
def fragile() -> Artifact:
    artifact = tiny_artifact()
    return FragileArtifact(artifact.config_json, artifact.weights)


def write_loud(folder: Path, path: str, quiet_seconds: float = 0.0) -> None:
    pcm_TC = np.concatenate([noise(quiet_seconds), np.ones((16_000, 1), np.float32)])
    (folder / path).write_bytes(encode(pcm_TC))


def test_a_record_holds_the_features_of_its_windows(tmp_path: Path) -> None:
    write(tmp_path, "a.wav", 2.7)
    [record] = load(loader(tmp_path), pending(tmp_path, "a.wav"))
    assert record["file_id"] == 0
    assert record["file_version"] == version_of((tmp_path / "a.wav").stat())
    assert (record["channel"], record["segment_index"], record["is_last"]) == (-1, 0, True)
    assert record["window_index"] == [0, 1, 2]
    np.testing.assert_allclose(record["end_seconds"], [1, 2, 2.7])
    assert len(record["payload"]) == 3 * MEL_WINDOW_BYTES
    pcm_NS = np.frombuffer(load(loader(tmp_path, features_on="device"), pending(tmp_path, "a.wav"))[0]["payload"], "f4")
    mel_NFT = tiny_artifact().log_mel()(torch.from_numpy(pcm_NS.reshape(3, -1).copy()))
    np.testing.assert_allclose(np.frombuffer(record["payload"], "f4"), mel_NFT.numpy().ravel(), atol=1e-5)


def test_files_that_cannot_be_loaded_are_records_too(tmp_path: Path) -> None:
    for name in ("a.wav", "changed.wav", "z.wav"):
        write(tmp_path, name)
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    files = pending(tmp_path, "a.wav", "changed.wav", "missing.wav", "broken.wav", "z.wav")
    write(tmp_path, "changed.wav", 2.0)
    records = load(loader(tmp_path), files)
    assert outcomes(records) == {
        "a.wav": (1, None),
        "changed.wav": (0, "changed"),
        "missing.wav": (0, "not_found"),
        "broken.wav": (0, "unreadable"),
        "z.wav": (1, None),
    }
    assert all(record["detail"] for record in records if record["reason"])
    assert {record["file_id"]: record["path"] for record in records} == dict(enumerate(files["path"].to_pylist()))


def test_large_files_are_read_piece_by_piece_and_small_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = ["large.wav", "small.wav", "larger.wav"]
    for path, seconds in zip(paths, (3.0, 1.0, 4.0), strict=True):
        write(tmp_path, path, seconds)
    whole = load(loader(tmp_path), pending(tmp_path, *paths))
    monkeypatch.setattr("ser_core.audio.load.MAX_WHOLE_FILE_BYTES", (tmp_path / "small.wav").stat().st_size)
    fetched: list[str] = []
    fetch_all = fetch.fetch_all

    def watched(source: Source, files: Iterable[PlannedFile]) -> Generator[Any, None, None]:
        small = list(files)
        fetched.extend(file.path for file in small)
        return fetch_all(source, small)

    monkeypatch.setattr("ser_core.audio.load.fetch_all", watched)
    in_pieces = load(loader(tmp_path), pending(tmp_path, *paths))
    assert fetched == ["small.wav"]
    assert in_pieces == whole


def test_a_large_file_that_changed_is_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ser_core.audio.load.MAX_WHOLE_FILE_BYTES", 1000)
    for path in ("a.wav", "b.wav"):
        write(tmp_path, path)
    files = pending(tmp_path, "a.wav", "b.wav")
    os.utime(tmp_path / "a.wav", (1, 1))
    assert outcomes(load(loader(tmp_path), files)) == {"a.wav": (0, "changed"), "b.wav": (1, None)}


def test_each_channel_is_a_record(tmp_path: Path) -> None:
    write(tmp_path, "a.wav", 2.0, num_channels=3)
    records = load(loader(tmp_path, channels="each"), pending(tmp_path, "a.wav"))
    assert [(record["channel"], record["segment_index"], record["is_last"]) for record in records] == [
        (0, 0, False),
        (1, 1, False),
        (2, 2, True),
    ]
    assert [record["window_index"] for record in records] == [[0, 1]] * 3
    assert len({record["payload"] for record in records}) == 3


@pytest.mark.parametrize(("windows_per_table", "num_tables"), [(1, 6), (2, 3), (100, 1)])
def test_tables_are_split_at_block_bytes(tmp_path: Path, windows_per_table: int, num_tables: int) -> None:
    paths = [f"{index}.wav" for index in range(6)]
    for path in paths:
        write(tmp_path, path)
    stage = loader(tmp_path, block_bytes=windows_per_table * MEL_WINDOW_BYTES)
    tables = list(stage(pending(tmp_path, *paths)))
    assert len(tables) == num_tables
    assert pa.concat_tables(tables)["path"].to_pylist() == paths


def test_a_fault_of_the_service_ends_the_block_and_keeps_what_came_before(tmp_path: Path) -> None:
    for path in ("a.wav", "b.wav", "z.wav"):
        write(tmp_path, path)
    (tmp_path / "fault.wav").write_bytes(poisoned(encode(noise(1.0)), "fault"))
    first, last = loader(tmp_path, worker=WORKER)(pending(tmp_path, "a.wav", "b.wav", "fault.wav", "z.wav"))
    assert outcomes(first.to_pylist()) == {"a.wav": (1, None), "b.wav": (1, None)}
    assert first["service_fault"].null_count == 2
    assert last.schema == LOADED_SCHEMA
    assert last["service_fault"].to_pylist() == ["the disk is gone"]


def test_a_file_that_kills_its_decoder_costs_only_itself(tmp_path: Path) -> None:
    for path in ("a.wav", "z.wav"):
        write(tmp_path, path)
    (tmp_path / "abort.wav").write_bytes(poisoned(encode(noise(1.0)), "abort"))
    records = load(loader(tmp_path, worker=WORKER), pending(tmp_path, "a.wav", "abort.wav", "z.wav"))
    assert outcomes(records) == {"a.wav": (1, None), "abort.wav": (0, "crashed"), "z.wav": (1, None)}


def test_a_file_with_an_unexpected_error_fails_and_its_neighbours_do_not(tmp_path: Path, fragile: Artifact) -> None:
    paths = ["a.wav", "loud.wav", "m.wav", "loud2.wav", "z.wav"]
    for path in paths:
        (write_loud if "loud" in path else write)(tmp_path, path)
    attempts = Attempts()
    records = load(loader(tmp_path, artifact=fragile, attempts=attempts), pending(tmp_path, *paths))
    crashed = (0, "crashed")
    assert outcomes(records) == {path: crashed if "loud" in path else (1, None) for path in paths}
    [detail] = {record["detail"] for record in records if record["reason"]}
    assert detail == r"an unexpected error: KeyError: 'a loud\nwindow'"
    assert attempts.begin_block(paths)


def test_an_unexpected_error_late_in_a_file_is_that_of_the_whole_file(tmp_path: Path, fragile: Artifact) -> None:
    write_loud(tmp_path, "loud.wav", quiet_seconds=600.0)
    write(tmp_path, "z.wav")
    stage = loader(tmp_path, artifact=fragile, block_bytes=2**30)
    [table] = stage(pending(tmp_path, "loud.wav", "z.wav"))
    assert outcomes(table.to_pylist()) == {"loud.wav": (0, "crashed"), "z.wav": (1, None)}
    assembler = Assembler(RowSettings(labels=LABELS, model="m", hop_seconds=1.0, run_number=1), 2, Totals())
    assembler.add(predict_stage()(table))
    assert not len(assembler.missing_F())


def test_files_in_hand_when_a_loader_died_are_taken_one_by_one(tmp_path: Path) -> None:
    paths = ["a.wav", "killer.wav", "z.wav"]
    for path in paths:
        write(tmp_path, path)
    files = pending(tmp_path, *paths)
    attempts = Attempts()
    attempts.begin_block(paths)
    for _ in range(Attempts.MAX):
        attempts.begin_file("killer.wav")
    # Another pass cuts other blocks.
    stage = loader(tmp_path, attempts=attempts)
    records = load(stage, files.slice(0, 2)) + load(stage, files.slice(2))
    assert outcomes(records) == {"a.wav": (1, None), "killer.wav": (0, "crashed"), "z.wav": (1, None)}
    assert "its worker died" in records[1]["detail"]


def test_a_file_in_hand_when_a_loader_died_once_is_scored(tmp_path: Path) -> None:
    write(tmp_path, "a.wav")
    attempts = Attempts()
    attempts.begin_block(["a.wav"])
    attempts.begin_file("a.wav")
    assert outcomes(load(loader(tmp_path, attempts=attempts), pending(tmp_path, "a.wav"))) == {"a.wav": (1, None)}
    assert attempts.begin_block(["a.wav"])
    assert attempts.begin_file("a.wav") == 1


def test_a_loader_stopped_midway_goes_on_with_other_files(tmp_path: Path) -> None:
    for path, seconds in (("long.wav", 600.0), ("next.wav", 1.0)):
        write(tmp_path, path, seconds)
    stage = loader(tmp_path, block_bytes=1)
    tables = iter(stage(pending(tmp_path, "long.wav", "next.wav")))
    assert not next(tables)["is_last"][0].as_py()
    del tables
    assert outcomes(load(stage, pending(tmp_path, "next.wav"))) == {"next.wav": (1, None)}


def test_probabilities_keep_the_order_of_records_and_windows(tmp_path: Path) -> None:
    lengths = {"a.wav": 3.0, "b.wav": 0.05, "c.wav": 1.0, "d.wav": 2.0}
    for index, (path, seconds) in enumerate(lengths.items()):
        (tmp_path / path).write_bytes(encode(speech(seconds, "happy", seed=index)))
    loaded = pa.concat_tables(loader(tmp_path)(pending(tmp_path, *lengths)))
    predicted = predict_stage()(loaded)
    assert predicted.schema == PREDICTED_SCHEMA
    assert predicted.drop_columns(["probabilities", "embeddings"]).equals(loaded.drop_columns("payload"))
    predictor = Predictor(tiny_artifact())
    for record, payload in zip(predicted.to_pylist(), loaded["payload"].to_pylist(), strict=True):
        mel_NFT = np.frombuffer(payload, "f4").reshape(len(record["window_index"]), 32, 51)
        np.testing.assert_allclose(
            record["probabilities"], predictor.predict(mel_NFT).probabilities_NC.ravel(), atol=1e-6
        )
    assert [len(record["probabilities"]) for record in predicted.to_pylist()] == [9, 0, 3, 6]


def test_features_on_the_device_give_the_same_probabilities(tmp_path: Path) -> None:
    paths = ["a.wav", "b.wav"]
    for path, voice in zip(paths, ("calm", "angry"), strict=True):
        (tmp_path / path).write_bytes(encode(speech(2.3, voice)))
    files = pending(tmp_path, *paths)
    places: tuple[FeaturesOn, FeaturesOn] = ("cpu", "device")
    on_cpu, on_device = (
        predict_stage(place)(pa.concat_tables(loader(tmp_path, features_on=place)(files))) for place in places
    )
    assert on_cpu.drop_columns("probabilities").equals(on_device.drop_columns("probabilities"))
    for ours, theirs in zip(on_cpu["probabilities"].to_pylist(), on_device["probabilities"].to_pylist(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("features_on", ["cpu", "device"])
def test_a_block_without_a_window_is_predicted(tmp_path: Path, features_on: FeaturesOn) -> None:
    (tmp_path / "empty.wav").write_bytes(b"")
    loaded = pa.concat_tables(loader(tmp_path, features_on=features_on)(pending(tmp_path, "empty.wav", "missing.wav")))
    predicted = predict_stage(features_on)(loaded)
    assert predicted.schema == PREDICTED_SCHEMA
    assert predicted["probabilities"].to_pylist() == [[], []]
    assert sorted(predicted["reason"].to_pylist()) == ["empty", "not_found"]


def test_failure_records_give_every_file_the_same_failure(tmp_path: Path) -> None:
    records = failure_records(pending(tmp_path, "a.wav", "b.wav"), Fault("crashed", "its worker was lost"))
    assert records.schema == PREDICTED_SCHEMA
    assert outcomes(records.to_pylist()) == {"a.wav": (0, "crashed"), "b.wav": (0, "crashed")}
    assert set(records["detail"].to_pylist()) == {"its worker was lost"}
