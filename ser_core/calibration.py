"""Makes confidences mean what they say.

Shape letters: G clips, C labels.
"""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax


def fit_temperature(answer_GC: npt.NDArray[np.float64], label_G: npt.NDArray[np.int64]) -> float:
    """The divisor of the logits, 0.1 to 10, that makes the labels most likely (Guo et al. 2017, arXiv 1706.04599).

    Args:
        answer_GC: the clips' answers at temperature 1. Their logarithms are the duration-weighted means of the
            windows' logits (but for a constant), so what divides these divides every window's logits.
        label_G: the right labels.
    """

    def loss(log_temperature: float) -> float:
        scores_GC = log_softmax(np.log(answer_GC) / np.exp(log_temperature), axis=1)
        return float(-scores_GC[np.arange(len(label_G)), label_G].mean())

    found = minimize_scalar(loss, bounds=(np.log(0.1), np.log(10.0)), method="bounded")
    return float(np.exp(found.x))
