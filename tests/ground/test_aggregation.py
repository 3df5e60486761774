"""Aggregation: what windows of any number, length and split say of their file."""

import numpy as np
import pytest

from ser_core.aggregation import aggregate, log_probability_sums


def windows(num_windows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(8), num_windows).astype(np.float32), rng.uniform(0.1, 3.0, num_windows)


def prediction_of(probabilities: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    return aggregate(log_probability_sums(probabilities, seconds, np.zeros(len(seconds), int), 1))[0]


def test_is_the_weighted_geometric_mean_renormalised() -> None:
    probabilities, seconds = windows(5)
    product = np.prod(probabilities.astype(float) ** (seconds / seconds.sum())[:, None], axis=0)
    np.testing.assert_allclose(prediction_of(probabilities, seconds), product / product.sum(), rtol=1e-9)


def test_one_window_is_its_own_prediction() -> None:
    probabilities, seconds = windows(1)
    np.testing.assert_allclose(prediction_of(probabilities, seconds), probabilities[0], atol=1e-7)


def test_long_windows_weigh_more() -> None:
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)
    assert prediction_of(probabilities, np.array([3.0, 0.5]))[0] > 0.5
    assert prediction_of(probabilities, np.array([0.5, 3.0]))[0] < 0.5


@pytest.mark.parametrize("cut", range(0, 41, 5))
def test_is_equal_however_split_into_segments(cut: int) -> None:
    probabilities, seconds = windows(40)
    sums = [
        log_probability_sums(probabilities[part], seconds[part], np.zeros(len(seconds[part]), int), 1)
        for part in (slice(None, cut), slice(cut, None))
    ]
    np.testing.assert_allclose(aggregate(sums[0] + sums[1])[0], prediction_of(probabilities, seconds), rtol=1e-12)


def test_many_files_at_once_are_as_one_by_one() -> None:
    probabilities, seconds = windows(30)
    group = np.random.default_rng(4).integers(0, 5, 30)
    together = aggregate(log_probability_sums(probabilities, seconds, group, 5))
    for index in range(5):
        alone = prediction_of(probabilities[group == index], seconds[group == index])
        np.testing.assert_allclose(together[index], alone, rtol=1e-12)


def test_probabilities_of_zero_do_not_become_nan() -> None:
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], np.float32)
    found = prediction_of(probabilities, np.ones(3))
    assert np.isfinite(found).all()
    assert found.argmax() == 1
    assert found.sum() == pytest.approx(1.0)


def test_a_group_without_windows_has_no_preference() -> None:
    probabilities, seconds = windows(2)
    found = aggregate(log_probability_sums(probabilities, seconds, np.array([1, 1]), 3))
    np.testing.assert_allclose(found[[0, 2]], 1 / 8)


def test_a_very_long_file_keeps_its_precision() -> None:
    probabilities, seconds = windows(200_000)
    exact = np.log(probabilities.astype(np.longdouble)).T @ seconds.astype(np.longdouble) / seconds.sum()
    exact = np.exp(exact - exact.max())
    np.testing.assert_allclose(prediction_of(probabilities, seconds), (exact / exact.sum()).astype(float), atol=1e-9)
