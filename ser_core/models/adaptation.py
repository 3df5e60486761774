"""What of an archive's logits is the archive's and not its emotions', estimated from its windows without labels.

Microphones, rooms, languages and voices move a model's logits all alike. The shift is what the logits of a sample
have beyond those that the model gives to the classes it hears in it; hearing them anew without it, round by round, is
the expectation-maximisation of class means (Busso et al. 2013, 10.1109/T-AFFC.2013.26, do so for neutral speech
alone), so that a sad archive is not taken for a sad microphone. How much of it is taken away depends on how far the
archive's statistics lie from the training corpora's: near them nothing, and never more than half.

Shape letters: N windows, C labels, R components.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from ser_core.errors import ArtifactError, UsageError
from ser_core.models.artifact import Artifact
from ser_core.models.artifact_config import Adaptation

#: Most of the estimated shift that is taken: more gains where all emotions are alike often, and loses where not.
_MAX_STRENGTH = 0.5
#: In distances of unheard speakers of the training corpora: nothing is taken of what lies nearer, all beyond.
_NEAR, _FAR = 3.0, 6.0
_LEAST_DISTANCE = 1e-6
#: From fewer windows nothing is concluded: so few were not tried.
_LEAST_WINDOWS = 16
#: What unheard speech has of the distance between the classes' logits in the training.
_UNHEARD_SHARE = 0.8
_NUM_ROUNDS = 10
Floats = npt.NDArray[np.floating]


def estimate_adaptation(artifact: Artifact, logits_NC: Floats, components_NR: Floats, num_files: int) -> Adaptation:
    """The adaptation to the archive that a sample of windows is of; to nothing where there are none.

    Args:
        artifact: the model, as it was trained.
        logits_NC: logits of the sample's windows, as `Predictor.statistics` gives them.
        components_NR: their components, from there too.
        num_files: how many files the windows are of, at least 1 where there are windows.

    Raises:
        UsageError: the model cannot be adapted.
        ArtifactError: a number is not finite.
    """
    reference, labels, temperature = artifact.reference, artifact.config.labels, artifact.config.temperature
    if reference is None:
        raise UsageError(f"model '{artifact.identity}' cannot be adapted: it holds no reference statistics")
    unseen_distance = reference.unseen_distance
    if not len(logits_NC):
        return Adaptation(shift=(0.0,) * len(labels), unseen_distance=unseen_distance)
    logits_NC, components_NR = logits_NC.astype(np.float64), components_NR.astype(np.float64)
    if not (np.isfinite(logits_NC).all() and np.isfinite(components_NR).all()):
        raise ArtifactError(f"model '{artifact.identity}': it gives what is no number; the weights are broken")
    logits_NC = logits_NC - logits_NC.mean(axis=1, keepdims=True)
    distance = reference.distance(components_NR.mean(axis=0), num_files)
    strength = _strength(distance, unseen_distance) if len(logits_NC) >= _LEAST_WINDOWS else 0.0
    shift_C = strength * _shift(logits_NC, reference.class_logits_CC, temperature)
    return Adaptation(
        shift=tuple(shift_C.tolist()),
        strength=strength,
        distance=distance,
        unseen_distance=unseen_distance,
        num_windows=len(logits_NC),
        num_files=num_files,
        mix_before=_mix(labels, logits_NC / temperature),
        mix_after=_mix(labels, (logits_NC - shift_C) / temperature),
    )


def _strength(distance: float, unseen_distance: float) -> float:
    """Nothing near the training corpora, all that is ever taken far from them, and in between in proportion."""
    share = (distance / max(unseen_distance, _LEAST_DISTANCE) - _NEAR) / (_FAR - _NEAR)
    return _MAX_STRENGTH * min(1.0, max(0.0, share))


def _shift(logits_NC: Floats, class_logits_CC: Floats, temperature: float) -> Floats:
    mean_C = class_logits_CC.mean(axis=0)
    expected_CC = mean_C + _UNHEARD_SHARE * (class_logits_CC - mean_C)
    shift_C = np.zeros(logits_NC.shape[1])
    for _ in range(_NUM_ROUNDS):
        heard_NC = softmax((logits_NC - shift_C) / temperature, axis=1)
        shift_C = (logits_NC - heard_NC @ expected_CC).mean(axis=0)
    return shift_C


def _mix(labels: tuple[str, ...], logits_NC: Floats) -> dict[str, float]:
    return dict(zip(labels, softmax(logits_NC, axis=1).mean(axis=0).tolist(), strict=True))
