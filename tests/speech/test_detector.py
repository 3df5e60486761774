"""The speech detector: the published network's values, and what a window's seconds may and may not hang on."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from ser_core.speech import SpeechDetector
from ser_core.speech.detector import WEIGHTS_FILE
from ser_core.speech.network import SAMPLE_RATE_HZ, SileroNetwork
from ser_core.speech.voiced import gliding_seconds

DETECTOR = SpeechDetector()
#: Probabilities that silero_vad.jit of silero-vad 6.2.3 gives for `voice(2.0)`, chunk after chunk.
PUBLISHED = [
    0.36246, 0.77162, 0.83629, 0.98046, 0.82306, 0.75478, 0.46003, 0.65184, 0.8293, 0.79425, 0.88337, 0.92834,
    0.87509, 0.73904, 0.39249, 0.60698, 0.74438, 0.80243, 0.8571, 0.93842, 0.92171, 0.80767, 0.60576, 0.73001,
    0.83819, 0.89687, 0.92006, 0.9088, 0.81178, 0.68134, 0.40394, 0.66513, 0.927, 0.94165, 0.94622, 0.72032,
    0.72901, 0.64948, 0.599, 0.59937, 0.75611, 0.83052, 0.90615, 0.15128, 0.24974, 0.18885, 0.38696, 0.55788,
    0.76743, 0.78036, 0.83119, 0.70975, 0.5485, 0.42727, 0.51556, 0.69525, 0.75495, 0.82134, 0.85242, 0.71346,
    0.63819, 0.39214, 0.22371,
]  # fmt: skip


def voice(seconds: float, rate_hz: int = SAMPLE_RATE_HZ, hz: float = 130.0) -> NDArray[np.float32]:
    """Something like speech, the same everywhere: a gliding buzz through changing formants, four syllables a second."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    pitch = hz * (1 + 0.15 * np.sin(2 * np.pi * 0.7 * t) + 0.02 * np.sin(2 * np.pi * 5 * t))
    phase = 2 * np.pi * np.cumsum(pitch) / rate_hz
    first, second = 500 + 250 * np.sin(2 * np.pi * 2 * t), 1500 + 600 * np.sin(2 * np.pi * 1.3 * t + 1)
    buzz = np.zeros(len(t))
    for k in range(1, 28):
        formants = np.exp(-(((k * pitch - first) / 150) ** 2)) + 0.5 * np.exp(-(((k * pitch - second) / 250) ** 2))
        buzz += np.sin(k * phase) / k * (formants + 0.02)
    return (0.3 * buzz * np.clip(np.sin(2 * np.pi * 4 * t), 0, 1) ** 0.5).astype(np.float32)


def seconds(*windows: NDArray[np.float32], detector: SpeechDetector = DETECTOR) -> list[float]:
    """Seconds of speech in windows of any lengths, asked for in one call."""
    padded = np.zeros((len(windows), max(map(len, windows))), np.float32)
    for row, window in zip(padded, windows, strict=True):
        row[: len(window)] = window
    return detector.speech_seconds(padded, np.array([len(window) for window in windows])).tolist()


def noise(seconds: float, *, seed: int = 0) -> NDArray[np.float32]:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * SAMPLE_RATE_HZ), np.float32)


def test_the_network_gives_the_published_ones_values() -> None:
    network = SileroNetwork(WEIGHTS_FILE)
    chunks = np.zeros((1, 63 * 512), np.float32)
    chunks[0, :32_000] = voice(2.0)
    with torch.inference_mode():
        np.testing.assert_allclose(network.probabilities(torch.from_numpy(chunks))[0], PUBLISHED, atol=1e-4)


def test_a_window_does_not_depend_on_the_others() -> None:
    windows = [
        gain * voice(length, hz=hz) for gain in (1.0, 1e-3) for length in (0.3, 1.7, 2.0) for hz in (90, 130, 210)
    ]
    windows += [noise(1.0, seed=seed) for seed in range(20)] + [np.zeros(16_000, np.float32)]
    together = seconds(*windows)
    alone = [seconds(window)[0] for window in windows]
    reversed_ = seconds(*windows[::-1])[::-1]
    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_allclose(reversed_, together, atol=1e-5)
    assert len({round(value, 3) for value in together}) > 10


def test_threads_do_not_disturb_each_other() -> None:
    windows = [voice(1.0, hz=hz) for hz in (90, 110, 130, 150, 170, 190)]
    with ThreadPoolExecutor(6) as threads:
        assert [value for [value] in threads.map(seconds, windows)] == [value for [value] in map(seconds, windows)]


@pytest.mark.parametrize("offset", [0.0, 0.01])
def test_silence_noise_and_tones_are_no_speech(offset: float) -> None:
    t = np.arange(3 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    rounding = np.random.default_rng(1).integers(-1, 2, len(t)) / 32_768
    chord = sum(np.sin(2 * np.pi * hz * t) for hz in (220, 277, 330)) / 30
    sounds = [np.zeros(len(t)), rounding, noise(3.0), 1e-3 * noise(3.0), np.sin(2 * np.pi * 50 * t) / 100, chord]
    assert max(seconds(*((sound + offset).astype(np.float32) for sound in sounds))) < 0.02


def test_level_and_offset_change_nothing() -> None:
    spoken = voice(2.0)
    expected = seconds(spoken)
    assert expected[0] > 1.0
    for gain in (4.0, 0.1, 0.001):
        assert seconds(gain * spoken) == pytest.approx(expected, abs=0.01), gain
    for offset in (0.002, 0.01, -0.3):
        assert seconds(spoken + np.float32(offset)) == pytest.approx(expected, abs=0.01), offset
    assert seconds(1e30 * spoken) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 48_000])
def test_other_rates_are_resampled(rate_hz: int) -> None:
    [resampled] = seconds(voice(3.0, rate_hz), detector=SpeechDetector(rate_hz))
    assert resampled == pytest.approx(seconds(voice(3.0))[0], abs=0.15)


def test_padding_does_not_count() -> None:
    spoken = voice(3.0)
    padded = np.concatenate([spoken[:17_000], 0.5 * spoken[17_000:]])[None]
    ends = [DETECTOR.speech_seconds(padded, np.array([length]))[0] for length in (0, 1, 600, 17_000)]
    assert ends == pytest.approx([0.0, *(seconds(spoken[:length])[0] for length in (1, 600, 17_000))], abs=1e-5)
    assert all(0 <= value <= length / SAMPLE_RATE_HZ for value, length in zip(ends, (0, 1, 600, 17_000), strict=True))
    assert DETECTOR.speech_seconds(np.zeros((0, 48_000), np.float32), np.zeros(0, np.int64)).shape == (0,)


def test_a_pitch_glides_in_a_voice_and_not_in_music() -> None:
    t = np.arange(3 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ

    def harmonics(pitch_hz: NDArray[np.float64]) -> NDArray[np.float32]:
        phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
        return np.sum([np.sin(k * phase) / k for k in range(1, 8)], axis=0).astype(np.float32)

    glide = harmonics(300 * 2 ** (0.4 * np.sin(2 * np.pi * 1.5 * t)))
    notes = harmonics(220 * 2 ** (np.floor(4 * t) % 5 / 6))
    assert gliding_seconds(glide, SAMPLE_RATE_HZ) == pytest.approx(3.0, abs=0.2)
    assert gliding_seconds(0.01 * glide + 1e-4 * noise(3.0), SAMPLE_RATE_HZ) == pytest.approx(3.0, abs=0.2)
    others = [
        notes,
        noise(3.0),
        np.sin(2 * np.pi * 50 * t).astype(np.float32),
        np.zeros(len(t), np.float32),
        glide[:500],
    ]
    assert [gliding_seconds(other, SAMPLE_RATE_HZ) for other in others] == [0.0] * len(others)


def strings(seed: int) -> NDArray[np.float32]:
    """Five seconds as on a cello: notes of a sixth to half a second that glide into each other, with vibrato."""
    rng, t = np.random.default_rng(seed), np.arange(5 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    starts = np.cumsum(rng.uniform(0.15, 0.5, 40))
    note_T, glide = np.searchsorted(starts, t), SAMPLE_RATE_HZ // 10
    midi_T = np.pad(50 + rng.integers(0, 12, 60)[note_T], glide, "edge")
    midi_T = np.convolve(midi_T, np.ones(glide) / glide, "same")[glide:-glide] + 0.8 * np.sin(2 * np.pi * 5.5 * t)
    phase = 2 * np.pi * np.cumsum(440 * 2 ** ((midi_T - 69) / 12)) / SAMPLE_RATE_HZ
    bow_T = np.minimum(t - np.concatenate([[0], starts])[note_T], starts[note_T] - t)
    buzz_T = np.sum([np.sin(k * phase) / k for k in range(1, 7)], axis=0)
    return (0.1 * buzz_T * np.clip(bow_T / 0.03, 0, 1)).astype(np.float32)


def test_vibrato_is_no_voice_and_does_not_outweigh_one() -> None:
    found = np.array(seconds(*map(strings, range(8))))
    assert found.max() <= 0.5
    assert (found < 0.3).mean() >= 0.75


def test_a_scream_is_heard_when_it_is_played_slower() -> None:
    # Twice as fast as it was spoken: too high for the network as it is.
    scream = voice(6.0, hz=210.0)[::2]
    [alone] = seconds(scream)
    assert alone > 1.0
    assert seconds(noise(3.0), scream, noise(3.0, seed=1))[1] == pytest.approx(alone, abs=1e-5)


@pytest.mark.heavy
def test_real_speech_is_found_and_drowned_in_noise_too() -> None:
    if "SER_TEST_DATA" not in os.environ:
        pytest.skip("no real speech to look for: set SER_TEST_DATA to a folder with audio")
    files = sorted(Path(os.environ["SER_TEST_DATA"]).glob("nemo/*.opus"))[::20]
    assert files
    clips = [soundfile.read(file, dtype="float32")[0] for file in files]
    rate_hz = soundfile.info(files[0]).samplerate
    detector = SpeechDetector(rate_hz)
    rng = np.random.default_rng(0)
    drowned = [clip + clip.std() * rng.standard_normal(len(clip), np.float32) for clip in clips]
    for spoken in (clips, drowned):
        found = np.array(seconds(*spoken, detector=detector))
        assert (found < 0.3).mean() <= 0.01
        assert np.median(found / [len(clip) / rate_hz for clip in clips]) > 0.8
