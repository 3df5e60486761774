"""A model's regression, fitted to its minimum before the first epoch: multinomial logistic, by scikit-learn's Newton.

Shape letters: G clips, N clips in training, W windows, P features, C labels.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ser_core.models import Regression
from ser_core.training.data import Numbers, TrainingData, sampling_weights

_BATCH = 64
_MAX_ITERATIONS = 1_000
#: Largest gradient at the minimum: features that differ by rounding then give weights that do so too.
_TOLERANCE = 1e-5
#: Distance from the lowest bias to that of a label without windows.
_NO_WINDOW = 10.0
Floats = npt.NDArray[np.floating]


def fit_regression(regression: Regression, data: TrainingData, training_N: Numbers) -> None:
    """Fit a model's regression to the windows that are learned from; all workers must call it, and get the same.

    Every clip counts as often as an epoch uses it. Labels are as they are, neither smoothed nor mixed, and teachers
    have no part.

    Args:
        regression: is fitted.
        data: prepared for these clips.
        training_N: the training set.
    """
    config, clips = data.config, data.clips
    window_W, owner_W = data.learned_windows(training_N)
    features_WP = of_windows(data, window_W, data.front_end.regression_features)
    if config.regression_centred:
        features_WP = speaker_centred(features_WP, *(of_G[training_N][owner_W] for of_G in clips.groups))

    def fit_on_rank_0() -> torch.Tensor:
        label_N = clips.label_G[training_N]
        weight_N = sampling_weights(clips.stratum_G[training_N], config.sampling)
        weight_W = (weight_N / np.bincount(owner_W))[owner_W]
        fitted_CX = fit(features_WP, label_N[owner_W], weight_W, len(clips.labels), config.regression_c)
        return torch.from_numpy(fitted_CX.astype(np.float32))

    fitted_CX = data.group.broadcast(fit_on_rank_0)
    regression.set(fitted_CX[:, :-1], fitted_CX[:, -1])


def of_windows(data: TrainingData, window_W: Numbers, compute: Callable[[torch.Tensor], Floats]) -> Floats:
    """What is computed (W, P) of cached windows, each by one of the workers.

    Args:
        data: prepared for these windows.
        window_W: their numbers.
        compute: makes (B, P) of what `TrainingData.encoded` gives.
    """
    mine = data.group.shard_of(len(window_W))
    own_W = window_W[mine]
    width = compute(data.encoded(window_W[:1])).shape[1]
    values_WP = torch.zeros(len(window_W), width)
    for start in range(0, len(own_W), _BATCH):
        part = slice(start, min(start + _BATCH, len(own_W)))
        values_WP[mine][part] = torch.from_numpy(compute(data.encoded(own_W[part])))
    return data.group.all_reduce(values_WP).numpy()


def speaker_centred(features_WP: Floats, label_W: Numbers, speaker_W: Numbers, corpus_W: Numbers) -> Floats:
    """Features without what each speaker adds, whichever the emotion, to the mean of his corpus.

    Emotions count alike, and only those that the speaker has: a speaker who is sad throughout is not thought of as
    sad by nature.

    Args:
        features_WP: features of each window.
        label_W: label of each window.
        speaker_W: number of each one's speaker.
        corpus_W: number of each one's corpus.
    """
    centred_WP = features_WP.copy()
    for corpus in np.unique(corpus_W):
        of_corpus_W = corpus_W == corpus
        mean_P = {
            label: features_WP[of_corpus_W & (label_W == label)].mean(axis=0)
            for label in np.unique(label_W[of_corpus_W])
        }
        for speaker in np.unique(speaker_W[of_corpus_W]):
            own_W = np.flatnonzero(speaker_W == speaker)
            labels_W = label_W[own_W]
            added = [features_WP[own_W[labels_W == one]].mean(axis=0) - mean_P[one] for one in np.unique(labels_W)]
            centred_WP[own_W] -= np.mean(added, axis=0)
    return centred_WP


def fit(
    features_WP: Floats, label_W: npt.NDArray[np.int64], weight_W: Floats, num_labels: int, c: float
) -> npt.NDArray[np.float64]:
    """Fit weights of the logits (C, P) and, as the last column, biases, (C, P + 1), for features as they come.

    Args:
        features_WP: features of each window; they are standardised on the way.
        label_W: label of each window; at least two of the labels occur.
        weight_W: weight of each window.
        num_labels: C.
        c: scikit-learn's C: weight of the loss against that of the L2 penalty.
    """
    scaler = StandardScaler()
    standard_WP = scaler.fit_transform(features_WP.astype(np.float64), sample_weight=weight_W)
    # To the same minimum L-BFGS takes four times as long, and stopped early it is another model.
    fitted = LogisticRegression(C=c, solver="newton-cg", max_iter=_MAX_ITERATIONS, tol=_TOLERANCE)
    fitted.fit(standard_WP, label_W, sample_weight=weight_W)
    weight_FP = fitted.coef_ / scaler.scale_
    bias_F1 = fitted.intercept_[:, np.newaxis] - weight_FP @ scaler.mean_[:, np.newaxis]
    fitted_FX = np.concatenate([weight_FP, bias_F1], axis=1)
    if len(fitted.classes_) == 2:
        # scikit-learn has the odds of the second label alone.
        fitted_FX = np.concatenate([np.zeros_like(fitted_FX), fitted_FX])
    fitted_CX = np.zeros((num_labels, features_WP.shape[1] + 1))
    fitted_CX[:, -1] = fitted_FX[:, -1].min() - _NO_WINDOW
    fitted_CX[fitted.classes_] = fitted_FX
    return fitted_CX
