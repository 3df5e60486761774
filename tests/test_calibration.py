import numpy as np
import pytest
from scipy.special import softmax

from ser_core.calibration import fit_temperature


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_finds_the_temperature_the_labels_were_drawn_with(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits_GC = rng.normal(scale=3.0, size=(20_000, 8))
    label_G = (softmax(logits_GC / temperature, axis=1).cumsum(axis=1) > rng.uniform(size=(20_000, 1))).argmax(axis=1)
    assert fit_temperature(softmax(logits_GC, axis=1), label_G) == pytest.approx(temperature, rel=0.05)


def test_stays_in_bounds_when_every_answer_is_right_or_wrong() -> None:
    answer_GC = np.full((10, 4), 0.1) + 0.6 * np.eye(4)[np.arange(10) % 4]
    right_G = np.arange(10) % 4
    assert 0.1 <= fit_temperature(answer_GC, right_G) < 0.2
    assert 9 < fit_temperature(answer_GC, (right_G + 1) % 4) <= 10
