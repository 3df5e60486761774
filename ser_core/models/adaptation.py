"""What of an archive's logits is the archive's and not its emotions', estimated from its windows without labels.

Microphones, rooms, languages and voices move a model's logits all alike, and what it says of an archive shows where to:
a label that is hardly ever said, or all the time, is one that the logits are moved from or to. So the shift is the
logarithm of the mean probability of each label (batch calibration: Zhou et al. 2024, arXiv 2309.17249). Never all of it
is taken away, as archives have moods too. How much depends on how far the archive's statistics lie from the training
corpora's, near which it is nothing, and a little on how many windows there are.

Groups of windows, such as a caller's, differ from their archive in the same way, but have moods more often. Their
shift is what their logits have beyond the archive's shift and beyond those that the model gives to the classes it hears
in them; hearing them anew without it, round by round, is the expectation-maximisation of class means (Busso et al.
2013, 10.1109/T-AFFC.2013.26, do so for neutral speech alone). The less of it is taken, the fewer windows there are.

Shape letters: N windows, G groups of windows, C labels, R components.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from ser_core.errors import ArtifactError
from ser_core.models.artifact import Artifact
from ser_core.models.artifact_config import Adaptation, FolderShift

#: Most of an archive's shift that is taken: more gains where all emotions are alike often, and loses where not.
_MAX_STRENGTH = 0.9
#: The number of windows of which half of that is taken.
_HALF_ARCHIVE_WINDOWS = 8
#: The least mean probability that a label is taken to have: rarer ones are not told apart.
_LEAST_MEAN = 1e-3
#: In distances of unheard speakers of the training corpora: nothing is taken of what lies nearer, all beyond.
_NEAR, _FAR = 3.0, 6.0
_LEAST_DISTANCE = 1e-6
#: From fewer windows nothing is concluded: so few were not tried.
_LEAST_WINDOWS = 16
#: What unheard speech has of the distance between the classes' logits in the training.
_UNHEARD_SHARE = 0.8
_NUM_ROUNDS = 10
#: Most of a group's own shift that is taken, and the number of windows of which half of that is. Rows that are there
#: were made with these: others need a setting that tells them apart.
_MAX_GROUP_STRENGTH = 0.5
_HALF_STRENGTH_WINDOWS = 32
#: Stands for a probability that float32 rounded to zero.
_MIN_PROBABILITY = np.finfo(np.float32).tiny
Floats = npt.NDArray[np.floating]


def estimate_adaptation(artifact: Artifact, logits_NC: Floats, components_NR: Floats, num_files: int) -> Adaptation:
    """The adaptation to the archive that a sample of windows is of; to nothing where there are none.

    Args:
        artifact: the model, as it was trained.
        logits_NC: logits of the sample's windows, as `Predictor.statistics` gives them.
        components_NR: their components, from there too.
        num_files: how many files the windows are of, at least 1 where there are windows.

    Raises:
        ArtifactError: the model cannot be adapted, or is already; or a number is not finite.
    """
    reference, labels, temperature = artifact.require_adaptable(), artifact.config.labels, artifact.config.temperature
    unseen_distance = reference.unseen_distance
    if not len(logits_NC):
        return Adaptation(shift=(0.0,) * len(labels), unseen_distance=unseen_distance)
    logits_NC, components_NR = logits_NC.astype(np.float64), components_NR.astype(np.float64)
    _require_finite(artifact, logits_NC, components_NR)
    logits_NC = logits_NC - logits_NC.mean(axis=1, keepdims=True)
    distance = reference.distance(components_NR.mean(axis=0), num_files)
    strength = _strength(distance, unseen_distance, len(logits_NC))
    before_C = _mean_probabilities(logits_NC / temperature)
    log_mean_C = np.log(before_C + _LEAST_MEAN)
    shift_C = strength * temperature * (log_mean_C - log_mean_C.mean())
    after_C = _mean_probabilities((logits_NC - shift_C) / temperature)
    return Adaptation(
        shift=tuple(shift_C.tolist()),
        strength=strength,
        distance=distance,
        unseen_distance=unseen_distance,
        num_windows=len(logits_NC),
        num_files=num_files,
        mix_before=dict(zip(labels, before_C.tolist(), strict=True)),
        mix_after=dict(zip(labels, after_C.tolist(), strict=True)),
    )


def _strength(distance: float, unseen_distance: float, num_windows: int) -> float:
    """Nothing near the training corpora, all that is ever taken far from them, and in between in proportion."""
    if num_windows < _LEAST_WINDOWS:
        return 0.0
    share = (distance / max(unseen_distance, _LEAST_DISTANCE) - _NEAR) / (_FAR - _NEAR)
    return _MAX_STRENGTH * min(1.0, max(0.0, share)) * num_windows / (num_windows + _HALF_ARCHIVE_WINDOWS)


@dataclass(frozen=True, kw_only=True)
class GroupAdaptation:
    """Adapts the answers of groups of windows, each to itself, beyond what the model is adapted to already."""

    #: The mean logits of each label's windows in the training; each row's mean is 0.
    class_logits_CC: Floats
    #: What divided the logits before they became probabilities.
    temperature: float

    @classmethod
    def of(cls, artifact: Artifact) -> Self:
        """That of a model.

        Raises:
            ArtifactError: it cannot be adapted.
        """
        class_logits_CC = artifact.require_reference().class_logits_CC
        return cls(class_logits_CC=class_logits_CC, temperature=artifact.config.temperature)

    def adapt(self, probabilities_NC: Floats, group_N: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """The probabilities (N, C) of windows without half of their group's shift, or less of a small group's.

        A window's answer depends on the windows of its group and on their order, to the bit on nothing else.

        Args:
            probabilities_NC: what the model says of each window; its logits but for a number that its labels share.
            group_N: the group of each window, 0, 1, 2 ...
        """
        scaled_CN = _scaled(probabilities_NC)
        return _probabilities(scaled_CN, self._own_shifts(scaled_CN, group_N), group_N)

    def shift(self, logits_NC: Floats) -> Floats:
        """What `adapt` takes from the logits (C,) of a group of windows, 1 or more."""
        logits_NC = logits_NC.astype(np.float64)
        scaled_CN = np.ascontiguousarray((logits_NC - logits_NC.mean(axis=1, keepdims=True)).T) / self.temperature
        return self.temperature * self._own_shifts(scaled_CN, np.zeros(len(logits_NC), np.int64))[:, 0]

    def take(
        self, probabilities_NC: Floats, shift_GC: Floats, group_N: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.float32]:
        """The probabilities (N, C) of windows without known shifts of their groups' logits."""
        return _probabilities(_scaled(probabilities_NC), shift_GC.T / self.temperature, group_N)

    def _own_shifts(self, scaled_CN: Floats, group_N: npt.NDArray[np.integer]) -> Floats:
        """What is taken of each group (C, G), over the temperature."""
        num_windows_G = np.bincount(group_N)
        share_G = _MAX_GROUP_STRENGTH * num_windows_G / (num_windows_G + _HALF_STRENGTH_WINDOWS)
        return share_G * _shifts(scaled_CN, group_N, self.class_logits_CC, self.temperature)


def estimate_folder(
    artifact: Artifact, archive_shift: tuple[float, ...], logits_NC: Floats, num_files: int
) -> FolderShift:
    """What is taken of a folder beyond the archive's shift; nothing where its windows are too few.

    Args:
        artifact: the model, as it was trained.
        archive_shift: what is taken of all windows.
        logits_NC: logits of a sample of the folder's windows, as `Predictor.statistics` gives them.
        num_files: how many files the windows are of.

    Raises:
        ArtifactError: the model cannot be adapted; or a number is not finite.
    """
    shift_C: Floats = np.zeros(len(archive_shift))
    if len(logits_NC) >= _LEAST_WINDOWS:
        _require_finite(artifact, logits_NC)
        shift_C = GroupAdaptation.of(artifact).shift(logits_NC.astype(np.float64) - np.array(archive_shift))
    return FolderShift(shift=tuple(shift_C.tolist()), num_windows=len(logits_NC), num_files=num_files)


def _scaled(probabilities_NC: Floats) -> Floats:
    """The logits (C, N) over the temperature, but for a number that a window's labels share."""
    scaled_CN = np.log(np.maximum(probabilities_NC.T.astype(np.float64, order="C"), _MIN_PROBABILITY))
    scaled_CN -= _sum(scaled_CN) / len(scaled_CN)
    return scaled_CN


def _probabilities(scaled_CN: Floats, shift_CG: Floats, group_N: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(_softmax(scaled_CN, shift_CG, group_N).T.astype(np.float32))


def _shifts(scaled_CN: Floats, group_N: npt.NDArray[np.integer], class_logits_CC: Floats, temperature: float) -> Floats:
    """What the logits of each group (C, G) have beyond those of the classes heard in it; all over the temperature."""
    mean_C = class_logits_CC.mean(axis=0)
    expected_CC = (mean_C + _UNHEARD_SHARE * (class_logits_CC - mean_C)) / temperature
    means_CG = _means(scaled_CN, group_N)
    shift_CG = np.zeros_like(means_CG)
    for _ in range(_NUM_ROUNDS):
        heard_CG = _means(_softmax(scaled_CN, shift_CG, group_N), group_N)
        # No product of matrices, which may round otherwise where there are more groups.
        shift_CG = means_CG - _sum(
            heard_G * expected_C[:, np.newaxis] for heard_G, expected_C in zip(heard_CG, expected_CC, strict=True)
        )
    return shift_CG


def _softmax(scaled_CN: Floats, shift_CG: Floats, group_N: npt.NDArray[np.integer]) -> Floats:
    odds_CN = np.take(shift_CG, group_N, axis=1)
    np.subtract(scaled_CN, odds_CN, out=odds_CN)
    odds_CN -= odds_CN.max(axis=0)
    np.exp(odds_CN, out=odds_CN)
    odds_CN /= _sum(odds_CN)
    return odds_CN


def _means(values_CN: Floats, group_N: npt.NDArray[np.integer]) -> Floats:
    """The mean (C, G) of each group's windows, added up in their order; 0 of a group without any."""
    sums_CG = np.stack([np.bincount(group_N, weights=values_N) for values_N in values_CN])
    return sums_CG / np.maximum(np.bincount(group_N), 1)


def _sum(arrays: Iterable[Floats]) -> Floats:
    """Added up one after the other, however many elements they have."""
    return functools.reduce(np.add, arrays)


def _require_finite(artifact: Artifact, *arrays: Floats) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise ArtifactError(f"model '{artifact.identity}': it gives what is no number; the weights are broken")


def _mean_probabilities(logits_NC: Floats) -> Floats:
    """How often each label is said (C,)."""
    mean_C: Floats = softmax(logits_NC, axis=1).mean(axis=0)
    return mean_C
