"""A model's regression, fitted to its minimum before the first epoch: scikit-learn's, logistic or a ridge.

Where a model is started from, the penalty is on how far its weights are left behind, not on their size: a few clips
move them a little, many move them as far as they must.

Shape letters: G clips, N clips in training, W windows, P features, C labels, F labels that have windows, X = P + 1:
features, then the bias; R directions that the windows span.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ser_core.models import Regression
from ser_core.training.data import Numbers, TrainingData, sampling_weights
from ser_core.training.fitting.computed import Floats, of_windows, tempo_changes
from ser_core.training.fitting.least_squares import fit_squared
from ser_core.training.fitting.nuisances import Damping, Nuisance, speaker_offsets

_MAX_ITERATIONS = 1_000
#: Largest gradient at the minimum: features that differ by rounding then give weights that do so too.
_TOLERANCE = 1e-5
#: Share of the largest square below which a direction is rounding.
_NEGLIGIBLE = 1e-12
#: Distance from the lowest bias to that of a label without windows.
_NO_WINDOW = 10.0
#: Directions that speakers differ most in; most of what twenty or thirty of them differ in.
_SPEAKER_DIRECTIONS = 8
#: Directions in which another tempo moves features most.
_TEMPO_DIRECTIONS = 4

#: Fits weights and biases (F, X) to standard features (W, P), labels (W,) and weights of windows (W,), with some C.
Fit = Callable[[Floats, Numbers, Floats, float], npt.NDArray[np.float64]]


def fit_regression(regression: Regression, data: TrainingData, training_N: Numbers) -> None:
    """Fit a model's regression to the windows that are learned from; all workers must call it, and get the same.

    It is drawn to the weights that it has: none, or those of the model that the training starts from. Every clip counts
    as often as an epoch uses it. Labels are as they are, neither smoothed nor mixed, and teachers have no part.

    Args:
        regression: is fitted.
        data: prepared for these clips.
        training_N: the training set.
    """
    config, clips = data.config, data.clips
    window_W, owner_W = data.learned_windows(training_N)
    views = list(of_windows(data, window_W, data.front_end.regression_views).swapaxes(0, 1))
    nuisances = []
    if config.regression_centred or config.regression_speaker_damping:
        groups_W = [of_G[training_N][owner_W] for of_G in clips.groups]
        added = [speaker_offsets(features_WP, *groups_W) for features_WP in views]
        if config.regression_centred:
            views = [view_WP - offset_SP[row_W] for view_WP, (offset_SP, row_W) in zip(views, added, strict=True)]
        offset_SP = np.concatenate([offset_SP for offset_SP, _ in added])
        nuisances.append(Nuisance(offset_SP, _SPEAKER_DIRECTIONS, config.regression_speaker_damping))
    if config.regression_tempo_damping:
        changes_DP = tempo_changes(data, window_W)
        nuisances.append(Nuisance(changes_DP, _TEMPO_DIRECTIONS, config.regression_tempo_damping))

    def fit_on_rank_0() -> torch.Tensor:
        label_N = clips.label_G[training_N]
        weight_N = sampling_weights(clips.stratum_G[training_N], config.sampling)
        weight_W = (weight_N / np.bincount(owner_W) / len(views))[owner_W]
        of_views = np.concatenate(views), np.tile(label_N[owner_W], len(views)), np.tile(weight_W, len(views))
        started_CX = torch.cat([regression.weight_CP, regression.bias_C[:, None]], dim=1).double().cpu().numpy()
        apart_W = owner_W if config.split.split == "random" else clips.groups[1][training_N][owner_W]
        squared = partial(fit_squared, apart_W=np.tile(apart_W, len(views)))
        if config.regression_loss == "logistic" or started_CX.any():
            fits = [fit(*of_views, started_CX, config.regression_c, nuisances)]
        elif config.regression_loss == "squared":
            fits = [fit(*of_views, started_CX, config.regression_c, nuisances, squared)]
        else:
            fits = [
                fit(*of_views, started_CX, config.regression_c),
                fit(*of_views, started_CX, config.regression_ridge_c, nuisances, squared),
            ]
        return torch.from_numpy(np.mean(fits, axis=0).astype(np.float32))

    fitted_CX = data.group.broadcast(fit_on_rank_0)
    regression.set(fitted_CX[:, :-1], fitted_CX[:, -1])


def fit(
    features_WP: Floats,
    label_W: npt.NDArray[np.int64],
    weight_W: Floats,
    started_CX: Floats,
    c: float,
    nuisances: Sequence[Nuisance] = (),
    of_loss: Fit | None = None,
) -> npt.NDArray[np.float64]:
    """Fit weights of the logits (C, P) and, as the last column, biases, (C, X), for features as they come.

    Args:
        features_WP: features of each window; they are standardised on the way.
        label_W: label of each window; at least two of the labels occur.
        weight_W: weight of each window.
        started_CX: the weights and biases that are left where they cost too much; 0: there are none.
        c: scikit-learn's C: weight of the loss against that of the L2 penalty.
        nuisances: what counts less.
        of_loss: how it is fitted where there are no weights to start from; by default with the logistic loss, which is
            that of weights to start from.
    """
    scaler = StandardScaler()
    standard_WP = scaler.fit_transform(features_WP.astype(np.float64), sample_weight=weight_W)
    damping = Damping(nuisances, scaler.scale_)
    standard_WP = damping.of_features(standard_WP)
    labels, target_W = np.unique(label_W, return_inverse=True)
    if started_CX.any():
        started_FX = started_CX[labels]
        bias_F = started_FX[:, -1] + started_FX[:, :-1] @ scaler.mean_
        standard_FX = np.column_stack([damping.undone_of_weights(started_FX[:, :-1] * scaler.scale_), bias_F])
        fitted_FX = _drawn_to(standard_FX, standard_WP, target_W, weight_W, c)
    else:
        fitted_FX = _from_nothing(of_loss or _logistic, standard_WP, target_W, weight_W, c)
    fitted_FX[:, :-1] = damping.of_weights(fitted_FX[:, :-1]) / scaler.scale_
    fitted_FX[:, -1] -= fitted_FX[:, :-1] @ scaler.mean_
    fitted_CX = np.zeros(started_CX.shape)
    fitted_CX[:, -1] = fitted_FX[:, -1].min() - _NO_WINDOW
    fitted_CX[labels] = fitted_FX
    return fitted_CX


def _from_nothing(
    of_loss: Fit, standard_WP: Floats, target_W: Numbers, weight_W: Floats, c: float
) -> npt.NDArray[np.float64]:
    """A fit (F, X) with an L2 penalty."""
    if standard_WP.shape[1] <= len(standard_WP):
        return of_loss(standard_WP, target_W, weight_W, c)
    # The penalty keeps the weights to what the windows span: as many numbers as there are windows say them all.
    spanned_WR, basis_PR = _in_span(standard_WP)
    fitted_FR1 = of_loss(spanned_WR, target_W, weight_W, c)
    return np.column_stack([fitted_FR1[:, :-1] @ basis_PR.T, fitted_FR1[:, -1]])


def _logistic(standard_WP: Floats, target_W: Numbers, weight_W: Floats, c: float) -> npt.NDArray[np.float64]:
    # To the same minimum L-BFGS takes four times as long, and stopped early it is another model.
    fitted = LogisticRegression(C=c, solver="newton-cg", max_iter=_MAX_ITERATIONS, tol=_TOLERANCE)
    fitted.fit(standard_WP, target_W, sample_weight=weight_W)
    fitted_FX = np.column_stack([fitted.coef_, fitted.intercept_])
    # Of two labels scikit-learn has the odds of the second alone.
    return np.concatenate([np.zeros_like(fitted_FX), fitted_FX]) if len(fitted_FX) == 1 else fitted_FX


def _in_span(values_WP: Floats) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Rows as coordinates (W, R) in an orthonormal basis (P, R) of what they span."""
    squares_W, vectors_WW = np.linalg.eigh(values_WP @ values_WP.T)
    is_spanned_W = squares_W > _NEGLIGIBLE * squares_W[-1]
    vectors_WR, length_R = vectors_WW[:, is_spanned_W], np.sqrt(squares_W[is_spanned_W])
    return vectors_WR * length_R, values_WP.T @ (vectors_WR / length_R)


def _drawn_to(
    started_FX: npt.NDArray[np.float64], standard_WP: Floats, target_W: Numbers, weight_W: Floats, c: float
) -> npt.NDArray[np.float64]:
    """The same (F, X), with the penalty on the distance from other weights; scikit-learn has none of this kind."""
    is_target_WF = np.arange(len(started_FX)) == target_W[:, np.newaxis]

    def loss_and_gradient(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        fitted_FX = flat.reshape(started_FX.shape)
        log_WF = log_softmax(standard_WP @ fitted_FX[:, :-1].T + fitted_FX[:, -1], axis=1)
        moved_FX = fitted_FX - started_FX
        # No penalty is on biases.
        moved_FX[:, -1] = 0.0
        error_WF = c * weight_W[:, np.newaxis] * (np.exp(log_WF) - is_target_WF)
        gradient_FX = moved_FX + np.column_stack([error_WF.T @ standard_WP, error_WF.sum(axis=0)])
        loss = 0.5 * np.square(moved_FX).sum() - c * (weight_W * log_WF[is_target_WF]).sum()
        return float(loss), gradient_FX.ravel()

    limits: Any = {"maxiter": _MAX_ITERATIONS, "gtol": _TOLERANCE, "ftol": 0.0}
    found = minimize(loss_and_gradient, started_FX.ravel(), jac=True, method="L-BFGS-B", options=limits)
    fitted_FX: npt.NDArray[np.float64] = found.x.reshape(started_FX.shape)
    return fitted_FX
