"""What moves features and says nothing of an emotion, as who speaks does, and how little of it a regression is to see.

Shape letters: S speakers, W windows, P features, D differences, R directions, F labels.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ser_core.training.data import Numbers
from ser_core.training.fitting.computed import Floats


def speaker_offsets(
    features_WP: Floats, label_W: Numbers, speaker_W: Numbers, corpus_W: Numbers
) -> tuple[Floats, Numbers]:
    """What each speaker adds (S, P) to the mean of his corpus, and the row of it (W) for each window.

    Emotions count alike, and only those that the speaker has: a speaker who is sad throughout is not thought of as
    sad by nature.

    Args:
        features_WP: features of each window.
        label_W: label of each window.
        speaker_W: number of each one's speaker.
        corpus_W: number of each one's corpus.
    """
    speakers, row_W = np.unique(speaker_W, return_inverse=True)
    offset_SP = np.zeros((len(speakers), features_WP.shape[1]), features_WP.dtype)
    for corpus in np.unique(corpus_W):
        is_corpus_W = corpus_W == corpus
        mean_P = {
            label: features_WP[is_corpus_W & (label_W == label)].mean(axis=0)
            for label in np.unique(label_W[is_corpus_W])
        }
        for row in np.unique(row_W[is_corpus_W]):
            own_W = np.flatnonzero(row_W == row)
            labels_W = label_W[own_W]
            added = [features_WP[own_W[labels_W == one]].mean(axis=0) - mean_P[one] for one in np.unique(labels_W)]
            offset_SP[row] = np.mean(added, axis=0)
    return offset_SP, row_W


@dataclasses.dataclass(frozen=True)
class Nuisance:
    """What moves features and says nothing of an emotion."""

    #: Differences (D, P) of features that it makes.
    differences_DP: Floats
    #: Number of directions, of those that they differ most in.
    num_directions: int
    #: Of what lies along them that is taken away, below 1; 0: nothing.
    share: float


class Damping:
    """Takes a share of nuisances out of standardised features, one after the other.

    All of it is nuisance attribute projection (Solomonoff, Campbell and Boardman 2005, "Advances in channel
    compensation for SVM speaker recognition"), which also loses what voices and emotions have in common.
    """

    def __init__(self, nuisances: Sequence[Nuisance], scale_P: Floats) -> None:
        """Find the directions.

        Args:
            nuisances: in features as they come.
            scale_P: deviation of each feature.
        """
        self._parts = [(_directions(one.differences_DP / scale_P, one.num_directions), 1 - one.share)
                       for one in nuisances if one.share]  # fmt: skip

    def of_features(self, standard_WP: Floats) -> Floats:
        """Features (W, P) with less of it."""
        for directions_RP, left in self._parts:
            standard_WP = _scaled(standard_WP, directions_RP, left)
        return standard_WP

    def of_weights(self, weight_FP: Floats) -> Floats:
        """Weights (F, P) of features as they come, of those for damped ones."""
        for directions_RP, left in reversed(self._parts):
            weight_FP = _scaled(weight_FP, directions_RP, left)
        return weight_FP

    def undone_of_weights(self, weight_FP: Floats) -> Floats:
        """Weights (F, P) for damped features, of those of features as they come."""
        for directions_RP, left in self._parts:
            weight_FP = _scaled(weight_FP, directions_RP, 1 / left)
        return weight_FP


def _directions(differences_DP: Floats, num: int) -> Floats:
    directions_RP: Floats = np.linalg.svd(differences_DP, full_matrices=False)[2][:num]
    return directions_RP


def _scaled(values_XP: Floats, directions_RP: Floats, factor: float) -> Floats:
    along_XR = values_XP @ directions_RP.T
    scaled_XP: Floats = values_XP + (factor - 1) * along_XR @ directions_RP
    return scaled_XP
