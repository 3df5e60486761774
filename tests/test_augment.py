import dataclasses

import numpy as np
import pytest
import torch

from ser_core.augment import AugmentSettings, mask_bands, random_window

OFF = AugmentSettings(speed=0, overhang=0, num_masks=0)
RATE = 16_000


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
    settings = dataclasses.replace(OFF, overhang=0.3)
    filled = [random_window(np.ones(2_000, np.float32), 1_000, settings, rng(seed)).sum() for seed in range(200)]
    assert 700 <= min(filled) < 800
    assert max(filled) == 1_000


def test_speed_changes_pitch_within_its_bounds() -> None:
    tone = np.sin(2 * np.pi * 1_000 * np.arange(2 * RATE) / RATE).astype(np.float32)
    settings = dataclasses.replace(OFF, speed=0.1)
    pitches = [np.abs(np.fft.rfft(random_window(tone, RATE, settings, rng(seed)))).argmax() for seed in range(50)]
    assert 899 <= min(pitches) < 940
    assert 1_060 < max(pitches) <= 1_101


def test_masks_are_no_wider_than_allowed() -> None:
    settings = dataclasses.replace(OFF, num_masks=1, max_masked_mels=5, max_masked_frames=7)
    for seed in range(20):
        mel_FT = torch.randn(40, 30, generator=torch.Generator().manual_seed(seed))
        masked_FT = mel_FT.clone()
        mask_bands(masked_FT, settings, rng(seed))
        changed_FT = masked_FT != mel_FT
        assert changed_FT.all(dim=1).sum() <= 5
        assert changed_FT.all(dim=0).sum() <= 7
        assert (~changed_FT).any()


@pytest.mark.parametrize("settings", [OFF, AugmentSettings()])
def test_the_same_generator_gives_the_same_window(settings: AugmentSettings) -> None:
    clip = rng().normal(size=3 * RATE).astype(np.float32)
    first, second = (random_window(clip, RATE, settings, rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
