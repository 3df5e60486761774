"""The part of a model that is fitted to its minimum, and what it is fitted to."""

from functools import partial

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ser_core.training.fitting.least_squares import fit_squared
from ser_core.training.fitting.regression import fit as fit_from

C = 0.05


def fit(features_WP: np.ndarray, label_W: np.ndarray, weight_W: np.ndarray, num_labels: int, c: float) -> np.ndarray:
    """From nothing."""
    return fit_from(features_WP, label_W, weight_W, np.zeros((num_labels, features_WP.shape[1] + 1)), c)


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


@pytest.mark.parametrize("num_labels", [2, 3])
def test_more_features_than_clips_are_read_as_scikit_learn_does(num_labels: int) -> None:
    features_WP, label_W = clips(num=30, num_labels=num_labels)
    wide_WP = np.hstack([features_WP, features_WP**2, np.random.default_rng(1).normal(size=(30, 40)), 0 * features_WP])
    weight_W = 1.0 + (np.arange(30) % 2)
    fitted_CX = fit(wide_WP, label_W, weight_W, num_labels, C)
    scaler = StandardScaler().fit(wide_WP, sample_weight=weight_W)
    theirs = LogisticRegression(C=C, tol=1e-10, max_iter=10_000)
    theirs.fit(scaler.transform(wide_WP), label_W, sample_weight=weight_W)
    expected = theirs.predict_log_proba(scaler.transform(wide_WP))
    np.testing.assert_allclose(log_probabilities(fitted_CX, wide_WP), expected, atol=1e-4)


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


def test_what_it_starts_from_is_left_as_far_as_the_clips_ask_for_it() -> None:
    features_WP, label_W = clips()
    ones_W, moved_W = np.ones(len(label_W)), (label_W + 1) % 3
    started_CX = fit(features_WP, moved_W, ones_W, 3, C)
    distances = []
    for c in (1e-9, C, 1e3):
        fitted_CX = fit_from(features_WP, label_W, ones_W, started_CX, c)
        distances.append(np.abs((fitted_CX - started_CX)[:, :-1] * features_WP.std(axis=0)).max())
    assert distances[0] < 1e-6
    assert 0.1 < distances[1] < distances[2]
    far_CX = fit_from(features_WP, label_W, ones_W, started_CX, 1.0)
    accuracies = [
        (log_probabilities(one, features_WP).argmax(axis=1) == label_W).mean() for one in (started_CX, far_CX)
    ]
    assert accuracies[0] < 0.3
    assert accuracies[1] > 0.5


def test_drawn_to_next_to_nothing_it_is_scikit_learns() -> None:
    features_WP, label_W = clips()
    ones_W, nearly_CX = np.ones(len(label_W)), np.full((3, 13), 1e-12)
    drawn, plain = fit_from(features_WP, label_W, ones_W, nearly_CX, C), fit(features_WP, label_W, ones_W, 3, C)
    np.testing.assert_allclose(log_probabilities(drawn, features_WP), log_probabilities(plain, features_WP), atol=1e-4)


def test_only_labels_that_have_clips_are_moved_from_where_they_were() -> None:
    features_WP, label_W = clips(num_labels=2)
    started_CX = np.random.default_rng(1).normal(size=(4, 13)) / features_WP.std()
    fitted_CX = fit_from(features_WP, label_W * 3, np.ones(len(label_W)), started_CX, C)
    log_WC = log_probabilities(fitted_CX, features_WP)
    assert (log_WC.argmax(axis=1) == label_W * 3).mean() > 0.6
    assert not fitted_CX[[1, 2], :-1].any()


def squared(
    features_WP: np.ndarray, label_W: np.ndarray, apart_W: np.ndarray | None = None, c: float = C
) -> np.ndarray:
    of_loss = partial(fit_squared, apart_W=np.arange(len(label_W)) if apart_W is None else apart_W)
    weight_W = 1.0 + (np.arange(len(label_W)) % 2)
    return fit_from(features_WP, label_W, weight_W, np.zeros((3, features_WP.shape[1] + 1)), c, (), of_loss)


@pytest.mark.parametrize("width", [12, 200])
def test_squared_it_is_scikit_learns_ridge_but_for_one_scale(width: int) -> None:
    features_WP, label_W = clips()
    wide_WP = np.hstack([features_WP, np.random.default_rng(1).normal(size=(len(label_W), width - 12))])
    fitted_CX = squared(wide_WP, label_W)
    weight_W = 1.0 + (np.arange(len(label_W)) % 2)
    scaler = StandardScaler().fit(wide_WP, sample_weight=weight_W)
    theirs = Ridge(alpha=1 / C).fit(scaler.transform(wide_WP), np.eye(3)[label_W], sample_weight=weight_W)
    said_WC = theirs.predict(scaler.transform(wide_WP))
    logits_WC = wide_WP @ fitted_CX[:, :-1].T + fitted_CX[:, -1]
    np.testing.assert_allclose(logits_WC / said_WC, np.mean(logits_WC / said_WC), rtol=1e-4)


def test_squared_it_is_as_sure_of_what_it_has_not_heard_as_it_is_right() -> None:
    """Many features for few clips: what is said of the training clips themselves is nearly always right."""
    rng = np.random.default_rng(2)
    label_W = np.arange(1_200) % 3
    features_WP = rng.normal(size=(1_200, 150)) + 0.6 * np.eye(150)[label_W]
    fitted_CX = squared(features_WP[:150], label_W[:150], c=0.01)
    heard, unheard = (log_probabilities(fitted_CX, features_WP[part]) for part in (slice(150), slice(150, None)))
    right = (heard.argmax(axis=1) == label_W[:150]).mean(), (unheard.argmax(axis=1) == label_W[150:]).mean()
    sure = np.exp(unheard).max(axis=1).mean()
    assert right[0] > 0.9
    assert right[1] < 0.7
    assert abs(sure - right[1]) < 0.05


def test_squared_clips_of_one_speaker_are_not_predicted_from_each_other() -> None:
    """Each speaker's voice tells his label, and nothing of the others'."""
    rng = np.random.default_rng(3)
    speaker_W = np.repeat(np.arange(30), 5)
    label_W = rng.permutation(np.arange(30) % 3)[speaker_W]
    features_WP = rng.normal(size=(30, 60))[speaker_W] + 0.1 * rng.normal(size=(150, 60))
    sure = {
        name: np.exp(log_probabilities(squared(features_WP, label_W, apart_W, 1.0), features_WP)).max(axis=1).mean()
        for name, apart_W in {"clips": None, "speakers": speaker_W, "one speaker": 0 * speaker_W}.items()
    }
    assert sure["speakers"] < 0.5
    assert sure["clips"] == sure["one speaker"] > 0.9


def test_squared_a_label_without_clips_is_hardly_ever_the_answer() -> None:
    features_WP, label_W = clips(num_labels=2)
    assert log_probabilities(squared(features_WP, label_W), features_WP)[:, 2].max() < -8
