"""What training speakers differ in, whichever the emotion, and how little of it a regression is to see.

Shape letters: S speakers, W windows, P features, R directions.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from ser_core.training.data import Numbers

#: Directions that speakers differ most in; most of what twenty or thirty of them differ in.
_NUM_DIRECTIONS = 8
Floats = npt.NDArray[np.floating]


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
class Damping:
    """Takes a share away of what features hold along some directions.

    All of it is nuisance attribute projection (Solomonoff, Campbell and Boardman 2005, "Advances in channel
    compensation for SVM speaker recognition"), which also loses what voices and emotions have in common.
    """

    directions_RP: Floats
    share: float

    @classmethod
    def of_speakers(cls, offset_SP: Floats, share: float) -> "Damping":
        """Along what these speakers differ most in.

        Args:
            offset_SP: what each adds, in units in which features are comparable.
            share: of it that is taken away, below 1.
        """
        if not share:
            return cls(offset_SP[:0], 0.0)
        return cls(np.linalg.svd(offset_SP, full_matrices=False)[2][:_NUM_DIRECTIONS], share)

    def damp(self, values_XP: Floats) -> Floats:
        """Features (..., P) with less of it; or weights of features as they come, of those of damped ones."""
        return self._scaled(values_XP, 1 - self.share)

    def undo(self, values_XP: Floats) -> Floats:
        """What `damp` makes these values (..., P) of."""
        return self._scaled(values_XP, 1 / (1 - self.share))

    def _scaled(self, values_XP: Floats, factor: float) -> Floats:
        along_XR = values_XP @ self.directions_RP.T
        scaled_XP: Floats = values_XP + (factor - 1) * along_XR @ self.directions_RP
        return scaled_XP
