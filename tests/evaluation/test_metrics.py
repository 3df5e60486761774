import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from ser_core.evaluation import metrics
from ser_core.evaluation.metrics import ReliabilityBin

LABELS = ("calm", "happy", "sad")


def clips(num_clips: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and answers that are right more often than not."""
    rng = np.random.default_rng(seed)
    label_G = rng.choice(3, size=num_clips, p=[0.6, 0.3, 0.1])
    logits_GC = rng.normal(size=(num_clips, 3)) + 1.5 * np.eye(3)[label_G]
    return label_G, np.exp(logits_GC) / np.exp(logits_GC).sum(axis=1, keepdims=True)


def test_metrics_are_those_of_scikit_learn() -> None:
    label_G, probabilities_GC = clips()
    predicted_G = probabilities_GC.argmax(axis=1)
    assert metrics.accuracy(label_G, predicted_G) == pytest.approx(accuracy_score(label_G, predicted_G))
    assert metrics.uar(label_G, predicted_G) == pytest.approx(balanced_accuracy_score(label_G, predicted_G))
    assert metrics.macro_f1(label_G, predicted_G) == pytest.approx(f1_score(label_G, predicted_G, average="macro"))


def test_only_labels_that_occur_count() -> None:
    label_G, predicted_G = np.array([0, 0, 2, 2]), np.array([0, 1, 2, 2])
    assert metrics.uar(label_G, predicted_G) == 0.75
    assert metrics.macro_f1(label_G, predicted_G) == pytest.approx((2 / 3 + 1) / 2)


def test_metrics_of_a_confusion_matrix_are_the_same() -> None:
    label_G, probabilities_GC = clips()
    label_G[label_G == 1] = 0
    predicted_G = probabilities_GC.argmax(axis=1)
    confusion_CC = metrics.confusion(label_G, predicted_G, 3)
    assert confusion_CC.sum() == len(label_G)
    assert confusion_CC[2, 0] == np.sum((label_G == 2) & (predicted_G == 0))
    for name, metric in metrics.FROM_CONFUSION.items():
        assert metric(confusion_CC) == pytest.approx(getattr(metrics, name)(label_G, predicted_G)), name
        stacked_D = metric(np.stack([confusion_CC, 2 * confusion_CC, np.zeros_like(confusion_CC)]))
        np.testing.assert_allclose(stacked_D, [metric(confusion_CC), metric(confusion_CC), np.nan])


def test_the_report_has_every_label() -> None:
    label_G, predicted_G = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    calm, happy, sad = metrics.class_report(label_G, predicted_G, LABELS)
    assert (calm.label, calm.num_clips, calm.num_predictions, calm.precision) == ("calm", 3, 2, 1.0)
    assert calm.recall == pytest.approx(2 / 3)
    assert (happy.precision, happy.recall) == (0.5, 1.0)
    assert happy.f1 == pytest.approx(2 / 3)
    assert sad == metrics.ClassMetrics("sad", 0, 0, None, None, None)


def test_reliability_bins_by_hand() -> None:
    confidence_G = np.array([0.61, 0.65, 1.0, 1.0, 0.2])
    right_G = np.array([True, False, True, True, False])
    found = metrics.reliability(confidence_G, right_G, num_bins=5)
    assert found.count_B.tolist() == [1, 0, 0, 2, 2]
    np.testing.assert_allclose(found.confidence_B, [0.2, np.nan, np.nan, 0.63, 1.0])
    np.testing.assert_allclose(found.accuracy_B, [0.0, np.nan, np.nan, 0.5, 1.0])
    assert found.ece == pytest.approx(1 / 5 * 0.2 + 2 / 5 * 0.13)
    assert found.bins[:2] == (ReliabilityBin(0.0, 0.2, 1, 0.2, 0.0), ReliabilityBin(0.2, 0.4, 0, None, None))


def test_fifteen_equal_bins_and_no_error_where_confidence_means_what_it_says() -> None:
    rng = np.random.default_rng(0)
    confidence_G = rng.uniform(0.2, 1, size=100_000)
    right_G = rng.uniform(size=len(confidence_G)) < confidence_G
    found = metrics.reliability(confidence_G, right_G)
    assert len(found.count_B) == 15
    assert found.ece < 0.01
    assert metrics.reliability(confidence_G, np.zeros_like(right_G)).ece == pytest.approx(confidence_G.mean())


def test_coverage_takes_the_most_confident_first() -> None:
    confidence_G = np.array([0.9, 0.5, 0.8, 0.6])
    right_G = np.array([True, False, True, False])
    points = metrics.coverage_curve(confidence_G, right_G)
    assert [point.coverage for point in points] == [0.25, 0.5, 0.75, 1.0]
    np.testing.assert_allclose([point.accuracy for point in points], [1, 1, 2 / 3, 0.5])
    assert [point.confidence for point in points] == [0.9, 0.8, 0.6, 0.5]


def test_coverage_does_not_depend_on_the_order_of_equal_confidences() -> None:
    right_G = np.array([True, False, False, False])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        points = metrics.coverage_curve(np.full(4, 0.5), right_G[order])
        np.testing.assert_allclose([point.accuracy for point in points], 0.25)


def test_coverage_of_many_clips_has_a_hundred_points() -> None:
    label_G, probabilities_GC = clips(1_234)
    points = metrics.coverage_curve(probabilities_GC.max(axis=1), probabilities_GC.argmax(axis=1) == label_G)
    assert len(points) == 100
    assert points[-1].coverage == 1.0
    assert points[-1].accuracy == pytest.approx(metrics.accuracy(label_G, probabilities_GC.argmax(axis=1)))
    assert points[9].coverage == pytest.approx(0.1, abs=1 / 1_234)
