"""Baselines, the hardest clips, groups by intensity and length, and the epochs that a config tells of."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from ser_core.corpora.manifest import Manifest, rows_to_table
from ser_core.evaluation.bootstrap import BootstrapSettings
from ser_core.evaluation.details import baselines
from ser_core.evaluation.evaluate import evaluate_predictions
from ser_core.evaluation.label_sets import LabelSets
from ser_core.evaluation.model_training import History
from ser_core.evaluation.page import render_page
from ser_core.vocabulary import LABELS
from tests.evaluation.test_page import Page
from tests.support.evaluations import manifest, predictions

SETTINGS = BootstrapSettings(resamples=20)


def clips_of(names: list[str], emotions: list[str], corpus: str = "ravdess") -> Manifest:
    rows = [
        {"path": f"/x/{name}", "corpus": corpus, "emotion": emotion, "speaker": f"{corpus}-{index}"}
        for index, (name, emotion) in enumerate(zip(names, emotions, strict=True))
    ]
    return Manifest(rows_to_table(rows))


def test_baselines_are_those_of_the_labels_of_each_clips_corpus() -> None:
    # Six clips of one corpus with two labels, four of another with four.
    emotions = ["happy"] * 4 + ["sad"] * 2, ["calm", "happy", "sad", "angry"]
    rows = [
        {"path": f"/{corpus}/{index}", "corpus": corpus, "emotion": emotion, "speaker": f"{corpus}-{index % 2}"}
        for corpus, listed in zip(("a", "b"), emotions, strict=True)
        for index, emotion in enumerate(listed)
    ]
    clips = Manifest(rows_to_table(rows))
    found = baselines(LabelSets(clips, LABELS), clips)
    assert found["chance"].accuracy == pytest.approx((6 / 2 + 4 / 4) / 10)
    # Recall of happy: four clips at a half and one at a quarter.
    recalls = [1 / 4, (4 / 2 + 1 / 4) / 5, (2 / 2 + 1 / 4) / 3, 1 / 4]
    assert found["chance"].uar == pytest.approx(np.mean(recalls))
    # Happy in a; the first of four in b.
    assert found["majority"].accuracy == pytest.approx((4 + 1) / 10)
    assert found["majority"].uar == pytest.approx(np.mean([1, 4 / 5, 0, 0]))


def test_a_label_that_the_model_lacks_is_no_chance() -> None:
    clips = clips_of(["a", "b"], ["happy", "sad"], "own")
    found = baselines(LabelSets(clips, ("happy", "calm")), clips)
    assert found["chance"].accuracy == found["majority"].accuracy == 0.5


def test_the_hardest_clips_are_wrong_and_named() -> None:
    clips = manifest()
    probabilities_GC = predictions(clips, skill=1.0)
    found = evaluate_predictions(clips, probabilities_GC, settings=SETTINGS)
    rights = [clip.probability for clip in found.hardest]
    assert len(rights) == 20
    assert rights == sorted(rights)
    by_path = {row["path"]: row for row in clips.table.to_pylist()}
    for clip in found.hardest:
        assert clip.label == by_path[clip.path]["emotion"] != clip.prediction
        assert clip.confidence > clip.probability
    page = render_page(found)
    assert "/".join(found.hardest[0].path.split("/")[-2:]) in page
    assert found.to_dict()["hardest"][0]["path"] == found.hardest[0].path


def test_a_clip_without_speech_is_hardest_of_all_and_nothing_is_hard_where_all_is_right() -> None:
    clips = clips_of(["a.wav", "b.wav"], ["happy", "sad"])
    right_GC = np.eye(8)[clips.label_N]
    assert evaluate_predictions(clips, right_GC, settings=SETTINGS).hardest == ()
    right_GC[0] = np.nan
    [silent] = evaluate_predictions(clips, right_GC, settings=SETTINGS).hardest
    assert (silent.prediction, silent.confidence, silent.probability) == ("no_speech", 0.0, 0.0)


def test_clips_are_grouped_by_intensity_as_their_names_say_and_by_length() -> None:
    clips = clips_of(["03-01-03-01-01-01-01.wav", "03-01-04-02-01-01-02.wav", "03-01-04-02-01-01-03.wav"],
                     ["happy", "sad", "sad"])  # fmt: skip
    seconds_G = np.array([0.9, 3.0, 12.0])
    found = evaluate_predictions(clips.decoded(seconds_G, ["a", "b", "c"]), np.eye(8)[clips.label_N], settings=SETTINGS)
    assert {name: one.num_clips for name, one in found.by.intensity.items()} == {"normal": 1, "strong": 2}
    assert list(found.by.length) == ["under 1 s", "3 to 5 s", "10 s and more"]
    page = render_page(found)
    assert "By intensity" in page
    assert "By length" in page
    unknown = evaluate_predictions(clips_of(["a", "b"], ["happy", "sad"], "own"), np.eye(8)[[2, 3]], settings=SETTINGS)
    assert unknown.by.intensity == unknown.by.length == {}


EPOCHS = [{"number": number, "loss": 2.0 / number, "learning_rate": 0.1, "validation_uar": 0.1 * number,
           "validation_loss": 1.0, "validation_accuracy": None} for number in (1, 2, 3)]  # fmt: skip


def test_learning_curves_are_those_that_the_config_tells_of() -> None:
    clips = manifest(40)
    found = evaluate_predictions(clips, predictions(clips), settings=SETTINGS)
    assert "How it was trained" not in render_page(found)
    told = found.with_history({"history": EPOCHS, "best_epoch": 2, "seed": 3})
    page = render_page(told)
    Page(page)
    assert "training 2.000 at first, 0.667 at last" in page
    assert "UAR 0.100 at first, 0.300 at last" in page
    assert told.to_dict()["history"][1]["validation_uar"] == 0.2
    assert dataclasses.replace(told, history=History()) == found


@pytest.mark.parametrize(
    "training",
    [{}, {"history": 3}, {"history": [{"number": "1", "loss": 1.0}]}, {"history": [{"loss": 1.0}]},
     {"history": [EPOCHS[0] | {"loss": float("nan")}]}, {"history": EPOCHS, "best_epoch": "two"}],
)  # fmt: skip
def test_a_config_that_tells_of_no_epochs_has_no_curves(training: dict[str, Any]) -> None:
    assert History.of_training(training).history == ()
