from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_core.aggregation import aggregate, log_probability_sums
from ser_core.audio.decode import iter_segments
from ser_core.audio.segments import WindowSettings
from ser_core.corpora.manifest import Manifest, read_manifests, rows_to_table, write_manifest
from ser_core.errors import SourceError
from ser_core.evaluation.predict import predict_manifest, predict_with_statistics
from ser_core.evaluation.predictions import (
    at_temperature,
    fit_temperature,
    predictions_table,
    probabilities_in,
    shifted,
)
from ser_core.models.artifact_config import Adaptation
from ser_core.models.predictor import Predictor
from ser_core.settings import Threads
from ser_core.speech import SpeechSettings
from ser_core.storage.location import put
from tests.conftest import S3Server
from tests.support.audio_factory import RATE_HZ, encode, noise, speech
from tests.support.models import LABELS, WINDOW_SECONDS, adaptable_artifact, tiny_artifact

WINDOWS = WindowSettings(window_seconds=WINDOW_SECONDS, hop_seconds=WINDOW_SECONDS)
ALL = SpeechSettings(mode="all")
#: Of clips, some of them longer than a batch of windows; one in stereo, one at another rate.
SECONDS = (0.4, 2.7, 9.3, 1.0, 5.6, 3.3)


def write_clips(folder: Path) -> list[Path]:
    files = []
    for index, seconds in enumerate(SECONDS):
        file = folder / f"clip {index}.wav"
        if index == 1:
            file.write_bytes(encode(noise(seconds, rate_hz=48_000, num_channels=2), rate_hz=48_000))
        else:
            file.write_bytes(encode(speech(seconds, ("calm", "happy", "sad")[index % 3], seed=index)))
        files.append(file)
    return files


def manifest_of(paths: list[str]) -> Manifest:
    """In the order of the paths."""
    row = {"corpus": "test", "emotion": "sad", "speaker": "test-1"}
    return Manifest(rows_to_table([{**row, "path": path} for path in paths]))


def predictor(batch_size: int = 4) -> Predictor:
    return Predictor(tiny_artifact(), features_on="device", batch_size=batch_size, threads=Threads(1))


def predicted(asked: Predictor, clips: Manifest, speech_settings: SpeechSettings = ALL) -> np.ndarray:
    """The predictions (G, C) alone."""
    return predict_manifest(asked, clips, WINDOWS, speech_settings).probabilities_GC


def plain_prediction(file: Path) -> np.ndarray:
    """The prediction (C,) for one file by the parts of scoring."""
    sums_GX = np.zeros((1, 4))
    for segment in iter_segments(file, channels="mix", windows=WINDOWS):
        seconds_N = np.array(segment.end_seconds) - np.array(segment.window_index) * WINDOWS.hop_seconds
        probabilities_NC = predictor().predict(segment.pcm_NS).probabilities_NC
        sums_GX += log_probability_sums(probabilities_NC, seconds_N, np.zeros(len(seconds_N), int), 1)
    return at_temperature(aggregate(sums_GX), 1 / predictor().artifact.config.temperature)[0]


@pytest.mark.parametrize("batch_size", [4, 64])
def test_predictions_are_those_of_scoring_whatever_the_batch(tmp_path: Path, batch_size: int) -> None:
    files = write_clips(tmp_path)
    done: list[int] = []
    found = predict_manifest(predictor(batch_size), manifest_of(list(map(str, files))), WINDOWS, ALL, done.append)
    np.testing.assert_allclose(found.probabilities_GC, [plain_prediction(file) for file in files], atol=1e-5)
    assert done == list(range(1, len(files) + 1))
    lengths = [soundfile.info(file).duration for file in files]
    # A tail that is too short for a window is none.
    assert found.clips.audio_seconds is not None
    np.testing.assert_allclose(found.clips.audio_seconds, lengths, atol=WINDOWS.min_tail_seconds)
    assert len(set(found.clips.audio_hashes or ())) == len(files)


def test_with_statistics_predictions_are_the_same_and_a_shift_is_that_of_all_windows(tmp_path: Path) -> None:
    clips = manifest_of([str(file) for file in write_clips(tmp_path)])
    plain = adaptable_artifact()
    adapted = plain.adapted(Adaptation(shift=(1.5, -1.0, 0.5), unseen_distance=0.1))
    of_plain = Predictor(plain, features_on="device", batch_size=4, gives_components=True)
    of_adapted = Predictor(adapted, features_on="device", batch_size=4)
    found, statistics = predict_with_statistics(of_plain, clips, WINDOWS, ALL)
    np.testing.assert_allclose(found.probabilities_GC, predicted(of_plain, clips), atol=1e-5)
    assert np.bincount(statistics.clip_N).tolist() == [1, 3, 9, 1, 6, 3]
    assert len(statistics.logits_NC) == len(statistics.components_NR) == 23
    shifted_GC = shifted(found.probabilities_GC, np.array([1.5, -1.0, 0.5]))
    np.testing.assert_allclose(shifted_GC, predicted(of_adapted, clips), atol=1e-5)


def test_a_large_file_is_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ser_core.audio.load.MAX_WHOLE_FILE_BYTES", 100_000)
    files = write_clips(tmp_path)
    probabilities_GC = predicted(predictor(), manifest_of(list(map(str, files))))
    np.testing.assert_allclose(probabilities_GC, [plain_prediction(file) for file in files], atol=1e-5)


@pytest.mark.parametrize(
    ("contents", "words"),
    [(b"RIFF", "unreadable"), (b"", "empty"), (None, "not_found")],
    ids=["broken", "empty", "gone"],
)
def test_a_clip_that_cannot_be_read_ends_it_with_its_name(tmp_path: Path, contents: bytes | None, words: str) -> None:
    files = write_clips(tmp_path)
    broken = tmp_path / "broken\n.wav"
    if contents is not None:
        broken.write_bytes(contents)
    paths = [*map(str, files[:3]), str(broken), *map(str, files[3:])]
    with pytest.raises(SourceError, match=rf"broken\\x0a\.wav: {words} \(.*; repair it or take it out"):
        predict_manifest(predictor(), manifest_of(paths), WINDOWS, ALL)


def test_clips_may_lie_in_a_bucket_and_beside_it(tmp_path: Path, moto_s3: S3Server) -> None:
    files = write_clips(tmp_path)
    objects = [moto_s3.location.join("clips", file.name) for file in files]
    for file, target in zip(files, objects, strict=True):
        put(target, file.read_bytes())
    manifest_file = str(tmp_path / "m.parquet")
    write_manifest(
        manifest_of([objects[0].url, str(files[1]), *(target.url for target in objects[2:])]).table, manifest_file
    )
    clips = read_manifests([manifest_file])
    by_name = {Path(path).name: row_C for path, row_C in zip(clips.paths, predicted(predictor(), clips), strict=True)}
    for file in files:
        np.testing.assert_allclose(by_name[file.name], plain_prediction(file), atol=1e-5)
    missing = manifest_of([moto_s3.location.join("gone.wav").url])
    with pytest.raises(SourceError, match=r"s3://.*/gone\.wav: not_found"):
        predict_manifest(predictor(), missing, WINDOWS, ALL)


def test_windows_without_speech_do_not_count_and_a_clip_without_any_has_no_prediction(tmp_path: Path) -> None:
    """As scoring does it: what is heard does not depend on the batch, nor on the clips beside it."""
    silence, spoken = np.zeros(RATE_HZ, np.float32), speech(2.0, "angry", seed=1)
    for name, parts in {"spoken": [spoken], "paused": [silence, spoken, silence], "silent": [silence] * 2}.items():
        (tmp_path / f"{name}.wav").write_bytes(encode(np.concatenate(parts)))
    clips = manifest_of([str(tmp_path / f"{name}.wav") for name in ("spoken", "silent", "paused")])
    for batch_size in (1, 64):
        spoken_C, silent_C, paused_C = predicted(predictor(batch_size), clips, SpeechSettings())
        np.testing.assert_allclose(paused_C, spoken_C, atol=1e-5)
        assert np.isnan(silent_C).all()
    table = predictions_table(clips, np.stack([spoken_C, silent_C, paused_C]), LABELS, 1.5)
    assert table["prediction"].to_pylist()[1] == "no_speech"
    assert [table[name].null_count for name in ("confidence", "p_calm", "prediction")] == [1, 1, 0]
    np.testing.assert_array_equal(probabilities_in(table, LABELS), [spoken_C, silent_C, paused_C])
    temperature = fit_temperature(np.stack([spoken_C, silent_C]), np.array([1, 0]))
    assert temperature == fit_temperature(spoken_C[np.newaxis], np.array([1]))
