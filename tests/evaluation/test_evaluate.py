import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest

from ser_core.corpora.manifest import Manifest
from ser_core.errors import SourceError, UsageError
from ser_core.evaluation import metrics
from ser_core.evaluation.bootstrap import BootstrapSettings
from ser_core.evaluation.evaluate import LabelSets, compare_predictions, evaluate_predictions
from ser_core.evaluation.model_training import ModelSpeakers
from ser_core.evaluation.predictions import at_temperature, predictions_table, probabilities_in
from ser_core.vocabulary import LABELS
from tests.support.evaluations import ABOUT, manifest, predictions

OTHERS = ModelSpeakers(training=("other-9",))
SETTINGS = BootstrapSettings(resamples=100, seed=3)


def test_what_a_corpus_lacks_is_left_out_and_the_rest_renormalised() -> None:
    clips = manifest()
    small = clips.take(np.flatnonzero(clips.corpora == "small"))
    labels = ("calm", "happy", "sad", "angry")
    probabilities_GC = np.tile([[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0]], (len(small) // 2, 1))
    restricted_GL = LabelSets(small, labels).restricted(probabilities_GC)
    np.testing.assert_allclose(restricted_GL[:2], [[0, 0.4, 0.6, 0, 0], [0, 0.5, 0.5, 0, 0]])


def test_each_corpus_is_judged_by_its_own_labels() -> None:
    clips = manifest()
    probabilities_GC = predictions(clips)
    found = evaluate_predictions(clips, probabilities_GC, settings=SETTINGS)
    assert found.label_sets == {"small": ("neutral", "happy", "sad"), "wide": LABELS}
    is_small_G = clips.corpora == "small"
    masked_GC = probabilities_GC[is_small_G] * np.isin(np.arange(8), (0, 2, 3))
    recall = metrics.uar(clips.label_N[is_small_G], masked_GC.argmax(axis=1))
    assert found.by.corpus["small"].uar.value == pytest.approx(recall)
    wide = metrics.uar(clips.label_N[~is_small_G], probabilities_GC[~is_small_G].argmax(axis=1))
    assert found.by.corpus["wide"].uar.value == pytest.approx(wide)
    absent = "calm, angry, fearful, disgust, surprised"
    assert any(note.startswith(f"No clip of small has {absent}: ") for note in found.notes)
    assert not any("wide" in note for note in found.notes)
    assert found.overall.accuracy.value == pytest.approx(np.trace(found.confusion_LL) / len(clips))


def test_a_part_of_a_corpus_is_judged_by_what_the_corpus_has() -> None:
    clips = manifest()
    part = clips.take(np.flatnonzero((clips.corpora == "small") & (clips.label_N == 0)))
    probabilities_GC = np.full((len(part), 8), 1 / 8)
    alone = evaluate_predictions(part, probabilities_GC, settings=SETTINGS)
    assert alone.overall.ece.value == pytest.approx(0)
    sets = LabelSets(part, LABELS, clips.labels_by_corpus())
    assert sets.by_corpus == {"small": ("neutral", "happy", "sad")}
    found = evaluate_predictions(part, probabilities_GC, labels=sets, settings=SETTINGS)
    assert found.overall.confidence == pytest.approx(1 / 3)


def test_what_a_known_corpus_has_need_not_be_in_the_manifest() -> None:
    clips = manifest()
    table = clips.table.set_column(clips.table.column_names.index("corpus"), "corpus", pa.array(["nemo"] * len(clips)))
    angry = Manifest(table).take(np.flatnonzero(clips.label_N == LABELS.index("angry")))
    assert LabelSets(angry, LABELS).by_corpus == {"nemo": ("neutral", "happy", "sad", "angry", "fearful", "surprised")}


def test_every_group_is_there_and_adds_up() -> None:
    clips = manifest()
    found = evaluate_predictions(clips, predictions(clips), settings=SETTINGS)
    assert list(found.by.speaker) == ["small-0", "small-1", *[f"wide-{number}" for number in range(5)]]
    assert list(found.by.gender) == ["female", "male", "unknown"]
    assert list(found.by.language) == ["en", "pl"]
    assert not found.by.seen
    for groups in (found.by.corpus, found.by.speaker, found.by.gender, found.by.language):
        assert sum(group.num_clips for group in groups.values()) == len(clips) == found.overall.num_clips
        share = sum(group.num_clips * group.accuracy.value for group in groups.values()) / len(clips)
        assert share == pytest.approx(found.overall.accuracy.value)
    assert found.by.speaker["wide-0"].uar.low is None
    assert found.by.corpus["wide"].uar.low is not None
    assert found.overall.few_speakers == ("small",)
    assert found.by.corpus["wide"].few_speakers == ()
    assert "Of small there are 2 speakers: its intervals say little." in found.notes


def test_calibration_is_reported_before_and_after() -> None:
    clips = manifest(2_000)
    probabilities_GC = predictions(clips)
    loud_GC = at_temperature(probabilities_GC, 0.3)
    found = evaluate_predictions(clips, loud_GC, 1 / 0.3, settings=SETTINGS)
    assert found.overall.ece.value < 0.04
    assert found.overall.ece_uncalibrated > 0.1
    assert found.reliability.ece == pytest.approx(found.overall.ece.value)
    assert found.reliability_uncalibrated.ece == pytest.approx(found.overall.ece_uncalibrated)
    assert found.coverage[0].accuracy > found.coverage[-1].accuracy == pytest.approx(found.overall.accuracy.value)
    alone = evaluate_predictions(clips, probabilities_GC, settings=SETTINGS)
    assert not alone.is_calibrated
    assert alone.overall.ece_uncalibrated == pytest.approx(alone.overall.ece.value)
    half = len(clips) // 2
    each_GC, each_G = (
        np.concatenate([loud_GC[:half], probabilities_GC[half:]]),
        np.repeat([1 / 0.3, 1.0], [half, len(clips) - half]),
    )
    assert evaluate_predictions(clips, each_GC, each_G, settings=SETTINGS).overall.ece == pytest.approx(
        found.overall.ece
    )


def test_a_label_the_model_lacks_is_never_right_and_said() -> None:
    clips = manifest()
    known = tuple(label for label in LABELS if label != "disgust")
    probabilities_GC = np.delete(predictions(clips), LABELS.index("disgust"), axis=1)
    found = evaluate_predictions(clips, probabilities_GC, labels=known, settings=SETTINGS)
    assert found.labels == (*known, "disgust")
    [disgust] = [one for one in found.classes if one.label == "disgust"]
    assert disgust.num_clips > 0
    assert (disgust.recall, disgust.num_predictions) == (0.0, 0)
    assert f"The model has no label disgust: its {disgust.num_clips} clips count as wrong." in found.notes


def test_a_corpus_of_foreign_labels_is_refused() -> None:
    clips = manifest()
    with pytest.raises(UsageError, match="corpus small: the model has none of its labels"):
        evaluate_predictions(clips, predictions(clips)[:, 6:], labels=LABELS[6:], settings=SETTINGS)


def test_an_empty_manifest_is_refused() -> None:
    clips = manifest().take(np.array([], np.int64))
    with pytest.raises(SourceError, match="holds no clip"):
        evaluate_predictions(clips, np.zeros((0, 8)), settings=SETTINGS)


def test_speakers_of_the_training_are_a_group() -> None:
    clips = manifest()
    seen = ModelSpeakers(training=("wide-0", "wide-1", "other-9"), validation=("wide-2",), calibration=())
    found = evaluate_predictions(clips, predictions(clips), model_speakers=seen, settings=SETTINGS)
    assert found.overlap == ModelSpeakers(training=("wide-0", "wide-1"), validation=("wide-2",))
    assert list(found.by.seen) == ["in the training", "new"]
    assert found.by.seen["in the training"].num_speakers == 2
    assert any(note.startswith("2 of the 7 speakers were in the model's training") for note in found.notes)
    assert any(note.startswith("1 of the 7 speakers chose the epoch that was kept") for note in found.notes)


@pytest.mark.parametrize("num_heard", [0, 1, 3])
def test_audio_is_compared_by_its_hashes_where_both_have_them(num_heard: int) -> None:
    clips = manifest()
    hashes = [f"{index:08d}" for index in range(len(clips))]
    decoded = clips.decoded(np.ones(len(clips)), hashes)
    training = {"speakers": ["other-9"], "audio_hashes": "".join(["x" * 8, *hashes[:num_heard]])}
    seen = ModelSpeakers.of_training(training)
    found = evaluate_predictions(decoded, predictions(clips), model_speakers=seen, settings=SETTINGS)
    assert found.heard_paths == tuple(clips.paths[:num_heard])
    assert found.to_dict()["heard_clips"] == clips.paths[:num_heard]
    none = "None of the speakers was in the model's training, by their names"
    if num_heard == 0:
        assert f"{none}, nor the audio of any clip, by hashes of their samples." in found.notes
        assert not found.by.seen
        return
    assert f"{none}." in found.notes
    more = " and 1 more" if num_heard == 3 else ""
    [told] = [note for note in found.notes if note.startswith("The audio of")]
    assert told.startswith(f"The audio of {num_heard} of the {len(clips)} clips was in the model's training, whoever")
    assert f"({', '.join(clips.paths[: min(num_heard, 2)])}{more})" in told
    assert found.by.seen["in the training"].num_clips == num_heard


def test_audio_is_not_compared_where_one_side_has_no_hashes() -> None:
    clips = manifest()
    decoded = clips.decoded(np.ones(len(clips)), ["a" * 8] * len(clips))
    hashed = ModelSpeakers(training=("other-9",), audio_hashes=frozenset())
    for of_clips, seen in ((decoded, OTHERS), (clips, hashed)):
        found = evaluate_predictions(of_clips, predictions(clips), model_speakers=seen, settings=SETTINGS)
        assert found.heard_paths is None
        assert any(note.endswith("under other names was not compared.") for note in found.notes)


def test_notes_say_whether_speakers_are_new_or_unknown() -> None:
    clips = manifest()
    new = evaluate_predictions(clips, predictions(clips), model_speakers=OTHERS, settings=SETTINGS)
    assert any(
        note.startswith("None of the speakers was in the model's training, by their names;") for note in new.notes
    )
    assert not new.by.seen
    unknown = evaluate_predictions(clips, predictions(clips), settings=SETTINGS)
    assert any("does not say which speakers" in note for note in unknown.notes)


def test_the_speakers_are_read_from_a_models_config() -> None:
    training = {"speakers": ["a-1"], "validation_speakers": ["a-2"], "seed": 3}
    assert ModelSpeakers.of_training(training) == ModelSpeakers(training=("a-1",), validation=("a-2",))
    for without in ({}, {"speakers": "a-1"}, {"speakers": [1]}):
        assert ModelSpeakers.of_training(without) is None


def test_the_same_predictions_give_the_same_json() -> None:
    clips = manifest()
    first, second = (
        evaluate_predictions(clips, predictions(clips), 1.5, title="t", about=ABOUT, settings=SETTINGS).to_dict()
        for _ in range(2)
    )
    text = json.dumps(first, allow_nan=False)
    assert text == json.dumps(second, allow_nan=False)
    assert first["about"] == dataclasses.asdict(ABOUT)
    assert first["bootstrap"] == {"resamples": 100, "seed": 3, "over": "speakers, within each corpus", "percent": 95}
    assert set(first["overall"]) >= {"clips", "speakers", "accuracy", "macro_f1", "uar", "ece", "ece_uncalibrated"}
    assert set(first["overall"]["uar"]) == {"value", "low", "high"}
    assert sum(map(sum, first["confusion"])) == len(clips)
    assert len(first["reliability"]) == len(first["reliability_uncalibrated"]) == 15
    assert [row["label"] for row in first["classes"]] == list(LABELS)


def test_predictions_as_a_table_can_be_pooled() -> None:
    clips = manifest()
    probabilities_GC = predictions(clips)
    parts = [clips.take(np.flatnonzero(np.arange(len(clips)) % 2 == part)) for part in range(2)]
    tables = [
        predictions_table(part, probabilities_GC[number::2], LABELS, (1.5, 0.7)[number])
        for number, part in enumerate(parts)
    ]
    pooled = pa.concat_tables(tables)
    assert pooled.column_names[:4] == ["path", "corpus", "emotion", "speaker"]
    pooled_GC, temperature_G = probabilities_in(pooled, LABELS), pooled["temperature"].to_numpy()
    assert set(temperature_G) == {1.5, 0.7}
    again = evaluate_predictions(
        Manifest(pooled.select(clips.table.column_names)), pooled_GC, temperature_G, settings=SETTINGS
    )
    each_G = np.where(np.arange(len(clips)) % 2, 0.7, 1.5)
    whole = evaluate_predictions(clips, probabilities_GC, each_G, settings=SETTINGS)
    assert again.overall.uar == pytest.approx(whole.overall.uar)
    assert again.overall.ece == pytest.approx(whole.overall.ece)


def test_predictions_in_a_table_are_over_all_labels_of_the_model() -> None:
    """`small` has neither calm nor angry; what a model predicts for its clips is written as the model says it."""
    clips = manifest()
    small = clips.take(np.flatnonzero(clips.corpora == "small"))
    table = predictions_table(small, np.tile([0.05, 0.5, 0.25, 0.2, 0, 0, 0, 0], (len(small), 1)), LABELS, 2.0)
    assert set(table["prediction"].to_pylist()) == {"calm"}
    assert table["p_calm"][0].as_py() == 0.5
    odds = np.sqrt([0.05, 0.5, 0.25, 0.2])
    assert table["confidence"][0].as_py() == pytest.approx(odds[1] / odds.sum())


def test_recipes_are_compared_by_the_labels_of_a_corpus() -> None:
    clips = manifest(800)
    worse_GC, better_GC = predictions(clips, skill=1.0), predictions(clips, skill=3.0)
    recalls = [
        evaluate_predictions(clips, one_GC, settings=SETTINGS).overall.uar.value for one_GC in (worse_GC, better_GC)
    ]
    difference = compare_predictions(clips, worse_GC, better_GC, settings=SETTINGS)
    assert difference.value == pytest.approx(recalls[1] - recalls[0])
    assert difference.low is not None
    assert difference.low > 0
