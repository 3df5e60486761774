from collections.abc import Callable

import numpy as np
import pytest
from scipy.signal import welch

from ser_core.training.data import effects
from tests.support.audio_factory import speech

RATE = 16_000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def tone(frequency_hz: float, seconds: float = 1.0) -> effects.Samples:
    return (0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def white(seconds: float = 3.0) -> effects.Samples:
    return (0.1 * rng(9).standard_normal(round(seconds * RATE))).astype(np.float32)


def power_db(pcm_S: effects.Samples, low_hz: float, high_hz: float) -> float:
    """The mean density of the power in a band."""
    frequency, density = welch(pcm_S.astype(np.float64), RATE, nperseg=2_048)
    return float(10 * np.log10(density[(frequency >= low_hz) & (frequency <= high_hz)].mean()))


EFFECTS: dict[str, Callable[[effects.Samples], effects.Samples]] = {
    "reverberate": lambda pcm_S: effects.reverberate(pcm_S, 0.4, 3.0, RATE, rng()),
    "noise": lambda pcm_S: effects.add_noise(pcm_S, 10.0, 1.0, RATE, rng()),
    "tilt": lambda pcm_S: effects.tilt(pcm_S, 6.0, RATE),
    "lower_rate": lambda pcm_S: effects.lower_rate(pcm_S, 8_123.4, RATE),
    "telephone": lambda pcm_S: effects.telephone(pcm_S, RATE),
    "mu_law": effects.mu_law,
}


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("num_samples", [0, 1, 7, 1_601, 3 * RATE])
def test_an_effect_keeps_length_and_type_and_its_input(name: str, num_samples: int) -> None:
    pcm_S = speech(3.0)[:num_samples]
    before = pcm_S.copy()
    changed_S = EFFECTS[name](pcm_S)
    assert changed_S.dtype == np.float32
    assert len(changed_S) == num_samples
    assert np.isfinite(changed_S).all()
    np.testing.assert_array_equal(pcm_S, before)
    np.testing.assert_array_equal(changed_S, EFFECTS[name](pcm_S))


@pytest.mark.parametrize("name", EFFECTS)
def test_silence_stays_silent(name: str) -> None:
    assert not EFFECTS[name](np.zeros(RATE, np.float32)).any()


@pytest.mark.parametrize("name", ["reverberate", "tilt", "lower_rate", "telephone", "mu_law"])
def test_an_effect_works_alike_at_any_level(name: str) -> None:
    pcm_S = speech(1.0)
    quiet_S = EFFECTS[name](pcm_S * np.float32(2**-10)) * np.float32(2**10)
    np.testing.assert_allclose(quiet_S, EFFECTS[name](pcm_S), rtol=0, atol=1e-4)


def test_a_reverberated_signal_keeps_its_level() -> None:
    pcm_S = speech(3.0)
    assert effects.rms(EFFECTS["reverberate"](pcm_S)) == pytest.approx(effects.rms(pcm_S), rel=1e-4)
    assert not np.allclose(EFFECTS["reverberate"](pcm_S), pcm_S, atol=0.01)


@pytest.mark.parametrize("rt60_seconds", [0.15, 0.5, 1.2])
@pytest.mark.parametrize("direct_db", [-3.0, 6.0])
def test_a_room_decays_by_60_db_in_its_time(rt60_seconds: float, direct_db: float) -> None:
    response_R = effects.room_response(rt60_seconds, direct_db, RATE, rng()).astype(np.float64)
    tail_R = response_R[1:]
    assert 10 * np.log10(response_R[0] ** 2 / np.sum(tail_R**2)) == pytest.approx(direct_db, abs=0.01)
    # Schroeder's backward integration, between -5 and -25 dB.
    decay_db = 10 * np.log10(np.cumsum(tail_R[::-1] ** 2)[::-1] / np.sum(tail_R**2))
    first, last = (int(np.argmax(decay_db < level)) for level in (-5, -25))
    assert 3 * (last - first) / RATE == pytest.approx(rt60_seconds, rel=0.1)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 20.0])
@pytest.mark.parametrize("colour", [0.0, 2.0])
def test_noise_is_as_far_below_the_signal_as_asked(snr_db: float, colour: float) -> None:
    pcm_S = speech(2.0, "angry")
    noise_S = effects.add_noise(pcm_S, snr_db, colour, RATE, rng()) - pcm_S
    assert 20 * np.log10(effects.rms(pcm_S) / effects.rms(noise_S)) == pytest.approx(snr_db, abs=0.05)


@pytest.mark.parametrize("colour", [0.0, 1.0, 2.0])
def test_noise_falls_as_its_colour_says(colour: float) -> None:
    noise_S = effects.coloured_noise(10 * RATE, colour, RATE, rng())
    octaves_db = np.diff([power_db(noise_S, low, 2 * low) for low in (200, 400, 800, 1_600, 3_200)])
    np.testing.assert_allclose(octaves_db, -colour * 10 * np.log10(2), atol=0.5)


@pytest.mark.parametrize("difference_db", [-9.0, 6.0])
def test_a_tilt_turns_the_spectrum_around_1_khz(difference_db: float) -> None:
    gains_db = [
        20 * np.log10(effects.rms(effects.tilt(tone(hz), difference_db, RATE)[1_600:]) / effects.rms(tone(hz)[1_600:]))
        for hz in (20, 1_000, 7_900)
    ]
    np.testing.assert_allclose(gains_db, [-difference_db / 2, 0, difference_db / 2], atol=0.2)


@pytest.mark.parametrize("low_rate_hz", [8_000.0, 11_025.0])
def test_a_lower_rate_leaves_nothing_above_half_of_it(low_rate_hz: float) -> None:
    pcm_S = white()
    low_S = effects.lower_rate(pcm_S, low_rate_hz, RATE)
    kept_db = power_db(low_S, 200, 0.35 * low_rate_hz) - power_db(pcm_S, 200, 0.35 * low_rate_hz)
    lost_db = power_db(low_S, 0.55 * low_rate_hz, 7_900) - power_db(pcm_S, 0.55 * low_rate_hz, 7_900)
    assert abs(kept_db) < 0.5
    assert lost_db < -60
    np.testing.assert_array_equal(effects.lower_rate(pcm_S, RATE, RATE), pcm_S)


def test_a_telephone_passes_its_band_alone() -> None:
    pcm_S = white()
    line_S = effects.telephone(pcm_S, RATE)
    changes_db = [
        power_db(line_S, low, high) - power_db(pcm_S, low, high)
        for low, high in ((20, 100), (500, 3_000), (4_500, 7_900))
    ]
    assert changes_db[0] < -20
    assert abs(changes_db[1]) < 1
    assert changes_db[2] < -40


def test_mu_law_has_few_values_and_little_noise() -> None:
    pcm_S = white()
    coded_S = effects.mu_law(pcm_S)
    assert len(np.unique(np.abs(coded_S))) <= 128
    assert np.abs(coded_S).max() == pytest.approx(np.abs(pcm_S).max(), rel=1e-5)
    assert 30 < 20 * np.log10(effects.rms(pcm_S) / effects.rms(coded_S - pcm_S)) < 45


def test_speed_moves_pitch_and_length() -> None:
    fast_S = effects.change_speed(tone(1_000), 1.25)
    assert abs(len(fast_S) - RATE / 1.25) <= 1
    spectrum_K = np.abs(np.fft.rfft(fast_S))
    assert spectrum_K.argmax() * RATE / len(fast_S) == pytest.approx(1_250, abs=2)
