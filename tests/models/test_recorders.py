"""What a recorder adds to real speech, an offset, hum or another level, hardly changes the bundled models' answers."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

from ser_core.models import Artifact, Predictor, bundled_names, has_bf16

RATE_HZ = 16_000
#: The amplitude of each of three waves that are together at an RMS of -40 dBFS.
_HUM = 10 ** (-40 / 20) * np.sqrt(2 / 3)


def offset(constant: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pcm_T: pcm_T + constant


def gain(gain_db: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pcm_T: pcm_T * 10 ** (gain_db / 20)


def below_speech(first_hz: float, last_hz: float) -> Callable[[np.ndarray], np.ndarray]:
    """Noise of this band at -40 dBFS."""

    def change(pcm_T: np.ndarray) -> np.ndarray:
        spectrum = np.fft.rfft(np.random.default_rng(len(pcm_T)).standard_normal(5 * RATE_HZ))
        hz = np.fft.rfftfreq(5 * RATE_HZ, 1 / RATE_HZ)
        noise_T = np.fft.irfft(spectrum * ((hz >= first_hz) & (hz <= last_hz)), 5 * RATE_HZ)
        changed_T: np.ndarray = pcm_T + 0.01 * noise_T[: len(pcm_T)] / np.sqrt(np.square(noise_T).mean())
        return changed_T

    return change


def hum(mains_hz: float) -> Callable[[np.ndarray], np.ndarray]:
    """The mains and two harmonics, at -40 dBFS in all."""

    def change(pcm_T: np.ndarray) -> np.ndarray:
        time_T = np.arange(len(pcm_T)) / RATE_HZ
        waves_WT = np.sin(2 * np.pi * mains_hz * np.outer((1, 2, 3), time_T) + np.array([[1], [2], [3]]))
        changed_T: np.ndarray = pcm_T + _HUM * waves_WT.sum(axis=0)
        return changed_T

    return change


#: What is done to a clip, and the share of answers that must stay.
CHANGES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    **{f"offset {constant}": (offset(constant), 0.98) for constant in (0.002, 0.01)},
    **{f"gain {gain_db:+} dB": (gain(gain_db), 0.98) for gain_db in (-30, -20, 12)},
    **{
        f"{name} Hz, -40 dBFS": (below_speech(first_hz, last_hz), 0.95)
        for name, first_hz, last_hz in (
            ("0.4 to 2", 0.4, 2.0),
            ("16.7", 16.6, 16.8),
            ("30", 29.9, 30.1),
            ("5 to 60", 5.0, 60.0),
        )
    },
    **{f"hum of {mains_hz} Hz": (hum(mains_hz), 0.95) for mains_hz in (50, 60)},
}


#: The share less of a model's answers that must stay: what one corpus taught is less sure of clips of another.
LESS_STAYS = {"vgg16-bilstm": 0.06}


@cache
def clips() -> list[np.ndarray]:
    """Some 200 clips of RAVDESS and TESS, mono at 16 kHz."""
    folder = Path(os.environ["SER_TEST_DATA"])
    files = [*sorted(folder.glob("ravdess/*/*.flac"))[::10], *sorted(folder.glob("tess/*.opus"))[::7]]
    assert len(files) >= 100
    found = []
    for file in files:
        pcm_TC, rate_hz = soundfile.read(file, dtype="float32", always_2d=True)
        found.append(soxr.resample(pcm_TC.mean(axis=1), rate_hz, RATE_HZ))
    return found


@pytest.mark.heavy
@pytest.mark.parametrize("model", bundled_names())
def test_what_a_recorder_adds_changes_hardly_any_answer(model: str) -> None:
    if "SER_TEST_DATA" not in os.environ:
        pytest.skip("no real speech to change: set SER_TEST_DATA to a folder with RAVDESS and TESS")
    artifact = Artifact.load(model)
    log_mel, num_samples = artifact.log_mel(), round(artifact.config.window_seconds * RATE_HZ)
    predictor = Predictor(artifact, device="cpu", precision="bf16" if has_bf16("cpu") else "fp32", batch_size=16)

    def labels(change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """The likeliest label of each clip's first window, clipped at full scale as a recorder does."""
        answers = []
        for first in range(0, len(clips()), 16):
            pcm_BT = np.zeros((len(clips()[first : first + 16]), num_samples), np.float32)
            for row_T, clip_T in zip(pcm_BT, clips()[first : first + 16], strict=True):
                row_T[: len(clip_T)] = np.clip(change(clip_T[:num_samples]), -1, 1)
            with torch.inference_mode():
                answers.append(
                    predictor.predict(log_mel(torch.from_numpy(pcm_BT)).numpy()).probabilities_NC.argmax(axis=1)
                )
        return np.concatenate(answers)

    as_it_is = labels(lambda clip_T: clip_T)
    stayed = {name: float((labels(change) == as_it_is).mean()) for name, (change, _) in CHANGES.items()}
    print(model, len(as_it_is), {name: round(100 * share, 1) for name, share in stayed.items()})
    less = LESS_STAYS.get(model, 0.0)
    assert {name: share for name, share in stayed.items() if share < CHANGES[name][1] - less} == {}
