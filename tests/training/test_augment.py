import time
from typing import Any

import numpy as np
import pytest
import torch

from ser_core.errors import UsageError
from ser_core.training.data import effects
from ser_core.training.data.augment import OFF, change_tempo, generator, mask_bands, mixup_pair, random_window
from ser_core.training.data_config import AugmentSettings
from tests.support.audio_factory import speech

RATE = 16_000
#: Name -> what switches one on.
EFFECTS: dict[str, dict[str, float]] = {
    "speed": {"speed": 0.1},
    "overhang": {"overhang": 0.5},
    "reverberation": {"reverberation_probability": 1},
    "noise": {"noise_probability": 1},
    "tilt": {"tilt_db": 6, "tilt_probability": 1},
    "low_rate": {"low_rate_probability": 1},
    "telephone": {"telephone_probability": 1},
    "gain": {"gain_db": 6, "gain_probability": 1},
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_window_is_a_piece_of_its_clip() -> None:
    clip = rng().normal(size=RATE).astype(np.float32)
    starts = set()
    for seed in range(20):
        window = random_window(clip, RATE // 4, OFF, rng(seed))
        (start,) = np.flatnonzero(clip == window[0])
        np.testing.assert_array_equal(window, clip[start : start + RATE // 4])
        starts.add(int(start))
    assert len(starts) > 10


def test_a_short_clip_is_padded_at_its_end_as_in_scoring() -> None:
    clip = np.ones(100, np.float32)
    np.testing.assert_array_equal(random_window(clip, 250, OFF, rng()), np.repeat([1.0, 0.0], [100, 150]))


def test_overhang_bounds_the_padding() -> None:
    settings = OFF.replace(overhang=0.3)
    filled = [random_window(np.ones(2_000, np.float32), 1_000, settings, rng(seed)).sum() for seed in range(200)]
    assert 700 <= min(filled) < 800
    assert max(filled) == 1_000


def test_speed_changes_pitch_within_its_bounds() -> None:
    tone = np.sin(2 * np.pi * 1_000 * np.arange(2 * RATE) / RATE).astype(np.float32)
    settings = OFF.replace(speed=0.1)
    pitches = [np.abs(np.fft.rfft(random_window(tone, RATE, settings, rng(seed)))).argmax() for seed in range(50)]
    assert 899 <= min(pitches) < 940
    assert 1_060 < max(pitches) <= 1_101


def test_tempo_is_changed_within_its_bounds_and_pitch_is_not() -> None:
    settings, factors = OFF.replace(tempo=1.0), []
    for seed in range(200):
        # A pulse in band 3 at frame 40 of 100.
        mel = torch.zeros(8, 100)
        mel[3, 40] = 1.0
        change_tempo(mel, settings, rng(seed))
        assert mel.shape == (8, 100)
        assert not mel[[0, 1, 2, 4, 5, 6, 7]].any()
        factors.append(40 / max(int(mel[3].argmax()), 1))
    assert 0.48 <= min(factors) < 0.55
    assert 1.8 < max(factors) <= 2.1


def test_what_a_faster_tempo_leaves_free_is_silent() -> None:
    mels = torch.arange(100.0).repeat(20, 4, 1)
    for seed, mel in enumerate(mels):
        change_tempo(mel, OFF.replace(tempo=1.0), rng(seed))
    faster = [mel for mel in mels if mel[0, -1] == 0]
    assert faster
    for mel in faster:
        num_frames = int((mel[0] > 0).sum()) + 1
        assert 50 <= num_frames < 100
        assert mel[0, num_frames - 1] == 99
        assert not mel[:, num_frames:].any()


def test_without_tempo_a_log_mel_stays_as_it_is() -> None:
    mel = torch.randn(4, 100, generator=torch.manual_seed(0))
    for settings in (OFF, OFF.replace(tempo=1.0, tempo_probability=0.0)):
        same = mel.clone()
        change_tempo(same, settings, rng())
        assert torch.equal(same, mel)


def test_what_is_padded_stays_zero() -> None:
    everything = AugmentSettings(**dict.fromkeys(_probabilities(), 1.0), speed=0.0)
    for seed in range(5):
        window = random_window(speech(1.0), 2 * RATE, everything, rng(seed))
        assert window[:RATE].any()
        assert not window[RATE:].any()


def _probabilities() -> list[str]:
    return [name for name in AugmentSettings.model_fields if name.endswith("_probability")]


@pytest.mark.parametrize("clip_samples", [0, 1, 1_601, 3 * RATE, 20 * RATE])
def test_any_clip_gives_a_finite_window(clip_samples: int) -> None:
    everything = AugmentSettings(**dict.fromkeys(_probabilities(), 1.0))
    clip = np.resize(speech(3.0), clip_samples)
    window = random_window(clip, 3 * RATE, everything, rng())
    assert (window.shape, window.dtype) == ((3 * RATE,), np.float32)
    assert np.isfinite(window).all()


@pytest.mark.parametrize("settings", [OFF, AugmentSettings()])
def test_the_same_generator_gives_the_same_window(settings: AugmentSettings) -> None:
    clip = rng().normal(size=3 * RATE).astype(np.float32)
    before = clip.copy()
    for seed in range(10):
        first, second = (random_window(clip, RATE, settings, rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(clip, before)


@pytest.mark.parametrize("name", EFFECTS)
def test_each_one_changes_the_window_by_itself(name: str) -> None:
    clip, settings = speech(3.0), OFF.replace(**EFFECTS[name])
    plain, changed = (random_window(clip, RATE, of, rng(1)) for of in (OFF, settings))
    assert not np.allclose(plain, changed, atol=1e-4)
    assert settings.changes_waveform == (name != "overhang")
    assert not settings.changes_mel


def test_off_changes_nothing() -> None:
    assert not OFF.changes_waveform
    assert not OFF.changes_mel
    assert OFF.replace(num_masks=1).changes_mel
    assert OFF.replace(tempo=0.5).changes_mel
    assert not OFF.replace(speed=0.1, speed_probability=0).changes_waveform


@pytest.mark.parametrize("name", ["reverberation", "noise", "tilt", "low_rate", "telephone", "gain"])
def test_what_one_does_is_the_same_whatever_else_is_on(name: str) -> None:
    """Gain is the last: what is before it must not change with the gain, and what it multiplies by not with them."""
    clip = speech(3.0)
    one = OFF.replace(**EFFECTS[name])
    both = one.replace(gain_db=12.0, gain_probability=1.0)
    for seed in range(5):
        drawn, states = [], []
        for settings in (OFF, one, OFF.replace(gain_db=12.0, gain_probability=1.0), both):
            used = rng(seed)
            drawn.append(random_window(clip, RATE, settings, used))
            states.append(used.random())
        assert len(set(states)) == 1
        gain = effects.rms(drawn[2]) / effects.rms(drawn[0])
        if name != "gain":
            np.testing.assert_allclose(drawn[3], gain * drawn[1], rtol=0, atol=1e-5)


def test_probabilities_are_kept() -> None:
    clip = speech(1.0)
    plain = [random_window(clip, RATE, OFF, rng(seed)) for seed in range(300)]
    for share in (0.0, 0.3, 1.0):
        settings = OFF.replace(gain_db=6.0, gain_probability=share)
        changed = [
            not np.array_equal(random_window(clip, RATE, settings, rng(seed)), plain[seed]) for seed in range(300)
        ]
        assert abs(np.mean(changed) - share) < 0.09


def test_gain_is_within_its_bounds() -> None:
    clip = speech(1.0)
    settings = OFF.replace(gain_db=6.0, gain_probability=1.0)
    levels = [effects.rms(random_window(clip, RATE, settings, rng(seed))) for seed in range(200)]
    gains_db = 20 * np.log10(np.array(levels) / effects.rms(clip))
    assert -6 <= gains_db.min() < -5
    assert 5 < gains_db.max() <= 6


def test_noise_is_within_its_bounds() -> None:
    clip = speech(1.0)
    settings = OFF.replace(noise_probability=1.0)
    windows = [random_window(clip, RATE, settings, rng(seed)) for seed in range(100)]
    snrs_db = np.array([20 * np.log10(effects.rms(clip) / effects.rms(window - clip)) for window in windows])
    assert 4.9 < snrs_db.min() < 7
    assert 33 < snrs_db.max() < 35.1


def test_the_default_takes_little_time() -> None:
    clip, settings = speech(3.7), AugmentSettings()
    for _ in range(2):
        random_window(clip, 3 * RATE, settings, rng())
    mel_FT = torch.randn(128, 151)
    start = time.process_time()
    for seed in range(100):
        random_window(clip, 3 * RATE, settings, generator(0, 0, seed, "waveform"))
        mask_bands(mel_FT, settings, generator(0, 0, seed, "mel"))
    # Ten times what it takes on an idle machine.
    assert (time.process_time() - start) / 100 < 0.015


def test_masks_are_no_wider_than_allowed() -> None:
    settings = OFF.replace(num_masks=1, max_masked_mels=5, max_masked_frames=7)
    widths = set()
    for seed in range(60):
        mel_FT = torch.randn(40, 30, generator=torch.Generator().manual_seed(seed))
        masked_FT = mel_FT.clone()
        mask_bands(masked_FT, settings, rng(seed))
        changed_FT = masked_FT != mel_FT
        assert torch.equal(masked_FT[changed_FT], mel_FT.mean().expand(int(changed_FT.sum())))
        widths.add((int(changed_FT.all(dim=1).sum()), int(changed_FT.all(dim=0).sum())))
        assert (~changed_FT).any()
    mels, frames = ({width[axis] for width in widths} for axis in (0, 1))
    assert mels == set(range(6))
    assert frames == set(range(8))


def test_masks_fit_any_size() -> None:
    settings = AugmentSettings(max_masked_mels=100, max_masked_frames=100)
    for seed in range(50):
        mel_FT = torch.randn(8, 9)
        mask_bands(mel_FT, settings, rng(seed))
        assert mel_FT.shape == (8, 9)
        assert mel_FT.isfinite().all()


def test_mixup_pairs_are_the_same_wherever_they_are_made() -> None:
    settings = OFF.replace(mixup_probability=0.5, mixup_alpha=0.4)
    pairs = [mixup_pair(sample, 50, settings, generator(3, 7, sample, "mixup")) for sample in range(50)]
    assert pairs == [mixup_pair(sample, 50, settings, generator(3, 7, sample, "mixup")) for sample in range(50)]
    assert pairs != [mixup_pair(sample, 50, settings, generator(3, 8, sample, "mixup")) for sample in range(50)]
    mixed = [(sample, *pair) for sample, pair in enumerate(pairs) if pair[1] < 1]
    assert 12 < len(mixed) < 38
    for sample, partner, share in mixed:
        assert partner != sample
        assert 0 <= partner < 50
        assert 0.5 <= share < 1
    assert all(pair == (sample, 1.0) for sample, pair in enumerate(pairs) if pair[1] == 1)


def test_every_other_sample_may_be_the_partner() -> None:
    settings = OFF.replace(mixup_probability=1.0)
    partners = {mixup_pair(2, 5, settings, rng(seed))[0] for seed in range(100)}
    assert partners == {0, 1, 3, 4}
    assert mixup_pair(0, 1, settings, rng()) == (0, 1.0)


def test_a_generator_is_keyed_by_all_it_is_given() -> None:
    keys: list[tuple[Any, ...]] = [(0, 0, 0, "waveform"), (1, 0, 0, "waveform"), (0, 1, 0, "waveform"),
                                   (0, 0, 1, "waveform"), (0, 0, 0, "mel"), (0, 0, 0, "mixup")]  # fmt: skip
    assert len({generator(*key).random() for key in keys}) == len(keys)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"noise_probability": 1.5}, "'noise_probability' cannot be 1.5; it takes a number from 0 to 1"),
        ({"speed": 1.0}, "'speed' cannot be 1.0; it takes a number of at least 0 and below 1"),
        ({"gain_db": -1.0}, "'gain_db' cannot be -1.0; it takes a number of at least 0"),
        ({"num_masks": -1}, "'num_masks' cannot be -1; it takes a whole number of at least 0"),
        ({"min_rate_hz": 10.0}, "'min_rate_hz' cannot be 10.0; it takes a number of at least 1000"),
        ({"mixup_alpha": 0}, "'mixup_alpha' cannot be 0; it takes a number above 0"),
        ({"echo": 1}, "unknown setting 'echo'"),
    ],
)
def test_settings_are_checked(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=r"^[^\n]*$") as error:
        AugmentSettings.from_dict(values)
    assert words in str(error.value)
