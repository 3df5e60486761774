import numpy as np
import pytest

from ser_core.training.data.augment import OFF
from ser_core.training.data.clips import plan_epoch, sampling_weights, split_steps
from ser_core.training.data_config import AugmentSettings, Sampling

STRATA = np.array([0] * 30 + [1] * 6 + [2] * 4)


def test_an_epoch_follows_from_seed_and_number() -> None:
    one, same, other = (plan_epoch(3, number, STRATA, "natural", 16, OFF) for number in (1, 1, 2))
    assert one.clip_E.tolist() == same.clip_E.tolist() != other.clip_E.tolist()
    assert sorted(one.clip_E) == list(range(40))
    assert (one.share_E == 1).all()
    assert (one.partner_E == np.arange(40)).all()


def test_steps_differ_in_size_by_one_at_most() -> None:
    sizes = [len(step) for step in split_steps(40, 16)]
    assert sizes == [14, 13, 13]
    assert np.concatenate(split_steps(40, 16)).tolist() == list(range(40))
    assert [len(step) for step in split_steps(3, 16)] == [3]


def test_square_root_sampling_is_half_way_to_balanced() -> None:
    strata_G = np.repeat([0, 1, 2], [400, 100, 25])
    clip_E = plan_epoch(0, 0, strata_G, "square_root", 16, OFF).clip_E
    assert len(clip_E) == 525
    # 20, 10 and 5 of 35 parts.
    assert np.bincount(strata_G[clip_E]).tolist() == [300, 150, 75]
    assert np.bincount(clip_E[strata_G[clip_E] == 2]).max() == 3
    assert sorted(clip_E) != sorted(plan_epoch(0, 1, strata_G, "square_root", 16, OFF).clip_E)


def test_balanced_sampling_uses_every_stratum_equally_often() -> None:
    clip_E = plan_epoch(0, 0, STRATA, "balanced", 16, OFF).clip_E
    assert sorted(np.bincount(STRATA[clip_E]).tolist()) == [13, 13, 14]
    times = np.bincount(clip_E, minlength=40)
    assert times[:30].max() == 1
    assert set(times[30:36]) <= {2, 3}
    assert set(times[36:]) <= {3, 4}


@pytest.mark.parametrize("sampling", ["natural", "square_root", "balanced"])
def test_sampling_weights_are_how_often_an_epoch_uses_a_clip(sampling: Sampling) -> None:
    strata_G = np.repeat([0, 1, 2], [30, 9, 2])
    epochs = [plan_epoch(1, number, strata_G, sampling, 8, OFF).clip_E for number in range(200)]
    mean_G = np.bincount(np.concatenate(epochs), minlength=len(strata_G)) / len(epochs)
    expected_G = sampling_weights(strata_G, sampling)
    assert expected_G.sum() == pytest.approx(len(strata_G))
    np.testing.assert_allclose([mean_G[strata_G == stratum].mean() for stratum in range(3)],
                               [expected_G[strata_G == stratum].mean() for stratum in range(3)], rtol=0.08)  # fmt: skip
    assert all(len(set(expected_G[strata_G == stratum])) == 1 for stratum in range(3))


def test_partners_of_mixup_do_not_depend_on_the_batch() -> None:
    settings = AugmentSettings(mixup_probability=0.5)
    small, large = (plan_epoch(1, 2, STRATA, "natural", size, settings) for size in (4, 40))
    assert small.partner_E.tolist() == large.partner_E.tolist()
    assert 5 < (small.share_E < 1).sum() < 35
    assert (small.share_E >= 0.5).all()
