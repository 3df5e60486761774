"""What speakers differ in counts less in a regression."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ser_core.training.fitting.nuisances import Damping, Nuisance, speaker_offsets
from ser_core.training.fitting.regression import fit

NUM_FEATURES, NUM_SPEAKERS, NUM_LABELS = 40, 12, 3
_rng = np.random.default_rng(3)
#: What a voice changes: the features of the emotions among them.
VOICE_P = np.where(np.arange(NUM_FEATURES) < 20, 3.0, 0.0)
LABEL_CP = 1.2 * np.eye(NUM_LABELS, NUM_FEATURES) + np.eye(NUM_LABELS, NUM_FEATURES, 25)


def clips(voice_S: np.ndarray, num: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (W, P), labels and speakers of clips by voices that differ in one direction."""
    speaker_W = np.repeat(np.arange(len(voice_S)), num * NUM_LABELS)
    label_W = np.tile(np.repeat(np.arange(NUM_LABELS), num), len(voice_S))
    noise_WP = _rng.normal(size=(len(label_W), NUM_FEATURES))
    return LABEL_CP[label_W] + voice_S[speaker_W, np.newaxis] * VOICE_P + noise_WP, label_W, speaker_W


def fitted(share: float, started_CX: np.ndarray | None = None, c: float = 0.01) -> np.ndarray:
    features_WP, label_W, speaker_W = TRAINING
    offset_SP, _ = speaker_offsets(features_WP, label_W, speaker_W, np.zeros_like(label_W))
    nothing_CX = np.zeros((NUM_LABELS, NUM_FEATURES + 1))
    started_CX = nothing_CX if started_CX is None else started_CX
    return fit(features_WP, label_W, np.ones(len(label_W)), started_CX, c, [Nuisance(offset_SP, 8, share), OTHER])


#: Another one, whose directions are not at right angles to those of voices.
OTHER = Nuisance(_rng.normal(size=(5, NUM_FEATURES)), 2, 0.6)
TRAINING = clips(_rng.normal(size=NUM_SPEAKERS))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_it_is_scikit_learns_on_what_is_left(share: float) -> None:
    features_WP, label_W, speaker_W = TRAINING
    offset_SP, _ = speaker_offsets(features_WP, label_W, speaker_W, np.zeros_like(label_W))
    scaler = StandardScaler().fit(features_WP)
    directions_RP = np.linalg.svd(offset_SP / scaler.scale_, full_matrices=False)[2][:8]
    standard_WP = scaler.transform(features_WP)
    left_WP = standard_WP - share * standard_WP @ directions_RP.T @ directions_RP
    other_RP = np.linalg.svd(OTHER.differences_DP / scaler.scale_, full_matrices=False)[2][:2]
    left_WP = left_WP - 0.6 * left_WP @ other_RP.T @ other_RP
    theirs = LogisticRegression(C=0.01, tol=1e-10, max_iter=10_000).fit(left_WP, label_W)
    fitted_CX = fitted(share)
    found_WC = log_softmax(features_WP @ fitted_CX[:, :-1].T + fitted_CX[:, -1], axis=1)
    np.testing.assert_allclose(found_WC, theirs.predict_log_proba(left_WP), atol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_weights_that_it_starts_from_stay_where_clips_count_for_nothing(share: float) -> None:
    started_CX = _rng.normal(size=(NUM_LABELS, NUM_FEATURES + 1))
    np.testing.assert_allclose(fitted(share, started_CX, c=1e-12), started_CX, atol=1e-6)


def test_what_speakers_differ_in_is_halved_and_the_rest_left() -> None:
    across_P = np.where(np.arange(NUM_FEATURES) >= 20, 1.0, 0.0)
    values_XP, ones_P = np.stack([VOICE_P, across_P]), np.ones(NUM_FEATURES)
    halved = Damping([Nuisance(VOICE_P[np.newaxis], 8, 0.5)], ones_P)
    np.testing.assert_allclose(halved.of_features(values_XP), np.stack([VOICE_P / 2, across_P]), atol=1e-9)
    np.testing.assert_allclose(
        Damping([Nuisance(VOICE_P[np.newaxis], 8, 0.0)], ones_P).of_features(values_XP), values_XP
    )
