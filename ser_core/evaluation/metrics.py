"""How good predictions are: metrics of labels, predictions and confidences; by scikit-learn where it has them.

Shape letters: G clips, C labels, B bins of confidence, `...` any axes in front.

    accuracy   share of the clips whose prediction is right
    UAR        unweighted average recall: the mean of the labels' recalls
    macro F1   the mean of the labels' F1
    ECE        expected calibration error: mean distance of confidence from accuracy over bins of equal width, of the
               predicted label (top label; Guo et al. 2017, arXiv 1706.04599)

The means are over the labels that occur among the right ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support, recall_score

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NUM_BINS = 15
_MAX_COVERAGE_POINTS = 100


def accuracy(label_G: Labels, predicted_G: Labels) -> float:
    """The share of clips whose prediction is right."""
    return float(np.mean(label_G == predicted_G))


def uar(label_G: Labels, predicted_G: Labels) -> float:
    """The unweighted average recall."""
    return float(recall_score(label_G, predicted_G, labels=np.unique(label_G), average="macro", zero_division=0))


def macro_f1(label_G: Labels, predicted_G: Labels) -> float:
    """The mean of the F1 of the labels that occur."""
    return float(f1_score(label_G, predicted_G, labels=np.unique(label_G), average="macro", zero_division=0))


def confusion(label_G: Labels, predicted_G: Labels, num_labels: int) -> Labels:
    """Clips (C, C) by their right label (row) and their predicted one (column)."""
    counts_CC: Labels = confusion_matrix(label_G, predicted_G, labels=np.arange(num_labels)).astype(np.int64)
    return counts_CC


@dataclass(frozen=True)
class ClassMetrics:
    """The metrics of one label; None where there is nothing to divide by."""

    label: str
    num_clips: int
    num_predictions: int
    precision: float | None
    recall: float | None
    f1: float | None


def class_report(label_G: Labels, predicted_G: Labels, labels: Sequence[str]) -> tuple[ClassMetrics, ...]:
    """Each label's metrics, in the order of `labels`, of which `label_G` and `predicted_G` are indices."""
    columns = precision_recall_fscore_support(label_G, predicted_G, labels=np.arange(len(labels)), zero_division=np.nan)
    predictions_C = np.bincount(predicted_G, minlength=len(labels))
    return tuple(
        ClassMetrics(label, int(support), int(num_predictions), *map(_or_none, values))
        for label, support, num_predictions, *values in zip(
            labels, columns[3], predictions_C, *columns[:3], strict=True
        )
    )


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def accuracy_of(confusion_CC: npt.NDArray[Any]) -> Floats:
    """Accuracies (...) of confusion matrices (..., C, C); NaN where there is no clip."""
    right = np.trace(confusion_CC, axis1=-2, axis2=-1)
    return _ratio(right, confusion_CC.sum(axis=(-2, -1)))


def uar_of(confusion_CC: npt.NDArray[Any]) -> Floats:
    """The UAR (...) of confusion matrices (..., C, C); NaN where there is no clip."""
    right_C = np.diagonal(confusion_CC, axis1=-2, axis2=-1)
    support_C = confusion_CC.sum(axis=-1)
    return _mean_where(_ratio(right_C, support_C), support_C > 0)


def macro_f1_of(confusion_CC: npt.NDArray[Any]) -> Floats:
    """The macro F1 (...) of confusion matrices (..., C, C); NaN where there is no clip."""
    right_C = np.diagonal(confusion_CC, axis1=-2, axis2=-1)
    support_C = confusion_CC.sum(axis=-1)
    return _mean_where(_ratio(2 * right_C, support_C + confusion_CC.sum(axis=-2)), support_C > 0)


#: The metrics that many confusion matrices give at once, as the bootstrap needs them.
FROM_CONFUSION: dict[str, Callable[[npt.NDArray[Any]], Floats]] = {
    "accuracy": accuracy_of,
    "macro_f1": macro_f1_of,
    "uar": uar_of,
}


def _ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> Floats:
    """NaN where the whole is 0."""
    ratio: Floats = np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
    return ratio


def _mean_where(values_C: Floats, is_meant_C: npt.NDArray[np.bool_]) -> Floats:
    return _ratio(np.where(is_meant_C, values_C, 0.0).sum(axis=-1), is_meant_C.sum(axis=-1))


def bin_of(confidence_G: Floats, num_bins: int = NUM_BINS) -> Labels:
    """Each confidence's bin, 0 to num_bins - 1; bin b holds what is above b / num_bins, up to (b + 1) / num_bins."""
    return np.clip(np.ceil(confidence_G * num_bins).astype(np.int64) - 1, 0, num_bins - 1)


@dataclass(frozen=True)
class ReliabilityBin:
    """The clips whose confidence is above `low`, up to `high`; means are None where there is none."""

    low: float
    high: float
    num_clips: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Reliability:
    """What confidences were, and how often predictions were right, in bins of equal width."""

    count_B: Labels
    #: Means over each bin's clips; NaN where there is none.
    confidence_B: Floats
    accuracy_B: Floats

    @property
    def ece(self) -> float:
        """The expected calibration error; NaN without any clip."""
        distance_B = np.where(self.count_B > 0, np.abs(self.accuracy_B - self.confidence_B), 0.0)
        return float(_ratio((self.count_B * distance_B).sum(), self.count_B.sum()))

    @property
    def bins(self) -> tuple[ReliabilityBin, ...]:
        """All bins, the least confident first."""
        edges = np.linspace(0.0, 1.0, len(self.count_B) + 1).tolist()
        return tuple(
            ReliabilityBin(low, high, int(count), _or_none(confidence), _or_none(accuracy))
            for low, high, count, confidence, accuracy in zip(
                edges[:-1], edges[1:], self.count_B, self.confidence_B, self.accuracy_B, strict=True
            )
        )


def reliability(confidence_G: Floats, right_G: npt.NDArray[np.bool_], num_bins: int = NUM_BINS) -> Reliability:
    """Bins of clips' confidences (the probability of the predicted label), and whether the predictions are right."""
    bin_G = bin_of(confidence_G, num_bins)
    count_B = np.bincount(bin_G, minlength=num_bins)
    confidence_B = _ratio(np.bincount(bin_G, confidence_G, num_bins), count_B)
    return Reliability(count_B, confidence_B, _ratio(np.bincount(bin_G, right_G, num_bins), count_B))


def ece(probabilities_GC: Floats, label_G: Labels, num_bins: int = NUM_BINS) -> float:
    """The expected calibration error of the top label."""
    right_G = probabilities_GC.argmax(axis=1) == label_G
    return reliability(probabilities_GC.max(axis=1), right_G, num_bins).ece


@dataclass(frozen=True)
class CoveragePoint:
    """What taking the most confident predictions alone would give."""

    #: Share of the clips whose predictions are taken.
    coverage: float
    #: Accuracy of those predictions.
    accuracy: float
    #: Least confidence among them.
    confidence: float


def coverage_curve(confidence_G: Floats, right_G: npt.NDArray[np.bool_]) -> tuple[CoveragePoint, ...]:
    """Accuracy against coverage, at every hundredth, or at every clip where there are fewer.

    Of clips with equal confidence, each counts as their mean, so that their order does not matter.
    """
    _, tie_G, count_T = np.unique(-confidence_G, return_inverse=True, return_counts=True)
    mean_T = np.bincount(tie_G, right_G) / count_T
    order_G = np.argsort(tie_G, kind="stable")
    accuracy_G = np.cumsum(mean_T[tie_G[order_G]]) / np.arange(1, len(order_G) + 1)
    num_points = min(len(order_G), _MAX_COVERAGE_POINTS)
    lasts = np.ceil(np.arange(1, num_points + 1) * len(order_G) / num_points).astype(int) - 1
    return tuple(
        CoveragePoint((last + 1) / len(order_G), float(accuracy_G[last]), float(confidence_G[order_G[last]]))
        for last in lasts
    )
