"""Predictions for clips: at which temperature they are, and the table of them.

Shape letters: G clips, C labels.

A clip's prediction is the softmax of the weighted mean of its windows' log-probabilities, and these are logits
but for a constant: so a temperature that divides a prediction's logarithms divides every window's logits, and a shift
that is taken from these is taken from every window's. A probability of 0 (a label that the clip's corpus lacks) stays
0. Of a clip without speech there is no prediction: its probabilities are NaN, in tables null.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from ser_core.corpora import Manifest
from ser_core.vocabulary import NO_SPEECH

_MIN_TEMPERATURE, _MAX_TEMPERATURE = 0.1, 10.0


def predictions_table(
    manifest: Manifest, probabilities_GC: npt.NDArray[np.float64], labels: Sequence[str], temperature: float
) -> pa.Table:
    """A row per clip: the columns of the manifest, then

    - `temperature`: what the model divides its logits by, so that confidences mean what they say;
    - `prediction`, `confidence`: the most likely label, and its probability at that temperature, as scoring has them:
      without speech `no_speech` and null;
    - `p_<label>`: the probabilities at temperature 1, over all labels of the model whatever labels a corpus has.

    Args:
        manifest: the clips.
        probabilities_GC: the predictions at temperature 1.
        labels: those of the columns.
        temperature: the model's.
    """
    calibrated_GC = at_temperature(probabilities_GC, temperature)
    predicted_G = np.array(labels, dtype=object)[calibrated_GC.argmax(axis=1)]
    columns = {
        "temperature": np.full(len(manifest), temperature),
        "prediction": np.where(is_silent(probabilities_GC), NO_SPEECH, predicted_G),
        "confidence": calibrated_GC.max(axis=1),
        **{f"p_{label}": probabilities_GC[:, index] for index, label in enumerate(labels)},
    }
    table = manifest.table
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values, from_pandas=True))
    return table


def probabilities_in(table: pa.Table, labels: Sequence[str]) -> npt.NDArray[np.float64]:
    """The predictions (G, C) at temperature 1 of what `predictions_table` made."""
    return np.stack([table[f"p_{label}"].to_numpy() for label in labels], axis=1)


def is_silent(probabilities_GC: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which clips have no prediction, as there is no speech in them."""
    return np.asarray(np.isnan(probabilities_GC).any(axis=1))


def fit_temperature(
    probabilities_GC: npt.NDArray[np.float64], label_G: npt.NDArray[np.int64], group_G: npt.NDArray[Any] | None = None
) -> float:
    """The divisor of the logits, 0.1 to 10, that makes the labels most likely (Guo et al. 2017, arXiv 1706.04599).

    Args:
        probabilities_GC: the clips' predictions at temperature 1; one clip at least has speech, and those alone count.
        label_G: the right labels, none of which has probability 0.
        group_G: the group of each clip, such as its corpus; every group counts the same. None: every clip does.
    """
    has_speech_G = ~is_silent(probabilities_GC)
    log_GC, label_G = _log(probabilities_GC[has_speech_G]), label_G[has_speech_G]
    weight_G = np.ones(len(label_G))
    if group_G is not None:
        _, index_G, count = np.unique(group_G[has_speech_G], return_inverse=True, return_counts=True)
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


def shifted(probabilities_GC: npt.NDArray[np.float64], shift_GC: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Predictions (G, C) at temperature 1 with a shift taken from the logits of all windows of each clip."""
    shifted_GC: npt.NDArray[np.float64] = softmax(_log(probabilities_GC) - shift_GC, axis=1)
    return shifted_GC


def _log(probabilities_GC: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        return np.log(probabilities_GC)
