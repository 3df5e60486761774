"""What a model's regression is fitted to, and the fit: multinomial logistic, to its minimum (scikit-learn's Newton).

Shape letters: G clips, N clips in training, W windows, P features, C labels.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ser_core import augment
from ser_core.feature_store import FeatureStore
from ser_core.hearing import digest_of
from ser_core.models.regression import Regression
from ser_core.sampling import class_weights, turns
from ser_core.training_data import TrainingData
from ser_core.training_windows import Numbers

_BATCH = 64
_MAX_ITERATIONS = 1_000
#: Of the gradient: features that differ by rounding then give weights that do so too.
_TOLERANCE = 1e-5
#: So far below the lowest bias lies that of a label with no window.
_NO_WINDOW = 10.0
Floats = npt.NDArray[np.floating]
Say = Callable[[int, int], None]


def fit_regression(regression: Regression, data: TrainingData, training_N: Numbers, say: Say) -> None:
    """Fit a model's regression to the windows that are learned from; all workers must call it, and get the same.

    Every clip counts as often as an epoch hears it, and as its emotion does in the loss, its copies included. Labels
    are as they are: neither smoothed nor mixed, and no teacher is asked.

    Args:
        regression: is fitted.
        data: prepared for these clips.
        training_N: the training set.
        say: is told how many of the copies' blocks are done.
    """
    config, clips = data.config, data.clips
    windows = [data.windows.learned[clip] for clip in training_N]
    owner_W = np.repeat(np.arange(len(training_N)), [len(part) for part in windows])
    parts = [_of_windows(data, np.concatenate(windows))]
    parts += [_of_copy(data, number, training_N, say) for number in range(config.regression_copies)]
    found: bytes | None = None
    if data.team.is_leader:
        label_N = clips.label_G[training_N]
        weight_N = turns(clips.stratum_G[training_N], config.sampling)
        weight_N = weight_N * class_weights(label_N, len(data.labels), config.class_weighting)[label_N]
        place_W = np.concatenate([owner_W, *[np.arange(len(training_N))] * config.regression_copies])
        weight_W = (weight_N / np.bincount(place_W))[place_W]
        fitted_CX = fit(np.concatenate(parts), label_N[place_W], weight_W, len(data.labels), config.regression_c)
        found = fitted_CX.astype(np.float32).tobytes()
    found = data.team.from_leader(found)
    assert found is not None
    fitted = torch.frombuffer(bytearray(found), dtype=torch.float32).view(len(data.labels), -1)
    regression.set(fitted[:, :-1], fitted[:, -1])


def _of_windows(data: TrainingData, window_W: Numbers) -> Floats:
    """The features of kept windows (W, P), each computed by one of the workers."""
    mine = data.team.share_of(len(window_W))
    own_W = window_W[mine]
    features_WP = torch.zeros(len(window_W), data.hearing.num_regression_features)
    for start in range(0, len(own_W), _BATCH):
        part = slice(start, min(start + _BATCH, len(own_W)))
        found = data.hearing.regression_features(data.hearing.encoded(data.kept[own_W[part]]))
        features_WP[mine][part] = torch.from_numpy(found)
    return data.team.sum_up(features_WP).numpy()


def _of_copy(data: TrainingData, number: int, training_N: Numbers, say: Say) -> Floats:
    """The features of each clip's copy of that number (N, P), kept as they are the same in every fold."""
    settings = dataclasses.replace(data.config.augmentation, mixup_probability=0.0)
    facts = [number, data.config.seed, data.config.window_seconds, settings.to_dict(), data.hearing.regression_key]
    shape = (data.hearing.num_regression_features,)
    store = FeatureStore(
        data.folder / f"{data.waveforms.key}-copy-{digest_of(facts)}", len(data.waveforms), shape, np.float32
    )
    store.fill(training_N, lambda clip_B: _heard_copies(data, number, clip_B), data.team, say)
    return store[training_N]


def _heard_copies(data: TrainingData, number: int, clip_B: Numbers) -> Floats:
    draws = [functools.partial(augment.generator, data.config.seed, number, clip) for clip in clip_B.tolist()]
    mel_BFT = data.hearing.mel(data.random_windows(clip_B, draws))
    augment.change_mels(mel_BFT, data.config.augmentation, draws)
    return data.hearing.regression_features(data.hearing.encode(mel_BFT))


def fit(
    features_WP: Floats, label_W: npt.NDArray[np.int64], weight_W: Floats, num_labels: int, c: float
) -> npt.NDArray[np.float64]:
    """Weights of the logits, and last of each row the bias, (C, P + 1), for features as they come.

    Args:
        features_WP: what is known of each window; it is standardised on the way.
        label_W: what is right for each; at least two of the labels occur.
        weight_W: what each counts.
        num_labels: C.
        c: scikit-learn's: what a window of weight 1 counts against the weights' square.
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
