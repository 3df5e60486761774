"""A ridge as a classifier: least squares on labels as zeros and ones, its answers scaled into logits.

Where there are many more features than clips it may tell unheard clips better than a logistic regression does, which
drives what it says of training clips on until they are all but certain.

Shape letters: W windows, P features, F labels, X = P + 1: features, then the bias.
"""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict

from ser_core.training.data import Numbers
from ser_core.training.fitting.computed import Floats

#: Parts of the windows, each of which is predicted from the others.
_MAX_PARTS = 10
#: Least and largest scale of the logits.
_SCALES = (0.1, 1_000.0)


def fit_squared(
    standard_WP: Floats, target_W: Numbers, weight_W: Floats, c: float, apart_W: Numbers
) -> npt.NDArray[np.float64]:
    """Fit weights of logits and, as the last column, biases (F, X).

    What a ridge says of windows that it was not fitted to gives the scale of its logits: that at which their labels are
    most likely.

    Args:
        standard_WP: features of each window.
        target_W: label of each window, 0 to F - 1.
        weight_W: weight of each window.
        c: weight of the loss against that of the L2 penalty: the inverse of scikit-learn's `alpha`.
        apart_W: windows of one number are predicted from windows of others alone: those of a clip, or of a speaker.
    """
    is_target_WF = np.eye(target_W.max() + 1)[target_W]
    if np.ptp(apart_W) == 0:
        apart_W = np.arange(len(target_W))
    ridge = Ridge(alpha=1.0 / c)
    parts = GroupKFold(min(_MAX_PARTS, len(np.unique(apart_W))))
    options = {"sample_weight": weight_W}
    said_WF = cross_val_predict(ridge, standard_WP, is_target_WF, groups=apart_W, cv=parts, params=options)

    def loss(log_scale: float) -> float:
        log_WF = log_softmax(np.exp(log_scale) * said_WF, axis=1)
        return -float(np.average(log_WF[is_target_WF > 0], weights=weight_W))

    scale = np.exp(minimize_scalar(loss, bounds=tuple(np.log(_SCALES)), method="bounded").x)
    ridge.fit(standard_WP, is_target_WF, sample_weight=weight_W)
    fitted_FX: npt.NDArray[np.float64] = scale * np.column_stack([ridge.coef_, ridge.intercept_])
    return fitted_FX
