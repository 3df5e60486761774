"""What recorders add is taken out of a window before its features: offset, hum, level."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ser_core.audio.cleaning import clean
from ser_core.audio.log_mel import LogMel
from ser_core.audio.settings import MelSettings
from ser_core.models.registry import ARCHITECTURES, default_mel
from tests.support.audio_factory import RATE_HZ, speech

SETTINGS = (default_mel("compact"), default_mel("whisper-bilstm"))
#: Of a log-mel: 1 dB of the usual scale, 0.5 dB of Whisper's.
TOLERANCE = {"db": 1 / 20, "whisper": 0.5 / 40}


def voice(seconds: float, window_seconds: float | None = None, *, rate_hz: int = RATE_HZ, seed: int = 0) -> Tensor:
    """A window (1, N) of sentences with pauses in a faint noise, zero padded."""
    pcm_N = 0.3 * speech(seconds, rate_hz=rate_hz, seed=seed)
    time_N = np.arange(len(pcm_N)) / rate_hz
    pcm_N *= np.sin(np.pi * time_N) ** 2 > 0.3
    pcm_N -= pcm_N.mean()
    pcm_N += 1e-4 * np.random.default_rng(seed).standard_normal(len(pcm_N)).astype(np.float32)
    window_1N = torch.zeros(1, round((window_seconds or seconds) * rate_hz))
    window_1N[0, : len(pcm_N)] = torch.from_numpy(pcm_N)
    return window_1N


def added(window_1N: Tensor, values_N: Tensor | float) -> Tensor:
    """The window and something else, where it is not padding."""
    num_real = int(window_1N[0].nonzero()[-1]) + 1
    both_1N = window_1N.clone()
    both_1N[0, :num_real] += values_N if isinstance(values_N, float) else values_N[:num_real]
    return both_1N


def hum(mains_hz: float, num_samples: int, rate_hz: int = RATE_HZ) -> Tensor:
    """A wave with two harmonics at -40 dBFS."""
    time_N = torch.arange(num_samples, dtype=torch.float64) / rate_hz
    waves = [torch.sin(2 * torch.pi * k * mains_hz * time_N + k) / k for k in (1, 2, 3)]
    wave_N = torch.stack(waves).sum(dim=0)
    return (0.01 * wave_N / wave_N.square().mean().sqrt()).float()


def level_db(left_1N: Tensor, whole_1N: Tensor) -> float:
    return float(20 * torch.log10(left_1N.norm() / whole_1N.norm()))


def test_new_models_hear_clean_windows() -> None:
    assert all(default_mel(name).cleaned for name in ARCHITECTURES)
    assert not MelSettings.from_dict({}).cleaned


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(("seconds", "window_seconds"), [(5.0, 5.0), (3.3, 5.0), (0.3, 3.0), (9.0, 12.5)])
def test_a_constant_changes_nothing(settings: MelSettings, seconds: float, window_seconds: float) -> None:
    window_1N, log_mel = voice(seconds, window_seconds), LogMel(settings)
    expected = log_mel(window_1N)
    for offset in (0.002, 0.01, -0.5):
        found = log_mel(added(window_1N, offset))
        torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE[settings.scale])
    raw = LogMel(settings.replace(cleaned=False, high_pass_hz=0.0))
    assert (raw(added(window_1N, 0.01)) - raw(window_1N)).abs().max() > 10 * TOLERANCE[settings.scale]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("gain_db", [-60.0, -30.0, 12.0])
def test_a_gain_changes_nothing(settings: MelSettings, gain_db: float) -> None:
    window_1N, log_mel = voice(3.3, 5.0), LogMel(settings)
    torch.testing.assert_close(log_mel(10 ** (gain_db / 20) * window_1N), log_mel(window_1N), rtol=0, atol=1e-3)


@pytest.mark.parametrize("mains_hz", [50.0, 60.0, 49.97])
@pytest.mark.parametrize(("seconds", "window_seconds"), [(5.0, 5.0), (3.3, 5.0), (2.0, 3.0), (12.5, 12.5)])
def test_hum_is_taken_away_and_the_voice_is_not(mains_hz: float, seconds: float, window_seconds: float) -> None:
    window_1N = voice(seconds, window_seconds)
    hum_N = hum(mains_hz, window_1N.shape[1])
    both_1N = added(window_1N, hum_N)
    left_1N = clean(both_1N, RATE_HZ) * both_1N.abs().max() - window_1N
    assert level_db(left_1N, both_1N - window_1N) < -25


@pytest.mark.parametrize("seconds", [0.2, 1.0, 3.3, 5.0, 12.5])
def test_speech_without_hum_is_left_alone(seconds: float) -> None:
    window_1N = voice(seconds, 14.0)
    left_1N = clean(window_1N, RATE_HZ) * window_1N.abs().max() - window_1N
    assert level_db(left_1N, window_1N) < -60


@pytest.mark.parametrize("rate_hz", [300, 8_000, 22_050, 48_000])
def test_at_any_rate(rate_hz: int) -> None:
    window_1N = voice(4.0, 5.0, rate_hz=rate_hz)
    both_1N = added(window_1N, hum(50, window_1N.shape[1], rate_hz) + 0.01)
    left_1N = clean(both_1N, rate_hz) * both_1N.abs().max() - window_1N
    assert level_db(left_1N, both_1N - window_1N) < (-20 if rate_hz > 500 else -1)


def test_padding_stays_silent_and_short_windows_are_taken() -> None:
    assert not clean(added(voice(3.3, 5.0), 0.01), RATE_HZ)[0, round(3.3 * RATE_HZ) :].any()
    for num_samples in (1, 10, 1_000):
        assert clean(torch.full((2, num_samples), 0.3), RATE_HZ).abs().max() < 1e-6
    assert not clean(torch.zeros(2, RATE_HZ), RATE_HZ).any()


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_window_does_not_depend_on_its_batch(settings: MelSettings) -> None:
    windows = [voice(seconds, 5.0, seed=seed) for seed, seconds in enumerate((5.0, 3.0, 1.0, 0.2, 4.5))]
    pcm_BN = torch.cat([added(window, hum(50, window.shape[1]) * (place % 2)) for place, window in enumerate(windows)])
    log_mel = LogMel(settings)
    alone = torch.cat([log_mel(window_1N) for window_1N in pcm_BN.split(1)])
    torch.testing.assert_close(log_mel(pcm_BN), alone, rtol=0, atol=1e-5)
