"""Trained on each corpus and tested on each: whose clips are where, and the matrix that comes of it."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ser_core.errors import UsageError
from ser_core.models.artifact import Artifact
from ser_core.training.data.splits import SplitSettings, make_folds
from ser_core.training.folder import TrainingFolder
from ser_core.training.pooled import write_pooled
from tests.support.cli import ser_here
from tests.support.training import settings
from tests.support.training_runs import job_values, run
from tests.support.training_worker import make_job
from tests.training.test_splits import TWO_CORPORA, check_sets, corpus, manifest, speakers

CROSS = SplitSettings(split="cross-corpus")


def test_each_corpus_trains_one_model_and_all_others_test_it() -> None:
    clips = manifest(corpus("a", 10), corpus("b", 7), corpus("c", 2))
    made = make_folds(clips, CROSS)
    assert len(made) == 3
    for fold, name in zip(made, "abc", strict=True):
        check_sets(clips, fold)
        assert (fold.split, fold.speakers_overlap) == ("cross-corpus", False)
        own_N = np.concatenate([fold.training_N, fold.validation_N, fold.calibration_N])
        assert set(clips.corpora[own_N]) == {name}
        assert fold.to_dict(clips)["num_left_out"] == 0
        alone = clips.take(np.flatnonzero(clips.corpora == name))
        held_out = speakers(alone, make_folds(alone, SplitSettings())[0].test_N)
        assert {who for who in speakers(clips, fold.test_N) if who.startswith(name)} == held_out
        others = set(clips.speakers[clips.corpora != name])
        assert speakers(clips, fold.test_N) == held_out | others
    parts = [speakers(clips, part_N) for part_N in (made[0].training_N, made[0].validation_N, made[0].calibration_N)]
    assert list(map(len, parts)) == [4, 2, 2]


def test_emotions_that_a_model_has_not_learned_do_not_test_it() -> None:
    clips = manifest(corpus("a", 4), corpus("b", 4, ("happy", "sad", "angry")))
    of_a, of_b = make_folds(clips, CROSS)
    assert set(clips.table["emotion"].take(of_a.test_N).to_pylist()) == {"neutral", "happy", "sad"}
    assert of_a.to_dict(clips)["num_left_out"] == (clips.table["emotion"].to_pylist()).count("angry")
    assert "neutral" not in clips.table["emotion"].take(of_b.test_N).to_pylist()


def test_without_a_share_to_test_only_other_corpora_are_tested() -> None:
    of_a, _ = make_folds(TWO_CORPORA, CROSS.replace(test_share=0.0))
    assert set(TWO_CORPORA.corpora[of_a.test_N]) == {"b"}


def test_one_corpus_or_a_number_of_folds_is_refused_in_a_line() -> None:
    with pytest.raises(UsageError, match=r"^split cross-corpus needs two corpora or more; a single corpus is there$"):
        make_folds(manifest(corpus("a", 5)), CROSS)
    with pytest.raises(UsageError, match="split cross-corpus has a fold for each corpus; leave out folds"):
        SplitSettings.from_dict({"split": "cross-corpus", "folds": 2})
    with pytest.raises(UsageError, match="share no emotion"):
        make_folds(manifest(corpus("a", 3), corpus("b", 3, ("angry",))), CROSS.replace(test_share=0.0))


def test_the_matrix_is_written_and_printed(manifests: list[str], tmp_path: Path, cache: Path) -> None:
    changes = {"epochs": 1, "calibration": "folds", "split": {"split": "cross-corpus"}}
    job = make_job(job_values(manifests, tmp_path / "model", cache, **changes))
    # As the command begins one; it is run without Ray here.
    name = TrainingFolder(job.folder).begin(job.check(1).identity)
    job = dataclasses.replace(job, run=name)
    run(job)
    write_pooled(job)
    report = json.loads((tmp_path / "model/report.json").read_text())
    assert list(report["matrix"]) == ["hum", "tone"]
    for number, (trained_on, row) in enumerate(report["matrix"].items(), 1):
        assert list(row) == ["hum", "tone"]
        fold = json.loads((tmp_path / f"model/fold-{number}/report.json").read_text())
        assert row == fold["test"]["by"]["corpus"]
        assert fold["split"]["sets"]["training"]["corpora"].keys() == {trained_on}
        # Held back, as the other fold's model was trained on what tests this one.
        assert len(job.sets[number - 1].calibration_N)
        card = Artifact.load(str(tmp_path / f"model/fold-{number}")).card
        assert f"## Trained on\n\n{trained_on} (" in card
        assert "split by cross-corpus" in card
    assert report["matrix"]["hum"]["hum"]["speakers"] == report["matrix"]["tone"]["tone"]["speakers"] == 1
    assert report["matrix"]["hum"]["tone"]["clips"] == 40
    assert (report["test"], "over_folds" in report) == (None, False)
    # The clips of `tone` that are happy or angry are judged among these two alone.
    table = pq.read_table(tmp_path / "model/predictions.parquet").to_pandas()
    of_hum = table[(table["fold"] == 1) & (table["corpus"] == "tone")]
    right = np.where(of_hum["p_happy"] > of_hum["p_angry"], "happy", "angry") == of_hum["emotion"]
    assert report["matrix"]["hum"]["tone"]["accuracy"]["value"] == pytest.approx(right.mean())

    (tmp_path / "train.json").write_text(json.dumps(settings(cache, **changes)))
    answer = ser_here("train", *manifests, tmp_path / "model", "--config", tmp_path / "train.json")
    assert "already trained" in answer.err
    lines = answer.out.splitlines()
    assert lines[0].startswith("UAR, and ECE, of the models trained on (row) as they are tested on (column)")
    assert lines[1].split() == ["hum", "tone"]
    cell = report["matrix"]["tone"]["hum"]
    [tone] = [line for line in lines if line.startswith("tone ")]
    assert f"{cell['uar']['value']:.1%}" in tone
    assert f"ECE {cell['ece']['value']:.3f}" in tone
