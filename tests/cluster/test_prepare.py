"""What loaders do with speech: windows without it cost no log-mel, travel nowhere, and what is heard follows from a
window alone."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cluster.prepare import Preparer
from cluster.stages import Attempts, Loader, LoadSettings, PredictSettings, PredictStage
from ser_core.audio.segments import Segment, WindowSettings
from ser_core.errors import ServiceError
from ser_core.records import LOADED_SCHEMA, PENDING_SCHEMA
from ser_core.score_config import FeaturesOn
from ser_core.source.source import Source
from ser_core.speech import SpeechSettings
from ser_core.storage.local import version_of
from tests.support.audio_factory import RATE_HZ, encode, noise, speech
from tests.support.models import LABELS, tiny_artifact

WINDOWS = WindowSettings(window_seconds=1.0, hop_seconds=1.0)
ON = SpeechSettings()
#: What one second of a file is made of; the voice is one that is heard as speech.
SILENCE, NOISE = np.zeros(RATE_HZ, np.float32), noise(1.0)[:, 0]


def voice(seconds: float, seed: int = 1) -> np.ndarray:
    return speech(seconds, "angry", seed=seed)


def load(folder: Path, *, features_on: FeaturesOn = "cpu", files_per_block: int = 100) -> list[dict[str, Any]]:
    """The records of all files of a folder, in the order of their names."""
    settings = LoadSettings(
        source=Source.parse(str(folder)),
        channels="mix",
        windows=WINDOWS,
        speech=ON,
        features_on=features_on,
        file_timeout_seconds=60.0,
        block_bytes=2**20,
    )
    rows = []
    for file_id, file in enumerate(sorted(folder.iterdir())):
        known = {"size": file.stat().st_size, "version": version_of(file.stat()), "modified": None}
        rows.append({"path": file.name, "file_id": file_id, **known})
    pending = pa.Table.from_pylist(rows, PENDING_SCHEMA)
    with closing(Loader(settings, tiny_artifact(), Attempts())) as loader:
        blocks = [pending.slice(first, files_per_block) for first in range(0, len(rows), files_per_block)]
        return [record for block in blocks for table in loader(block) for record in table.to_pylist()]


@pytest.mark.parametrize("features_on", ["cpu", "device"])
def test_only_windows_with_speech_are_made_features_and_predicted(tmp_path: Path, features_on: FeaturesOn) -> None:
    mixed = np.concatenate([SILENCE, voice(2.0), NOISE, voice(1.0, seed=2)])
    (tmp_path / "a mixed.wav").write_bytes(encode(mixed))
    (tmp_path / "b silent.wav").write_bytes(encode(np.tile(SILENCE, 3)))
    records = load(tmp_path, features_on=features_on)
    assert [record["is_judged"] for record in records] == [[False, True, True, False, True], [False] * 3]
    assert [record["speech_share"][0] for record in records] == [0.0, 0.0]
    assert records[0]["speech_seconds"] == pytest.approx(sum(records[0]["speech_share"]))
    size_of_window = len(records[0]["payload"]) // 3
    assert (len(records[0]["payload"]), records[1]["payload"]) == (3 * size_of_window, b"")
    settings = PredictSettings(
        device="cpu", precision="fp32", features_on=features_on, batch_size=2, num_threads=1,
        window_samples=WINDOWS.window_samples,
    )  # fmt: skip
    predicted = PredictStage(settings, tiny_artifact())(pa.Table.from_pylist(records, LOADED_SCHEMA))
    assert [len(row) for row in predicted["probabilities"].to_pylist()] == [3 * len(LABELS), 0]


def test_what_is_heard_follows_from_the_window_alone(tmp_path: Path) -> None:
    """Whatever is decoded, gathered and heard beside it: alone, among other files, in a long file."""
    pieces = [voice(1.0, seed=1), SILENCE, voice(1.0, seed=3), NOISE, speech(1.0, "calm", seed=4), voice(0.4, seed=5)]
    for name, parts in {"whole": [np.concatenate(pieces)], "piece": pieces}.items():
        (tmp_path / name).mkdir()
        for index, part in enumerate(parts):
            (tmp_path / name / f"{index}.wav").write_bytes(encode(part))
    [whole] = load(tmp_path / "whole")
    # The last piece is shorter than a file's tail may be.
    expected = [*whole["speech_share"]]
    for files_per_block in (1, 100):
        records = load(tmp_path / "piece", files_per_block=files_per_block)
        found = [record["speech_share"][0] for record in records]
        assert found[: len(expected)] == pytest.approx(expected, abs=1e-6)
        assert [record["is_judged"][0] for record in records][: len(expected)] == whole["is_judged"]
        # Shorter than twice 0.3 s: half of it is enough.
        assert records[-1]["is_judged"] == [True]


def test_of_overlapping_windows_seconds_count_once(tmp_path: Path) -> None:
    windows = WindowSettings(window_seconds=1.0, hop_seconds=0.25)
    pcm = voice(4.0)
    view = np.lib.stride_tricks.sliding_window_view(pcm, windows.window_samples)[:: windows.hop_samples]
    segment = a_segment(np.ascontiguousarray(view), windows)
    [record] = Preparer(windows, ON, None).records([ROW], [(0, segment)])
    mean_share = np.mean(record["speech_share"])
    assert record["speech_seconds"] == pytest.approx(0.25 * len(view) * mean_share)


def test_what_was_gathered_comes_before_a_fault_of_the_service() -> None:
    def broken_off() -> Iterator[tuple[int, Segment]]:
        yield 0, a_segment(voice(1.0)[np.newaxis], WINDOWS)
        raise ServiceError("the bucket is gone")

    records = Preparer(WINDOWS, ON, None).records([ROW], broken_off())
    assert next(records)["is_judged"] == [True]
    with pytest.raises(ServiceError, match="the bucket is gone"):
        next(records)


@pytest.mark.parametrize("settings", [ON, SpeechSettings(mode="all")])
def test_log_mels_of_short_files_are_made_together_and_are_those_of_each_alone(settings: SpeechSettings) -> None:
    mel = tiny_artifact().log_mel()
    sizes: list[int] = []
    mel.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    contents = [voice(1.0, seed=seed)[np.newaxis] for seed in range(1, 6)]
    contents[2] = np.zeros((0, RATE_HZ), np.float32)
    segments = [(index, a_segment(pcm_NS, WINDOWS)) for index, pcm_NS in enumerate(contents)]
    rows = [ROW | {"path": f"{index}.wav"} for index in range(len(segments))]
    together = [*Preparer(WINDOWS, settings, mel).records(rows, segments)]
    assert sizes == [4]
    alone = [*(record for one in segments for record in Preparer(WINDOWS, settings, mel).records(rows, [one]))]
    assert [record["path"] for record in together] == [row["path"] for row in rows]
    for ours, theirs in zip(together, alone, strict=True):
        np.testing.assert_allclose(*(np.frombuffer(one["payload"], np.float32) for one in (ours, theirs)), atol=1e-5)
    assert [len(record["payload"]) > 0 for record in together] == [True, True, False, True, True]


ROW = {"path": "a.wav", "version": "1", "file_id": 0, "modified": None}


def a_segment(pcm_NS: np.ndarray, windows: WindowSettings) -> Segment:
    index = list(range(len(pcm_NS)))
    return Segment(
        channel=-1,
        segment_index=0,
        is_last=True,
        pcm_NS=pcm_NS.astype(np.float32),
        window_index=index,
        end_seconds=[number * windows.hop_seconds + windows.window_seconds for number in index],
        level_dbfs=[-20.0] * len(index),
        audio_seconds=1.0,
        gaps=[],
        fault=None,
    )
