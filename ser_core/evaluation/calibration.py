"""Makes confidences mean what they say.

Shape letters: G clips, C labels.

A clip's prediction is the softmax of the duration-weighted mean of its windows' log-probabilities, and these are logits
but for a constant: so what divides a prediction's logarithms divides every window's logits. A probability of 0 (a label
that the clip's corpus lacks) stays 0.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

_MIN_TEMPERATURE, _MAX_TEMPERATURE = 0.1, 10.0


def fit_temperature(
    probabilities_GC: npt.NDArray[np.float64], label_G: npt.NDArray[np.int64], group_G: npt.NDArray[Any] | None = None
) -> float:
    """The divisor of the logits, 0.1 to 10, that makes the labels most likely (Guo et al. 2017, arXiv 1706.04599).

    Args:
        probabilities_GC: the clips' predictions at temperature 1.
        label_G: the right labels, none of which has probability 0.
        group_G: the group of each clip, such as its corpus; every group counts the same. None: every clip does.
    """
    log_GC = _log(probabilities_GC)
    weight_G = np.ones(len(label_G))
    if group_G is not None:
        _, index_G, count = np.unique(group_G, return_inverse=True, return_counts=True)
        weight_G = 1.0 / count[index_G]

    def loss(log_temperature: float) -> float:
        scores_GC = log_softmax(log_GC / np.exp(log_temperature), axis=1)
        return -float(np.average(scores_GC[np.arange(len(label_G)), label_G], weights=weight_G))

    bounds = (np.log(_MIN_TEMPERATURE), np.log(_MAX_TEMPERATURE))
    found = minimize_scalar(loss, bounds=bounds, method="bounded")
    return float(np.exp(found.x))


def at_temperature(
    probabilities_GC: npt.NDArray[np.float64], temperature: float | npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Predictions with their logits divided by a temperature: one for all, or (G,) each clip's.

    Predictions that were calibrated with temperature T become uncalibrated ones again at 1 / T.
    """
    divisor = np.asarray(temperature, np.float64).reshape(-1, 1)
    calibrated_GC: npt.NDArray[np.float64] = softmax(_log(probabilities_GC) / divisor, axis=1)
    return calibrated_GC


def _log(probabilities_GC: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        return np.log(probabilities_GC)
