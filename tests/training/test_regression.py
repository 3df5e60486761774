"""The part of a model that is fitted to its minimum, and what it is fitted to."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ser_core.training.regression import fit

C = 0.05


def clips(num: int = 90, num_labels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Features of very unlike scales, (W, P), and labels that they tell."""
    rng = np.random.default_rng(5)
    label_W = np.arange(num) % num_labels
    features_WP = rng.normal(size=(num, 12)) + 0.7 * np.eye(12)[label_W]
    return features_WP * np.geomspace(1e-3, 1e3, 12) + 5, label_W


def log_probabilities(fitted_CX: np.ndarray, features_WP: np.ndarray) -> np.ndarray:
    return log_softmax(features_WP @ fitted_CX[:, :-1].T + fitted_CX[:, -1], axis=1)


@pytest.mark.parametrize("num_labels", [2, 3])
def test_it_is_scikit_learns_on_standardised_features(num_labels: int) -> None:
    features_WP, label_W = clips(num_labels=num_labels)
    fitted_CX = fit(features_WP, label_W, np.ones(len(label_W)), num_labels, C)
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=C, tol=1e-10, max_iter=10_000))
    expected = theirs.fit(features_WP, label_W).predict_log_proba(features_WP)
    np.testing.assert_allclose(log_probabilities(fitted_CX, features_WP), expected, atol=1e-4)


def test_nothing_near_it_is_better() -> None:
    features_WP, label_W = clips()
    scale_P, mean_P = features_WP.std(axis=0), features_WP.mean(axis=0)
    fitted_CX = fit(features_WP, label_W, np.ones(len(label_W)), 3, C)

    def loss(standard_CX: np.ndarray) -> float:
        log_WC = log_probabilities(standard_CX, (features_WP - mean_P) / scale_P)
        return float(-C * log_WC[np.arange(len(label_W)), label_W].sum() + 0.5 * (standard_CX[:, :-1] ** 2).sum())

    bias_C1 = fitted_CX[:, -1:] + fitted_CX[:, :-1] @ mean_P[:, np.newaxis]
    at = np.concatenate([fitted_CX[:, :-1] * scale_P, bias_C1], axis=1)
    rng = np.random.default_rng(6)
    assert all(loss(at + 1e-2 * rng.normal(size=at.shape)) > loss(at) for _ in range(100))


def test_a_clip_that_counts_twice_is_two_clips() -> None:
    features_WP, label_W = clips()
    weight_W = 1.0 + (np.arange(len(label_W)) % 4 == 0)
    twice = np.repeat(np.arange(len(label_W)), weight_W.astype(int))
    one = fit(features_WP, label_W, weight_W, 3, C)
    other = fit(features_WP[twice], label_W[twice], np.ones(len(twice)), 3, C)
    np.testing.assert_allclose(log_probabilities(one, features_WP), log_probabilities(other, features_WP), atol=1e-4)


def test_a_label_without_clips_is_hardly_ever_the_answer() -> None:
    features_WP, label_W = clips(num_labels=2)
    log_WC = log_probabilities(fit(features_WP, label_W * 3, np.ones(len(label_W)), 4, C), features_WP)
    assert (log_WC[:, [1, 2]] < np.log(1e-3)).all()
    assert (log_WC[:, [0, 3]].argmax(axis=1) * 3 == label_W * 3).mean() > 0.6
