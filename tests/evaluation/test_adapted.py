"""Adaptation in an evaluation: predictions adapted to all clips and to mixes, beside those that are not."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.special import softmax

from ser_core.corpora.manifest import Manifest, rows_to_table
from ser_core.evaluation.adapted import AdaptableClips
from ser_core.evaluation.adapted_result import AdaptedResult
from ser_core.evaluation.evaluate import LabelSets, evaluate_predictions
from ser_core.evaluation.metrics import Floats
from ser_core.evaluation.page import render_page
from ser_core.evaluation.predict import WindowStatistics
from ser_core.evaluation.predictions import at_temperature
from ser_core.evaluation.settings import BootstrapSettings, Mix
from ser_core.models import Reference, estimate_folder
from ser_core.vocabulary import AdaptTo
from tests.support.models import LABELS, adaptable_artifact

CLASSES_CC = 4.0 * np.eye(3) - 4.0 / 3.0
#: What each corpus's logits have beyond those of the training.
OFFSETS = {"far": np.array([2.5, -3.0, 0.5]), "near": np.zeros(3)}
SETTINGS = BootstrapSettings(resamples=50)


def clips(per_speaker: int = 30, silent: tuple[int, ...] = ()) -> AdaptableClips:
    """Four speakers of `far`, which lies far from the training data, two of `near`; one window a clip."""
    rows = [
        {
            "path": f"/{corpus}/{speaker}/{index:03d}.wav",
            "corpus": corpus,
            "emotion": LABELS[index % 3],
            "speaker": f"{corpus}-{speaker}",
        }
        for corpus, num_speakers in (("far", 4), ("near", 2))
        for speaker in range(num_speakers)
        for index in range(per_speaker)
    ]
    manifest = Manifest(rows_to_table(rows))
    rng = np.random.default_rng(0)
    corpora = manifest.corpora
    label_G = np.array([LABELS.index(row["emotion"]) for row in rows])
    offset_GC = np.array([OFFSETS[corpus] for corpus in corpora])
    logits_GC = 0.8 * CLASSES_CC[label_G] + offset_GC + rng.normal(0, 0.5, (len(rows), 3))
    probabilities_GC = softmax(logits_GC, axis=1)
    spoken_N = np.setdiff1d(np.arange(len(rows)), silent)
    probabilities_GC[list(silent)] = np.nan
    components_GR = np.where(corpora == "far", 5.0, 0.0)[:, np.newaxis] * np.ones(4)
    artifact = dataclasses.replace(adaptable_artifact())
    # A cached property of a frozen dataclass.
    artifact.__dict__["reference"] = Reference(np.eye(4), np.zeros((1, 4)), CLASSES_CC, 0.1)
    statistics = WindowStatistics(
        logits_GC[spoken_N].astype(np.float32), components_GR[spoken_N].astype(np.float32), spoken_N
    )
    return AdaptableClips(
        manifest=manifest, artifact=artifact, probabilities_GC=probabilities_GC, statistics=statistics
    )


def all_of(num_windows: int) -> float:
    """The strength of an adaptation to an archive that lies far, by so many windows."""
    return 0.9 * num_windows / (num_windows + 8)


def adapt(one: AdaptableClips, to: AdaptTo, *mixes: str) -> tuple[Floats, AdaptedResult]:
    parsed = [Mix.parse(text) for text in mixes]
    return one.adapt(to, parsed, LabelSets(one.manifest, LABELS), SETTINGS)


def test_what_lies_far_is_adapted_and_what_lies_near_is_not() -> None:
    one = clips()
    adapted_GC, found = adapt(one, "archive")
    assert [row.name for row in found.rows] == ["not adapted", "all clips"]
    plain, adapted = found.rows
    assert plain.constants == {}
    assert (plain.overall.gain, plain.overall.estimates) == (None, None)
    assert {name: part.strength for name, part in adapted.constants.items()} == {"far": all_of(120), "near": 0.0}
    far, near = (adapted.corpora[name] for name in ("far", "near"))
    assert far.metrics.uar.value > plain.corpora["far"].metrics.uar.value + 0.05
    assert far.gain is not None
    assert far.gain.value == pytest.approx(far.metrics.uar.value - plain.corpora["far"].metrics.uar.value)
    assert (near.metrics, near.gain and near.gain.value) == (plain.corpora["near"].metrics, 0.0)
    estimates = adapted.overall.estimates
    assert estimates is not None
    assert (estimates.strength, estimates.num_windows, estimates.num_clips) == (all_of(120) / 2, 180, 180)
    is_near_G = one.manifest.corpora == "near"
    np.testing.assert_allclose(adapted_GC[is_near_G], one.probabilities_GC[is_near_G], atol=1e-12)
    expected = evaluate_predictions(one.manifest, adapted_GC, 1.5, labels=LABELS, settings=SETTINGS)
    assert adapted.overall.metrics == expected.overall
    assert list(found.notes)[1:] == ["Nothing is taken of near: near the training data, or of too few windows."]


def test_the_constants_are_taken_from_every_clip_as_a_predictor_takes_them_from_windows() -> None:
    one = clips()
    adapted_GC, found = adapt(one, "archive")
    shift_C = np.array(found.rows[1].constants["far"].shift)
    is_far_N = one.manifest.corpora == "far"
    logits_NC = one.statistics.logits_NC[is_far_N].astype(np.float64)
    expected = softmax((logits_NC - shift_C) / 1.5, axis=1)
    np.testing.assert_allclose(at_temperature(adapted_GC[is_far_N], 1.5), expected, atol=1e-6)


def test_each_mix_is_a_row_and_every_clip_is_judged_with_it() -> None:
    one = clips(90)
    _, found = adapt(one, "archive", "calm=0.8", "sad=0.5")
    assert [row.name for row in found.rows] == ["not adapted", "all clips", "balanced", "calm=0.8", "sad=0.5"]
    for row in found.rows[2:]:
        assert row.overall.metrics.num_clips == len(one.manifest)
        assert row.constants["far"].num_files == {"balanced": 256, "calm=0.8": 150, "sad=0.5": 241}[row.name]
        assert row.constants["near"].num_files == {"balanced": 180, "calm=0.8": 75, "sad=0.5": 121}[row.name]
    moody = found.rows[3].constants["far"]
    assert moody.mix_after["calm"] > 0.5
    again = adapt(one, "archive", "calm=0.8")[1]
    assert again.rows[3] == found.rows[3]


def test_a_mix_of_too_few_clips_is_not_taken_for_harmless() -> None:
    one = clips(4)
    _, found = adapt(one, "archive", "calm=0.8")
    assert (found.rows[1].constants["far"].strength, found.rows[3].constants["far"].strength) == (all_of(16), 0.0)
    [note] = [note for note in found.notes if "calm=0.8" in note]
    assert note.startswith("Adapted to calm=0.8, nothing is taken of far (10 windows): too few windows, or near")
    assert not any("balanced" in note for note in found.notes)


def test_speakers_are_adapted_to_beyond_their_corpus_and_too_few_windows_are_not() -> None:
    one = clips(30)
    adapted_GC, found = adapt(one, "speaker", "sad=0.4")
    assert [row.name for row in found.rows] == ["not adapted", "corpora alone", "all clips", "balanced", "sad=0.4"]
    archive = adapt(one, "archive")[1]
    assert found.rows[1].constants == archive.rows[1].constants
    assert found.rows[1].overall == archive.rows[1].overall
    for name in ("far", "near"):
        constants = found.rows[2].constants[name]
        assert constants.replace(folders={}) == archive.rows[1].constants[name]
        assert [speaker.partition("-")[0] for speaker in constants.folders] == [name] * {"far": 4, "near": 2}[name]
    far = found.rows[2].constants["far"]
    is_one_N = one.manifest.speakers == "far-2"
    logits_NC = one.statistics.logits_NC[is_one_N].astype(np.float64)
    own = estimate_folder(one.artifact, far.shift, logits_NC, 30)
    assert far.folders["far-2"] == own
    expected = softmax(logits_NC - np.array(far.shift) - np.array(own.shift), axis=1)
    np.testing.assert_allclose(adapted_GC[is_one_N], expected, atol=1e-6)
    few = clips(15)
    _, small = adapt(few, "speaker")
    assert small.rows[2].overall.metrics == small.rows[1].overall.metrics
    assert list(small.notes)[-1] == "Nothing more is taken of 6 of the 6 speakers: they have too few windows."


def test_clips_without_speech_are_in_no_estimate_and_stay_misses() -> None:
    one = clips(30, silent=(0, 1, 2, 130))
    adapted_GC, found = adapt(one, "archive", "calm=0.5")
    assert np.isnan(adapted_GC).any(axis=1).nonzero()[0].tolist() == [0, 1, 2, 130]
    assert found.rows[1].constants["far"].num_files == 117
    text = json.dumps(found.to_dict(), allow_nan=False)
    row = json.loads(text)["rows"][1]
    assert set(row) == {"name", "overall", "corpora", "constants"}
    assert row["corpora"]["far"]["strength"] == all_of(117)
    assert row["corpora"]["far"]["windows"] == row["corpora"]["far"]["clips"] == 117
    assert row["corpora"]["far"]["distance"] == pytest.approx(25 - 1 / 117)
    assert set(row["corpora"]["far"]["gain"]) == {"value", "low", "high"}


def test_the_page_has_a_row_for_each_and_says_what_the_rest_is_of() -> None:
    one = clips()
    adapted_GC, found = adapt(one, "archive", "sad=0.8")
    evaluation = evaluate_predictions(one.manifest, adapted_GC, 1.5, labels=LABELS, settings=SETTINGS)
    text = render_page(dataclasses.replace(evaluation, adaptation=found))
    section = text[text.index("Adapted and not") : text.index("What is taken for what")]
    for words in ("everything else on this page is of the model adapted to all clips", "not adapted", "balanced",
                  "sad=0.8", "84.4\u00a0%", "24.9", "gain in UAR, points"):  # fmt: skip
        assert words in section
    # All clips and two corpora in each of four rows.
    assert section.count('<th scope="row">') == 12
    assert evaluation.notes == dataclasses.replace(evaluation, adaptation=found).notes[: len(evaluation.notes)]
