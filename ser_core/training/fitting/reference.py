"""What a model keeps of its training data, so that it can be adapted to archives that lie elsewhere.

Shape letters: N clips in training, W windows, P features, R components, D corpora, C labels.
"""

import numpy as np
import torch
from sklearn.decomposition import PCA

from ser_core.models import Reference, SpeechModel
from ser_core.training.data import Numbers, TrainingData
from ser_core.training.fitting.computed import Floats, of_windows

_NUM_COMPONENTS = 64
#: Share of the mean variance that is added to each component's: those that hardly vary tell nothing.
_REGULARISATION = 0.01
#: Where no corpus has a second speaker: that far from each other are two windows' halves.
_UNKNOWN_DISTANCE = 1.0
_LEAST_DEVIATION = 1e-6


def fit_reference(model: SpeechModel, data: TrainingData, training_N: Numbers) -> Reference | None:
    """The reference of a trained model, in evaluation mode; None where it has no regression. All workers must call it.

    Args:
        model: as it will be stored.
        data: prepared for these clips.
        training_N: the training set.
    """
    if model.regression is None:
        return None
    window_W, owner_W = data.learned_windows(training_N)
    groups_W = [of_G[training_N][owner_W] for of_G in data.clips.groups]

    @torch.no_grad()
    def logits(encoded: torch.Tensor) -> Floats:
        logits_BC: Floats = model.forward_encoded(encoded).float().cpu().numpy()
        return logits_BC

    features_WP = of_windows(data, window_W, data.front_end.regression_features)
    logits_WC = of_windows(data, window_W, logits)
    return reference_of(features_WP, logits_WC, *groups_W)


def reference_of(
    features_WP: Floats, logits_WC: Floats, label_W: Numbers, speaker_W: Numbers, corpus_W: Numbers
) -> Reference:
    """The reference of a model that gives these windows these logits.

    Args:
        features_WP: features of each window.
        logits_WC: logits of each window.
        label_W: label of each window.
        speaker_W: number of each one's speaker.
        corpus_W: number of each one's corpus.
    """
    components_PR = _components(features_WP, corpus_W).astype(np.float16).astype(np.float32)
    components_WR = features_WP.astype(np.float32) @ components_PR
    means_DR = np.stack([components_WR[corpus_W == corpus].mean(axis=0) for corpus in np.unique(corpus_W)])
    return Reference(
        components_PR=components_PR,
        means_DR=means_DR,
        class_logits_CC=_class_logits(logits_WC, label_W, speaker_W).astype(np.float32),
        unseen_distance=_unseen_distance(components_WR, speaker_W, corpus_W),
    )


def _components(features_WP: Floats, corpus_W: Numbers) -> Floats:
    centred_WP = features_WP.astype(np.float64)
    for corpus in np.unique(corpus_W):
        centred_WP[corpus_W == corpus] -= centred_WP[corpus_W == corpus].mean(axis=0)
    deviation_P = centred_WP.std(axis=0).clip(min=_LEAST_DEVIATION)
    centred_WP /= deviation_P
    num_components = min(_NUM_COMPONENTS, *centred_WP.shape)
    found = PCA(num_components, svd_solver="randomized", random_state=0).fit(centred_WP)
    variance_R = found.explained_variance_ + _REGULARISATION * found.explained_variance_.mean()
    components_PR: Floats = found.components_.T / deviation_P[:, np.newaxis] / np.sqrt(variance_R)
    return components_PR


def _class_logits(logits_WC: Floats, label_W: Numbers, speaker_W: Numbers) -> Floats:
    """The mean over speakers of each label's mean logits; of a label without windows, the mean of the others."""
    logits_WC = logits_WC.astype(np.float64)
    logits_WC = logits_WC - logits_WC.mean(axis=1, keepdims=True)
    class_logits_CC = np.full((logits_WC.shape[1], logits_WC.shape[1]), np.nan)
    for label in np.unique(label_W):
        is_label_W = label_W == label
        means = [logits_WC[is_label_W & (speaker_W == one)].mean(axis=0) for one in np.unique(speaker_W[is_label_W])]
        class_logits_CC[label] = np.mean(means, axis=0)
    return np.where(np.isnan(class_logits_CC), np.nanmean(class_logits_CC, axis=0), class_logits_CC)


def _unseen_distance(components_WR: Floats, speaker_W: Numbers, corpus_W: Numbers) -> float:
    """The mean distance of a speaker's mean from that of all others of his corpus."""
    distances = []
    for speaker in np.unique(speaker_W):
        is_own_W = speaker_W == speaker
        is_other_W = (corpus_W == corpus_W[is_own_W][0]) & ~is_own_W
        if is_other_W.any():
            apart_R = components_WR[is_own_W].mean(axis=0) - components_WR[is_other_W].mean(axis=0)
            distances.append(float(np.square(apart_R).mean()))
    return float(np.mean(distances)) if distances else _UNKNOWN_DISTANCE
