import numpy as np
import pytest
from scipy.special import softmax

from ser_core.aggregation import aggregate, log_probability_sums
from ser_core.evaluation.predictions import at_temperature, fit_temperature


def drawn(num_clips: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn with the probabilities that they have at a temperature."""
    rng = np.random.default_rng(0)
    logits_GC = rng.normal(scale=3.0, size=(num_clips, 8))
    share_GC = softmax(logits_GC / temperature, axis=1).cumsum(axis=1)
    return logits_GC, (share_GC > rng.uniform(size=(num_clips, 1))).argmax(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_finds_the_temperature_the_labels_were_drawn_with(temperature: float) -> None:
    logits_GC, label_G = drawn(20_000, temperature)
    assert fit_temperature(softmax(logits_GC, axis=1), label_G) == pytest.approx(temperature, rel=0.05)


def test_every_group_counts_the_same_however_large() -> None:
    (sure_GC, sure_G), (unsure_GC, unsure_G) = drawn(1_000, 0.5), drawn(1_000, 3.0)

    def fitted(times: int) -> float:
        probabilities_GC = softmax(np.concatenate([np.repeat(sure_GC, times, axis=0), unsure_GC]), axis=1)
        label_G = np.concatenate([np.repeat(sure_G, times), unsure_G])
        group_G = np.array(["sure"] * (times * len(sure_G)) + ["unsure"] * len(unsure_G))
        return fit_temperature(probabilities_GC, label_G, group_G)

    assert fitted(20) == pytest.approx(fitted(1), rel=1e-3)
    assert 0.6 < fitted(1) < 2.9


def test_stays_in_bounds_when_every_prediction_is_right_or_wrong() -> None:
    probabilities_GC = np.full((10, 4), 0.1) + 0.6 * np.eye(4)[np.arange(10) % 4]
    right_G = np.arange(10) % 4
    assert 0.1 <= fit_temperature(probabilities_GC, right_G) < 0.2
    assert 9 < fit_temperature(probabilities_GC, (right_G + 1) % 4) <= 10


@pytest.mark.filterwarnings("error")
def test_masked_labels_neither_count_nor_warn() -> None:
    logits_GC, label_G = drawn(5_000, 2.0)
    probabilities_GC = softmax(logits_GC, axis=1)
    with_masked_GC = np.insert(probabilities_GC, 3, 0.0, axis=1)
    found = fit_temperature(with_masked_GC, label_G + (label_G >= 3))
    assert found == pytest.approx(fit_temperature(probabilities_GC, label_G))
    cooled_GC = at_temperature(with_masked_GC, found)
    assert not cooled_GC[:, 3].any()
    np.testing.assert_allclose(np.delete(cooled_GC, 3, axis=1), at_temperature(probabilities_GC, found))


def test_a_temperature_of_the_windows_is_one_of_the_clip() -> None:
    rng = np.random.default_rng(1)
    logits_NC, seconds_N, clip_N = rng.normal(size=(7, 4)), rng.uniform(0.5, 3, 7), np.array([0, 0, 0, 1, 1, 2, 2])
    calibrated_GC, plain_GC = (
        aggregate(log_probability_sums(softmax(logits_NC / temperature, axis=1), seconds_N, clip_N, 3))
        for temperature in (2.5, 1.0)
    )
    np.testing.assert_allclose(at_temperature(plain_GC, 2.5), calibrated_GC)
    np.testing.assert_allclose(at_temperature(calibrated_GC, 1 / 2.5), plain_GC)
