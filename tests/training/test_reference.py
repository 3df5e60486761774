"""What a regression is fitted to, and what a model keeps of its training data to tell how far an archive lies."""

import numpy as np

from ser_core.training.fitting.nuisances import speaker_offsets
from ser_core.training.fitting.reference import reference_of

NUM_FEATURES = 12
_rng = np.random.default_rng(0)
LABEL_P = _rng.normal(0, 1, (3, NUM_FEATURES))
SPEAKER_P = _rng.normal(0, 0.5, (12, NUM_FEATURES))
CORPUS_P = _rng.normal(0, 3, (3, NUM_FEATURES))


def windows(speakers: range, corpus: int, labels: tuple[int, ...] = (0, 1, 2), num: int = 40) -> tuple[np.ndarray, ...]:
    """Features, labels, speakers and corpora of windows."""
    label_W = np.tile(np.repeat(labels, num), len(speakers))
    speaker_W = np.repeat(list(speakers), len(labels) * num)
    noise_WP = _rng.normal(0, 0.3, (len(label_W), NUM_FEATURES))
    features_WP = LABEL_P[label_W] + SPEAKER_P[speaker_W] + CORPUS_P[corpus] + noise_WP
    return features_WP, label_W, speaker_W, np.full(len(label_W), corpus)


def joined(*parts: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def speaker_centred(features_WP: np.ndarray, *groups_W: np.ndarray) -> np.ndarray:
    offset_SP, row_W = speaker_offsets(features_WP, *groups_W)
    return features_WP - offset_SP[row_W]


def test_what_a_speaker_adds_is_taken_away_and_what_a_corpus_adds_stays() -> None:
    features_WP, label_W, speaker_W, corpus_W = joined(windows(range(4), 0), windows(range(4, 8), 1))
    centred_WP = speaker_centred(features_WP, label_W, speaker_W, corpus_W)
    for corpus, speakers in ((0, range(4)), (1, range(4, 8))):
        expected_P = SPEAKER_P[list(speakers)].mean(axis=0) + CORPUS_P[corpus]
        for speaker in speakers:
            for label in range(3):
                found_P = centred_WP[(speaker_W == speaker) & (label_W == label)].mean(axis=0)
                np.testing.assert_allclose(found_P, LABEL_P[label] + expected_P, atol=0.25)
    assert np.abs(centred_WP - features_WP).max() > 0.3


def test_a_speaker_of_one_emotion_keeps_it() -> None:
    parts = joined(windows(range(4), 0), windows(range(4, 5), 0, labels=(2,)))
    centred_WP = speaker_centred(*parts)
    others_P, own_P = (centred_WP[(parts[2] == who) & (parts[1] == 2)].mean(axis=0) for who in (0, 4))
    np.testing.assert_allclose(own_P, others_P, atol=0.3)


def test_a_corpus_of_one_speaker_stays_as_it_is() -> None:
    parts = windows(range(1), 0)
    np.testing.assert_allclose(speaker_centred(*parts), parts[0], atol=1e-9)


def test_unseen_speakers_lie_near_and_other_corpora_far_whatever_their_mix() -> None:
    features_WP, *groups = joined(windows(range(5), 0), windows(range(5, 10), 1))
    logits_WC = 2.0 * np.eye(3)[groups[0]]
    reference = reference_of(features_WP.astype(np.float32), logits_WC, *groups)

    def distance(part: tuple[np.ndarray, ...]) -> float:
        return reference.distance((part[0].astype(np.float32) @ reference.components_PR).mean(axis=0), 1_000)

    assert 0 < reference.unseen_distance < 1.5
    for labels in ((0, 1, 2), (2,)):
        assert distance(windows(range(10, 12), 1, labels)) < 3 * reference.unseen_distance
        assert distance(windows(range(10, 12), 2, labels)) > 6 * reference.unseen_distance
    np.testing.assert_allclose(reference.class_logits_CC, 2.0 * np.eye(3) - 2 / 3, atol=1e-6)


def test_a_label_without_windows_has_the_mean_of_the_others() -> None:
    features_WP, *groups = windows(range(3), 0, labels=(0, 2))
    reference = reference_of(features_WP, np.eye(3)[groups[0]], *groups)
    assert np.isfinite(reference.class_logits_CC).all()
    np.testing.assert_allclose(reference.class_logits_CC[1], reference.class_logits_CC[[0, 2]].mean(axis=0), atol=1e-6)


def test_without_a_second_speaker_nothing_is_known_of_unseen_ones() -> None:
    features_WP, *groups = windows(range(1), 0)
    assert reference_of(features_WP, np.eye(3)[groups[0]], *groups).unseen_distance == 1.0
