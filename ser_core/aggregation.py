"""Windows' probabilities -> a file's answer: the duration-weighted mean of log-probabilities, renormalised.

Shape letters: N windows, G groups (one channel of one file), C labels, X = C + 1: labels, then seconds.

Sums add up: those of two segments, added, are those of both together, so a long file needs no second pass.
"""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
#: A probability that float32 rounded to zero counts as this.
_MIN_PROBABILITY = float(np.finfo(np.float32).tiny)


def log_probability_sums(
    probabilities_NC: FloatArray, seconds_N: FloatArray, group_N: npt.NDArray[np.integer], num_groups: int
) -> npt.NDArray[np.float64]:
    """Of each group, the sums (G, X) over its windows of seconds x log-probability, and of seconds.

    Args:
        probabilities_NC: calibrated probabilities of each window.
        seconds_N: of audio in each window, padding left out; above 0.
        group_N: the group of each window, 0 to num_groups - 1.
        num_groups: a group may have no window; its sums are 0.
    """
    seconds_N1 = np.asarray(seconds_N, dtype=np.float64)[:, np.newaxis]
    log_NC = np.log(np.maximum(probabilities_NC.astype(np.float64), _MIN_PROBABILITY))
    sums_GX = np.zeros((num_groups, probabilities_NC.shape[1] + 1))
    np.add.at(sums_GX, group_N, np.concatenate([seconds_N1 * log_NC, seconds_N1], axis=1))
    return sums_GX


def answer(sums_GX: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Probabilities (G, C) of each group from its sums; without any window, all labels are equally likely."""
    seconds_G1 = np.maximum(sums_GX[:, -1:], np.finfo(np.float64).tiny)
    mean_GC = sums_GX[:, :-1] / seconds_G1
    odds_GC = np.exp(mean_GC - mean_GC.max(axis=1, keepdims=True))
    answer_GC: npt.NDArray[np.float64] = odds_GC / odds_GC.sum(axis=1, keepdims=True)
    return answer_GC
