import os
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch

from ser_core.audio.log_mel import LogMel, fit_log_mel, librosa_filterbank, mel_db
from ser_core.audio.settings import MelSettings
from ser_core.errors import UsageError
from ser_core.models.artifact import Artifact
from ser_core.models.registry import architecture

SETTINGS = MelSettings()
RATE = SETTINGS.sample_rate_hz


def librosa_db(pcm: np.ndarray, settings: MelSettings = SETTINGS) -> np.ndarray:
    power = librosa.feature.melspectrogram(
        y=pcm,
        sr=settings.sample_rate_hz,
        n_fft=settings.n_fft,
        hop_length=settings.hop_length,
        n_mels=settings.num_mels,
        fmin=settings.f_min_hz,
        fmax=settings.f_max_hz,
        center=True,
        pad_mode="constant",
    )
    return librosa.power_to_db(power, ref=np.max, top_db=settings.top_db)


def our_db(pcm: np.ndarray, settings: MelSettings = SETTINGS) -> np.ndarray:
    return mel_db(torch.from_numpy(pcm)[None], settings, librosa_filterbank(settings))[0].numpy()


WHISPER = architecture("whisper-bilstm").mel.replace(cleaned=False, high_pass_hz=0.0)


def librosa_whisper(pcm: np.ndarray) -> np.ndarray:
    power = librosa.feature.melspectrogram(y=pcm, sr=RATE, n_fft=400, hop_length=160, n_mels=80, pad_mode="reflect")
    log = np.log10(np.maximum(power[:, :-1], 1e-10))
    return (np.maximum(log, log.max() - 8.0) + 4.0) / 4.0


def synthetic_signals() -> dict[str, np.ndarray]:
    time = np.arange(3 * RATE) / RATE
    rng = np.random.default_rng(3)
    return {
        "silence": np.zeros_like(time),
        "noise": rng.normal(size=len(time)),
        "faint noise": 1e-5 * rng.normal(size=len(time)),
        "tone": np.sin(2 * np.pi * 440 * time),
        "sweep": np.sin(2 * np.pi * time * (50 + 1200 * time)),
        "impulse": np.eye(1, len(time), 20_000)[0],
        "padded": np.where(time < 0.4, np.sin(2 * np.pi * 150 * time), 0.0),
        "int16 scale": 32_767 * np.sin(2 * np.pi * 300 * time),
        "constant": np.full_like(time, 0.5),
        "short": rng.normal(size=1_600),
        "one sample": np.ones(1),
    }


@pytest.mark.parametrize("name", synthetic_signals())
def test_agrees_with_librosa_to_a_hundredth_of_a_db(name: str) -> None:
    pcm = synthetic_signals()[name].astype(np.float32)
    np.testing.assert_allclose(our_db(pcm), librosa_db(pcm), atol=0.01)


@pytest.mark.parametrize("name", sorted(synthetic_signals().keys() - {"one sample"}))
def test_whispers_scale_agrees_with_librosa(name: str) -> None:
    pcm = synthetic_signals()[name].astype(np.float32)
    ours = LogMel(WHISPER)(torch.from_numpy(pcm)[None])[0].numpy()
    assert ours.shape == (80, WHISPER.num_frames(len(pcm))) == (80, len(pcm) // 160)
    # 0.01 dB.
    np.testing.assert_allclose(ours, librosa_whisper(pcm), atol=0.01 / 40)


@pytest.mark.parametrize("settings", [MelSettings(n_fft=400, hop_length=160, num_mels=80), MelSettings(f_min_hz=60.0)])
def test_agrees_with_librosa_at_other_sizes(settings: MelSettings) -> None:
    pcm = np.random.default_rng(5).normal(size=RATE).astype(np.float32)
    np.testing.assert_allclose(our_db(pcm, settings), librosa_db(pcm, settings), atol=0.01)


def test_agrees_with_librosa_on_real_speech() -> None:
    if "SER_TEST_DATA" not in os.environ:
        pytest.skip("no real speech to compare log-mel on: set SER_TEST_DATA to a folder with audio")
    files = sorted(Path(os.environ["SER_TEST_DATA"]).glob("ravdess/Actor_0[1-4]/*.flac"))[::12]
    assert files
    for file in files:
        pcm, _ = librosa.load(file, sr=RATE)
        np.testing.assert_allclose(our_db(pcm), librosa_db(pcm), atol=0.01, err_msg=str(file))
        ours = LogMel(WHISPER)(torch.from_numpy(pcm)[None])[0].numpy()
        np.testing.assert_allclose(ours, librosa_whisper(pcm), atol=0.01 / 40, err_msg=str(file))


@pytest.mark.parametrize("settings", [SETTINGS, WHISPER])
def test_a_window_does_not_depend_on_its_batch(settings: MelSettings) -> None:
    levels = torch.logspace(-4, 1, 64)[:, None]
    pcm_BN = levels * torch.randn(64, 3 * RATE, generator=torch.Generator().manual_seed(0))
    log_mel = LogMel(settings)
    whole = log_mel(pcm_BN)
    for size in (1, 7, 64):
        parts = torch.cat([log_mel(part) for part in pcm_BN.split(size)])
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)


def test_is_relative_to_the_window_and_normalised_by_constants() -> None:
    settings = MelSettings(mean_db=-30.0, std_db=10.0)
    pcm_BN = torch.randn(2, RATE)
    filterbank = librosa_filterbank(settings)
    db = mel_db(pcm_BN, settings, filterbank)
    assert db.amax(dim=(1, 2)).tolist() == [0.0, 0.0]
    assert db.min() >= -80.0
    torch.testing.assert_close(LogMel(settings, filterbank)(pcm_BN), (db + 30.0) / 10.0)
    torch.testing.assert_close(mel_db(pcm_BN * 0.25, settings, filterbank), db, rtol=0, atol=1e-3)


@pytest.mark.parametrize("settings", [SETTINGS, WHISPER])
def test_any_finite_sample_gives_finite_features(settings: MelSettings) -> None:
    loud = torch.finfo(torch.float32).max
    pcm_BN = torch.stack(
        [torch.zeros(RATE), torch.full((RATE,), loud), torch.full((RATE,), 1e-45), loud * torch.rand(RATE)]
    )
    assert LogMel(settings)(pcm_BN).isfinite().all()


def test_stays_in_float32_under_autocast() -> None:
    pcm_BN = torch.randn(2, RATE)
    log_mel = LogMel(SETTINGS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = log_mel(pcm_BN)
    torch.testing.assert_close(under_autocast, log_mel(pcm_BN), rtol=0, atol=0)


@pytest.mark.parametrize(("settings", "shortest"), [(SETTINGS, 1), (WHISPER, 320)])
def test_frames_are_counted_as_the_settings_say(settings: MelSettings, shortest: int) -> None:
    for num_samples in (shortest, 1_600, 48_000, 48_079):
        assert LogMel(settings)(torch.randn(1, num_samples)).shape[2] == settings.num_frames(num_samples)


def test_a_frame_that_the_shortest_window_cannot_mirror_is_refused() -> None:
    with pytest.raises(UsageError, match=r"scale whisper needs an n_fft shorter than 0\.2 s"):
        MelSettings.from_dict({"scale": "whisper", "n_fft": 3_200})


def test_the_bundled_filterbank_is_librosas() -> None:
    artifact = Artifact.load("compact")
    torch.testing.assert_close(
        artifact.log_mel().filterbank_FK, librosa_filterbank(artifact.config.mel), rtol=0, atol=0
    )


def test_constants_are_those_of_the_training_windows() -> None:
    pcm_BN = torch.randn(70, RATE, generator=torch.Generator().manual_seed(1))
    log_mel = fit_log_mel(pcm_BN.split(32), SETTINGS)
    db = mel_db(pcm_BN, SETTINGS, log_mel.filterbank_FK)
    assert log_mel.settings.mean_db == pytest.approx(db.mean().item(), abs=0.06)
    assert log_mel.settings.std_db == pytest.approx(db.std().item(), abs=0.06)
    assert fit_log_mel(pcm_BN.split(32), WHISPER).settings == WHISPER
