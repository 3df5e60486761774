from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_core.config import WindowSettings
from ser_core.corpora import LABELS, Clip
from ser_core.errors import SourceError
from ser_core.evaluation import answer_clips, read_waveform, read_windows, unweighted_recall
from ser_core.predictor import Predictor
from tests.models import WINDOW_SECONDS, tiny_artifact

WINDOWS = WindowSettings(window_seconds=WINDOW_SECONDS, hop_seconds=WINDOW_SECONDS)


def clip(folder: Path, seconds: float, emotion: str = "sad", seed: int = 0) -> Clip:
    file = folder / f"{seed}.wav"
    samples = 0.1 * np.random.default_rng(seed).normal(size=(round(seconds * 48_000), 2))
    soundfile.write(file, samples, 48_000)
    return Clip(file=file, emotion=emotion, speaker="test-1")


def test_clips_are_cut_as_files_are(tmp_path: Path) -> None:
    clips = [clip(tmp_path, 0.5, "calm", 0), clip(tmp_path, 2.75, "happy", 1)]
    windows = read_windows(clips, WINDOWS)
    assert windows.pcm_NS.shape == (4, 16_000)
    np.testing.assert_allclose(windows.seconds_N, [0.5, 1.0, 1.0, 0.75])
    assert windows.clip_N.tolist() == [0, 1, 1, 1]
    assert [LABELS[label] for label in windows.label_G] == ["calm", "happy"]
    assert not windows.pcm_NS[0, 8_000:].any()


def test_a_waveform_is_the_clip_without_padding(tmp_path: Path) -> None:
    waveform_N = read_waveform(clip(tmp_path, 62.71), 16_000)
    windows = read_windows([clip(tmp_path, 62.71)], WINDOWS)
    assert len(waveform_N) == round(62.71 * 16_000)
    np.testing.assert_allclose(waveform_N, windows.pcm_NS.reshape(-1)[: len(waveform_N)], atol=1e-6)


def test_a_clip_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(SourceError, match=r"broken\.wav"):
        read_windows([Clip(file=tmp_path / "broken.wav", emotion="sad", speaker="test-1")], WINDOWS)


def test_an_answer_is_the_same_alone_and_among_others(tmp_path: Path) -> None:
    clips = [clip(tmp_path, seconds, seed=index) for index, seconds in enumerate((0.6, 2.75, 1.0))]
    predictor = Predictor(tiny_artifact(), features_on="device")
    together = answer_clips(predictor, clips, WINDOWS)
    for index, one in enumerate(clips):
        np.testing.assert_allclose(together[index], answer_clips(predictor, [one], WINDOWS)[0], atol=1e-6)


def test_recall_is_averaged_over_the_labels_that_occur() -> None:
    answer_GC = np.eye(8)[[0, 0, 0, 3]]
    assert unweighted_recall(np.array([0, 0, 0, 1]), answer_GC) == 0.5
