"""Aggregates windows' probabilities to a file's: the mean of log-probabilities, weighted by seconds, renormalised.

The seconds of a window are those of speech in it, or all of them where nobody listened for speech.

Sums add up: those of two segments, added, are those of both together, so a long file needs no second pass.
Shape letters: N windows, G groups (one channel of one file), C labels, X = C + 1: labels, then seconds.
"""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
#: Stands for a probability that float32 rounded to zero.
_MIN_PROBABILITY = float(np.finfo(np.float32).tiny)


def log_probability_sums(
    probabilities_NC: FloatArray, seconds_N: FloatArray, group_N: npt.NDArray[np.integer], num_groups: int
) -> npt.NDArray[np.float64]:
    """Sums (G, X) over the windows of each group: of seconds x log-probability, and of seconds.

    Args:
        probabilities_NC: probabilities of each window.
        seconds_N: what each window counts: seconds of its audio, above 0.
        group_N: group of each window, 0 to num_groups - 1.
        num_groups: number of groups; one without a window has sums of 0.
    """
    seconds_N1 = np.asarray(seconds_N, dtype=np.float64)[:, np.newaxis]
    log_NC = np.log(np.maximum(probabilities_NC.astype(np.float64), _MIN_PROBABILITY))
    sums_GX = np.zeros((num_groups, probabilities_NC.shape[1] + 1))
    np.add.at(sums_GX, group_N, np.concatenate([seconds_N1 * log_NC, seconds_N1], axis=1))
    return sums_GX


def aggregate(sums_GX: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Probabilities (G, C) of each group from its sums; without any window, all labels are equally likely."""
    seconds_G1 = np.maximum(sums_GX[:, -1:], np.finfo(np.float64).tiny)
    mean_GC = sums_GX[:, :-1] / seconds_G1
    odds_GC = np.exp(mean_GC - mean_GC.max(axis=1, keepdims=True))
    probabilities_GC: npt.NDArray[np.float64] = odds_GC / odds_GC.sum(axis=1, keepdims=True)
    return probabilities_GC
