"""Two models side by side on the same clips."""

import numpy as np
import pytest

from ser_core.evaluation.against import Answers, side_by_side
from ser_core.evaluation.bootstrap import BootstrapSettings
from ser_core.evaluation.evaluate import evaluate_predictions
from ser_core.evaluation.label_sets import LabelSets
from ser_core.evaluation.page import render_page
from ser_core.evaluation.result import Evaluation
from ser_core.vocabulary import LABELS
from tests.evaluation.test_page import Page
from tests.support.evaluations import manifest, predictions

CLIPS = manifest()
SETTINGS = BootstrapSettings(resamples=100)


def found(probabilities_GC: np.ndarray, labels: tuple[str, ...] = LABELS) -> tuple[Answers, Evaluation]:
    sets = LabelSets(CLIPS, labels)
    evaluation = evaluate_predictions(CLIPS, probabilities_GC, labels=sets, settings=SETTINGS, title="one")
    return (sets, probabilities_GC), evaluation


def test_the_gain_is_the_difference_and_its_interval_is_paired() -> None:
    (better, one), (worse, other) = found(predictions(CLIPS, 0, 1.6)), found(predictions(CLIPS, 1, 1.0))
    both = side_by_side(CLIPS, better, worse, (one, other))
    assert both.against is not None
    for metric in ("uar", "accuracy", "macro_f1"):
        gain = both.against.gains[metric]
        assert gain.value == pytest.approx(getattr(one.overall, metric).value - getattr(other.overall, metric).value)
        assert gain.low is not None
        assert gain.high is not None
        assert 0 < gain.low < gain.value < gain.high
    counts = both.to_dict()["against"]
    parts = [counts[name] for name in ("both_right", "this_right", "other_right", "neither_right")]
    assert sum(parts) == len(CLIPS)
    assert (parts[0] + parts[1]) / len(CLIPS) == pytest.approx(one.overall.accuracy.value)
    assert both.overall == one.overall
    page = render_page(both)
    Page(page)
    assert "Side by side with one" in page
    assert f"this model alone {parts[1]}, the other alone {parts[2]}" in page


def test_a_model_beside_itself_gains_nothing() -> None:
    answers, one = found(predictions(CLIPS))
    both = side_by_side(CLIPS, answers, answers, (one, one))
    assert both.against is not None
    assert {tuple(gain) for gain in both.against.gains.values()} == {(0.0, 0.0, 0.0)}
    assert both.against.agree == len(CLIPS)


def test_models_of_other_labels_are_compared_by_what_they_say() -> None:
    few = tuple(reversed(LABELS[:6]))
    probabilities_GC = predictions(CLIPS)[:, 5::-1]
    answers, other = found(probabilities_GC / probabilities_GC.sum(axis=1, keepdims=True), few)
    all_of_them, one = found(predictions(CLIPS))
    both = side_by_side(CLIPS, all_of_them, answers, (one, other))
    assert both.against is not None
    assert both.against.gains["accuracy"].value == pytest.approx(
        one.overall.accuracy.value - other.overall.accuracy.value
    )
    assert any("has no label disgust" in note for note in both.against.notes)
    assert both.against.recall_of("surprised") == 0.0
