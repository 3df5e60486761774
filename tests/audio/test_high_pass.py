"""What lies below speech is taken out of a window, and nothing else."""

import numpy as np
import pytest
import torch
from scipy.signal import firwin
from torch import Tensor

from ser_core.audio.cleaning import clean
from ser_core.audio.high_pass import high_pass
from ser_core.audio.log_mel import LogMel
from ser_core.audio.settings import MelSettings
from ser_core.errors import UsageError
from ser_core.models.registry import ARCHITECTURES, default_mel
from tests.audio.test_cleaning import SETTINGS, added, hum, level_db, voice
from tests.support.audio_factory import RATE_HZ

CUTOFF_HZ = 70.0


def wave(hz: float, seconds: float, rate_hz: int = RATE_HZ) -> Tensor:
    time_N = torch.arange(round(seconds * rate_hz), dtype=torch.float64) / rate_hz
    return torch.sin(2 * torch.pi * hz * time_N + 1).float()[None]


def passed(pcm_BN: Tensor, rate_hz: int = RATE_HZ) -> Tensor:
    return high_pass(pcm_BN, torch.full((len(pcm_BN), 1), float(pcm_BN.shape[1])), rate_hz, CUTOFF_HZ)


def rumble(num_samples: int) -> Tensor:
    """Noise between 5 and 60 Hz."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(num_samples))
    hz = np.fft.rfftfreq(num_samples, 1 / RATE_HZ)
    return torch.from_numpy(np.fft.irfft(spectrum * ((hz > 5) & (hz < 60)), num_samples)).float()


@pytest.mark.parametrize("rate_hz", [300, 8_000, RATE_HZ, 22_050, 48_000])
def test_what_lies_below_goes_and_what_lies_above_stays(rate_hz: int) -> None:
    for hz in (0.3, 2.0, 16.7, 30.0, 60.0, 64.0):
        below_1N = wave(hz, 5.0, rate_hz)
        middle = slice(rate_hz // 4, -rate_hz // 4)
        assert level_db(passed(below_1N, rate_hz)[:, middle], below_1N[:, middle]) < -50, hz
        assert level_db(passed(below_1N, rate_hz), below_1N) < -28, hz
    for hz in (76.0, 80.0, 120.0, rate_hz / 3):
        above_1N = wave(hz, 5.0, rate_hz)
        assert level_db(passed(above_1N, rate_hz) - above_1N, above_1N) < -25, hz


def test_it_is_the_filter_at_the_full_rate() -> None:
    noise_1N = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3 * RATE_HZ)).cumsum(axis=1)).float()
    num_taps = 2 * round(0.16 * RATE_HZ) + 1
    low_pass = firwin(num_taps, CUTOFF_HZ, window=("kaiser", 5.0), fs=RATE_HZ)
    extended = np.pad(noise_1N[0].double().numpy(), num_taps // 2, mode="reflect", reflect_type="odd")
    trend = np.convolve(extended, low_pass, mode="valid")
    expected_1N = noise_1N - torch.from_numpy(trend).float()[None]
    assert level_db(passed(noise_1N) - expected_1N, expected_1N) < -30


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(("seconds", "window_seconds"), [(5.0, 5.0), (3.3, 5.0), (0.5, 3.0), (9.0, 12.5)])
def test_drift_and_rumble_change_nothing(settings: MelSettings, seconds: float, window_seconds: float) -> None:
    window_1N, log_mel = voice(seconds, window_seconds), LogMel(settings)
    expected = log_mel(window_1N)
    raw = LogMel(settings.replace(high_pass_hz=0.0))
    num_samples = window_1N.shape[1]
    # At the ends of a window what is fast cannot be told from the end of something slow.
    slow = [(wave(hz, window_seconds)[0], 0.15) for hz in (0.5, 2.0)]
    for below_N, share in (*slow, (wave(30.0, window_seconds)[0], 0.25), (rumble(num_samples), 0.25)):
        both_1N = added(window_1N, 0.01 * below_N / below_N.square().mean().sqrt())
        found = log_mel(both_1N)
        assert (found - expected).abs().mean() < share * (raw(both_1N) - raw(window_1N)).abs().mean()


def test_hum_and_drift_together_go() -> None:
    window_1N = voice(5.0)
    num_samples = window_1N.shape[1]
    both_1N = added(window_1N, hum(50, num_samples) + 0.05 * wave(1.0, 5.0)[0])
    expected_1N = clean(window_1N, RATE_HZ, CUTOFF_HZ)
    assert level_db(clean(both_1N, RATE_HZ, CUTOFF_HZ) - expected_1N, expected_1N) < -25


def test_padding_stays_silent_and_windows_of_any_length_are_taken() -> None:
    window_1N = added(voice(3.3, 5.0), wave(2.0, 5.0)[0])
    assert not clean(window_1N, RATE_HZ, CUTOFF_HZ)[0, round(3.3 * RATE_HZ) :].any()
    for num_samples in (1, 10, 1_000):
        assert clean(torch.full((2, num_samples), 0.3), RATE_HZ, CUTOFF_HZ).abs().max() < 1e-6
    assert not clean(torch.zeros(2, RATE_HZ), RATE_HZ, CUTOFF_HZ).any()


def test_a_window_depends_on_nothing_beside_it() -> None:
    windows = [voice(seconds, 5.0, seed=seed) for seed, seconds in enumerate((5.0, 3.0, 1.0, 0.2, 4.5))]
    num_real_B1 = torch.tensor([[5.0], [3.0], [1.0], [0.2], [4.5]]) * RATE_HZ
    pcm_BN = torch.cat([added(window_1N, wave(3.0, 5.0)[0]) for window_1N in windows])
    together = high_pass(pcm_BN, num_real_B1, RATE_HZ, CUTOFF_HZ)
    for row, num_real in enumerate(num_real_B1.flatten().long().tolist()):
        alone = passed(pcm_BN[row : row + 1, :num_real])
        torch.testing.assert_close(together[row : row + 1, :num_real], alone, rtol=0, atol=1e-5)


def test_new_models_hear_nothing_below_speech_and_old_ones_as_before() -> None:
    assert {default_mel(name).high_pass_hz for name in ARCHITECTURES} == {CUTOFF_HZ}
    assert MelSettings.from_dict({"cleaned": True}).high_pass_hz == 0


@pytest.mark.parametrize("values", [{"cleaned": False}, {"cleaned": True, "sample_rate_hz": 200, "f_max_hz": 100}])
def test_a_filter_that_is_not_applied_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="high_pass_hz needs cleaned: true"):
        MelSettings.from_dict(values | {"high_pass_hz": CUTOFF_HZ})
