"""Windows without speech are not learned from, and what is drawn stays what it was where there is speech throughout."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from ser_core.audio.segments import WindowSettings
from ser_core.corpora.manifest import read_manifests, rows_to_table, write_manifest
from ser_core.distributed import ALONE
from ser_core.errors import UsageError
from ser_core.models.artifact import Artifact
from ser_core.speech import SpeechSettings
from ser_core.training.data.augment import OFF, generator, random_window
from ser_core.training.data.clips import TrainingWindows
from ser_core.training.data.heard import with_speech
from ser_core.training.data.waveform_cache import WaveformCache
from tests.support.audio_factory import RATE_HZ, speech
from tests.support.training import EVERYTHING
from tests.support.training_runs import StoppedError, equal, job_values, run, weights
from tests.support.training_worker import make_job

SILENCE = np.zeros(2 * RATE_HZ, np.float32)
ON = SpeechSettings()


def corpus(folder: Path, clips: dict[str, tuple[str, str, np.ndarray]]) -> str:
    """The manifest of clips by name: speaker, emotion, samples."""
    rows = []
    for name, (speaker, emotion, pcm) in clips.items():
        soundfile.write(folder / f"{name}.wav", pcm, RATE_HZ)
        row = {"path": str(folder / f"{name}.wav"), "corpus": "c", "emotion": emotion, "speaker": f"c-{speaker}"}
        rows.append({**row, "language": "en"})
    write_manifest(rows_to_table(rows), str(folder / "c.parquet"))
    return str(folder / "c.parquet")


def test_only_what_has_speech_is_learned_from(tmp_path: Path) -> None:
    voice = speech(2.0, "angry", seed=1)
    clips = {"a spoken": voice, "b paused": np.concatenate([SILENCE, voice, SILENCE]), "c silent": SILENCE}
    manifest = corpus(tmp_path, {name: ("1", "sad", pcm) for name, pcm in clips.items()})
    waveforms = WaveformCache.open(read_manifests([manifest]), tmp_path / "waveforms")
    settings = WindowSettings(window_seconds=1.0, hop_seconds=1.0)
    windows = TrainingWindows.of(waveforms, settings, 9, 0.0)
    # The second time what was heard lies in the cache.
    for _ in range(2):
        heard = with_speech(windows, waveforms, ON, ALONE, tmp_path / "features", lambda _: None)
        spoken, paused, silent = heard.scored
        assert spoken.tolist() == windows.scored[0].tolist()
        assert {*paused} < {*windows.scored[1]}
        assert (len(silent), len(heard.learned[2])) == (0, 0)
        begins = heard.start_W[np.concatenate([paused, heard.learned[1]])] / RATE_HZ
        assert ((begins > 1.0) & (begins < 4.0)).all()
        assert (heard.seconds_W[spoken] > 0.3).all()
    assert [*heard.places] == [1, 2]
    drawn = [
        random_window(
            waveforms.waveform(1), settings.window_samples, OFF, generator(0, 0, n, "waveform"), places=places
        )
        for places in (None, heard.places[1])
        for n in range(40)
    ]
    is_silent = [not window.any() for window in drawn]
    assert any(is_silent[:40])
    assert not any(is_silent[40:])


def test_places_of_everything_change_no_draw() -> None:
    clip = np.arange(1, 5 * RATE_HZ, dtype=np.float32)
    everywhere = np.array([[0.0, 0.25], [0.25, 0.7], [0.7, 1.0]])
    for number in range(20):
        plain, placed = (
            random_window(clip, RATE_HZ, OFF, generator(0, 0, number, "waveform"), places=places)
            for places in (None, everywhere)
        )
        assert abs(plain[0] - placed[0]) <= 1


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Five speakers with two emotions; of each of them one clip is silence."""
    folder = tmp_path_factory.mktemp("voices")
    clips = {}
    for speaker in "12345":
        for emotion in ("angry", "happy"):
            for take in range(3):
                pcm = speech(1.5, "angry", seed=10 * int(speaker) + take) if take else SILENCE
                clips[f"{speaker}-{emotion}-{take}"] = (speaker, emotion, pcm)
    return corpus(folder, clips)


def changes(**more: Any) -> dict[str, Any]:
    return EVERYTHING | {"speech": "on", "window_seconds": 1.0, "epochs": 2} | more


def test_clips_without_speech_are_left_out_and_a_miss_in_the_test(voices: str, tmp_path: Path) -> None:
    run(make_job(job_values([voices], tmp_path / "model", tmp_path / "cache", **changes())))
    training = Artifact.load(str(tmp_path / "model")).config.training
    assert training["settings"]["speech"] == "on"
    # Of four speakers two clips each; the fifth is the test.
    assert training["clips_without_speech"] == 8
    table = pq.read_table(io.BytesIO((tmp_path / "model" / "predictions.parquet").read_bytes()))
    rows = {Path(row["path"]).stem[2:]: row for row in table.to_pylist()}
    for name, row in rows.items():
        assert (row["prediction"] == "no_speech") == (row["confidence"] is None) == name.endswith("-0"), name
    assert len(rows) == 6


def test_a_training_with_pauses_goes_on_to_the_same_weights(voices: str, tmp_path: Path) -> None:
    whole, broken = (make_job(job_values([voices], tmp_path / name, tmp_path / f"{name} cache", **changes()))
                     for name in ("whole", "broken"))  # fmt: skip
    run(whole)
    with pytest.raises(StoppedError):
        run(broken, stop_after=1)
    run(broken)
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "broken"))


def test_nothing_but_silence_is_said_in_a_line(tmp_path: Path) -> None:
    clips = {f"{speaker}-{emotion}": (speaker, emotion, SILENCE) for speaker in "12345" for emotion in ("sad", "angry")}
    manifest = corpus(tmp_path, clips)
    with pytest.raises(UsageError, match="no clip to learn from has speech in it; speech: all learns from all"):
        run(make_job(job_values([manifest], tmp_path / "model", tmp_path / "cache", **changes())))
