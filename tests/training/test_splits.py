from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ser_core.corpora.manifest import MANIFEST_SCHEMA, Manifest
from ser_core.errors import UsageError
from ser_core.training.data.splits import ClipSets, SplitSettings, make_folds

EMOTIONS = ("neutral", "happy", "sad")
SETS = ("training", "validation", "calibration", "test")


def clip(corpus: str, speaker: str, emotion: str, statement: str | None = "one", take: int = 0) -> dict[str, Any]:
    return {
        "path": f"/{corpus}/{speaker}_{emotion}_{statement}_{take}.wav",
        "corpus": corpus,
        "emotion": emotion,
        "speaker": f"{corpus}-{speaker}",
        "gender": "female" if int(speaker) % 2 else "male",
        "statement": statement,
    }


def corpus(name: str, num_speakers: int, emotions: tuple[str, ...] = EMOTIONS) -> list[dict[str, Any]]:
    """Every speaker says both statements with every emotion, twice."""
    return [
        clip(name, f"{speaker:02d}", emotion, statement, take)
        for speaker in range(1, num_speakers + 1)
        for emotion in emotions
        for statement in ("one", "two")
        for take in range(2)
    ]


def manifest(*rows: list[dict[str, Any]]) -> Manifest:
    return Manifest(pa.Table.from_pylist([row for part in rows for row in part], MANIFEST_SCHEMA))


def speakers(clips: Manifest, index_N: np.ndarray) -> set[str]:
    return set(clips.speakers[index_N])


def sets_of(fold: ClipSets) -> list[np.ndarray]:
    return [fold.training_N, fold.validation_N, fold.calibration_N, fold.test_N]


def check_sets(clips: Manifest, fold: ClipSets) -> None:
    index_N = np.concatenate(sets_of(fold))
    assert len(np.unique(index_N)) == len(index_N) <= len(clips)
    assert len(fold.training_N)
    for part_N in sets_of(fold):
        assert part_N.dtype == np.int64
        assert (np.diff(part_N) > 0).all()
    in_training, in_test = speakers(clips, fold.training_N), speakers(clips, fold.test_N)
    assert fold.speakers_overlap == bool(in_training & in_test)


TWO_CORPORA = manifest(corpus("a", 10), corpus("b", 7))


@pytest.mark.parametrize("folds", [None, 4])
@pytest.mark.parametrize("split", ["speaker", "random", "statement", "corpus"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_sets_are_disjoint_and_the_same_for_the_same_seed(split: Any, folds: int | None, seed: int) -> None:
    clips = manifest(corpus("a", 10), corpus("b", 7), corpus("c", 5), corpus("d", 2))
    settings = SplitSettings(split=split, folds=folds, seed=seed)
    if split == "corpus" and folds is None:
        settings = settings.replace(test_corpora=["b"])
    made = make_folds(clips, settings)
    assert len(made) == (folds or 1)
    for fold, again in zip(made, make_folds(clips, settings), strict=True):
        check_sets(clips, fold)
        assert fold.split == split
        for part_N, part_again_N in zip(sets_of(fold), sets_of(again), strict=True):
            np.testing.assert_array_equal(part_N, part_again_N)
    if folds:
        tested = np.sort(np.concatenate([fold.test_N for fold in made]))
        assert len(np.unique(tested)) == len(tested)
        if split != "statement":
            np.testing.assert_array_equal(tested, np.arange(len(clips)))


def test_no_two_sets_share_a_speaker_when_split_by_speaker() -> None:
    (fold,) = make_folds(TWO_CORPORA, SplitSettings())
    parts = [speakers(TWO_CORPORA, part_N) for part_N in sets_of(fold)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 17
    by_corpus = [Counter(speaker.split("-")[0] for speaker in part) for part in parts]
    assert by_corpus == [{"a": 4, "b": 3}, {"a": 2, "b": 2}, {"a": 2, "b": 1}, {"a": 2, "b": 1}]
    assert not fold.speakers_overlap


def test_another_seed_holds_out_other_speakers() -> None:
    held_out = {
        tuple(sorted(speakers(TWO_CORPORA, make_folds(TWO_CORPORA, SplitSettings(seed=seed))[0].test_N)))
        for seed in range(6)
    }
    assert len(held_out) > 3


def test_each_set_has_men_and_women_where_there_are_as_many() -> None:
    for seed in range(5):
        (fold,) = make_folds(TWO_CORPORA, SplitSettings(seed=seed))
        for part_N in sets_of(fold):
            in_a = {name: gender for name, gender in zip(TWO_CORPORA.speakers[part_N], TWO_CORPORA.genders[part_N],
                                                         strict=True) if name.startswith("a-")}  # fmt: skip
            assert Counter(in_a.values())["male"] == len(in_a) // 2


def test_a_corpus_is_split_alike_alone_and_beside_another() -> None:
    alone = manifest(corpus("a", 10))
    beside = speakers(TWO_CORPORA, make_folds(TWO_CORPORA, SplitSettings())[0].test_N)
    assert speakers(alone, make_folds(alone, SplitSettings())[0].test_N) == {
        speaker for speaker in beside if speaker.startswith("a-")
    }


def test_folds_by_speaker_test_each_once_and_hold_speakers_of_each_corpus() -> None:
    made = make_folds(TWO_CORPORA, SplitSettings(folds=5))
    tested = [speakers(TWO_CORPORA, fold.test_N) for fold in made]
    assert sorted(speaker for part in tested for speaker in part) == sorted(set(TWO_CORPORA.speakers))
    for part in tested:
        assert {speaker.split("-")[0] for speaker in part} == {"a", "b"}
    assert {len(part) for part in tested} == {3, 4}


def test_the_development_protocol() -> None:
    clips = manifest(corpus("ravdess", 20), corpus("nemo", 9))
    kept_out = [f"ravdess-{actor}" for actor in range(17, 21)] + ["nemo-08", "nemo-09"]
    made = make_folds(clips, SplitSettings(folds=5, exclude_speakers=kept_out))
    for fold in made:
        check_sets(clips, fold)
        used = set.union(*(speakers(clips, part_N) for part_N in sets_of(fold)))
        assert used == set(clips.speakers) - set(kept_out)
        for part_N in (fold.validation_N, fold.calibration_N):
            counts = Counter(name.split("-")[0] for name in speakers(clips, part_N))
            assert counts["ravdess"] == 2
            assert counts["nemo"] in {1, 2}
        assert Counter(name.split("-")[0] for name in speakers(clips, fold.training_N))["nemo"] == 3
    confirmation = make_folds(clips, SplitSettings(test_speakers=kept_out))
    assert speakers(clips, confirmation[0].test_N) == set(kept_out)


@pytest.mark.parametrize(
    ("num_speakers", "counts"),
    [(1, (1, 0, 0)), (2, (1, 1, 0)), (3, (1, 1, 1)), (4, (2, 1, 1)), (7, (4, 2, 1)), (9, (5, 2, 2))],
)
def test_a_corpus_of_few_speakers_keeps_half_for_training(num_speakers: int, counts: tuple[int, int, int]) -> None:
    clips = manifest(corpus("a", num_speakers))
    (fold,) = make_folds(clips, SplitSettings(test_share=0))
    assert tuple(len(speakers(clips, part_N)) for part_N in sets_of(fold)) == (*counts, 0)


def test_no_validation_and_no_calibration_speakers_leave_all_for_training() -> None:
    (fold,) = make_folds(TWO_CORPORA, SplitSettings(test_share=0, validation_speakers=0, calibration_speakers=0))
    np.testing.assert_array_equal(fold.training_N, np.arange(len(TWO_CORPORA)))


def test_random_is_stratified_and_says_that_speakers_overlap() -> None:
    (fold,) = make_folds(TWO_CORPORA, SplitSettings(split="random"))
    assert fold.speakers_overlap
    assert len(fold.test_N) == len(TWO_CORPORA) // 5 + 1
    for part_N, share in zip(sets_of(fold), (0.64, 0.08, 0.08, 0.2), strict=True):
        counts = Counter(zip(TWO_CORPORA.corpora[part_N], TWO_CORPORA.label_N[part_N], strict=True))
        assert len(counts) == 6
        for (name, _), count in counts.items():
            assert abs(count - share * (40 if name == "a" else 28)) <= 1.5


def test_random_takes_all_for_training_when_told() -> None:
    settings = SplitSettings(split="random", test_share=0, validation_share=0, calibration_share=0)
    (fold,) = make_folds(TWO_CORPORA, settings)
    assert len(fold.training_N) == len(TWO_CORPORA)


def test_a_statement_that_only_held_speakers_say_cannot_be_tested() -> None:
    own = [
        clip("own", f"{speaker:02d}", emotion, f"{statement} of {speaker}")
        for speaker in range(1, 6)
        for emotion in EMOTIONS
        for statement in ("one", "two")
    ]
    with pytest.raises(UsageError, match="only the validation and calibration speakers say the tested statements"):
        make_folds(manifest(own), SplitSettings(split="statement", folds=10))


def test_an_unseen_statement_is_nowhere_but_in_the_test() -> None:
    for settings in (SplitSettings(split="statement"), SplitSettings(split="statement", folds=2)):
        for fold in make_folds(TWO_CORPORA, settings):
            check_sets(TWO_CORPORA, fold)
            spoken = [
                set(zip(TWO_CORPORA.corpora[part_N], TWO_CORPORA.statements[part_N], strict=True))
                for part_N in sets_of(fold)
            ]
            assert spoken[3]
            assert not spoken[3] & (spoken[0] | spoken[1] | spoken[2])
            assert fold.speakers_overlap
            parts = [speakers(TWO_CORPORA, part_N) for part_N in sets_of(fold)]
            assert parts[0] == parts[3]
            assert not parts[1] & parts[2]
            assert not (parts[1] | parts[2]) & parts[0]


def test_clips_without_a_statement_are_left_out() -> None:
    silent = [clip("a", f"{speaker:02d}", "happy", None) for speaker in range(1, 11)]
    clips = manifest(corpus("a", 10), silent)
    (fold,) = make_folds(clips, SplitSettings(split="statement"))
    assert len(set(clips.statements[fold.test_N])) == 1
    assert set(clips.statements[fold.training_N]) == {"one", "two"} - set(clips.statements[fold.test_N])
    assert all(clips.statements[np.concatenate(sets_of(fold))])
    assert fold.to_dict(clips)["num_left_out"] >= len(silent)


def test_a_corpus_is_tested_whole() -> None:
    (fold,) = make_folds(TWO_CORPORA, SplitSettings(split="corpus", test_corpora=["b"]))
    assert set(TWO_CORPORA.corpora[fold.test_N]) == {"b"}
    assert len(fold.test_N) == 7 * 12
    for part_N in sets_of(fold)[:3]:
        assert set(TWO_CORPORA.corpora[part_N]) == {"a"}
    parts = [speakers(TWO_CORPORA, part_N) for part_N in sets_of(fold)]
    assert list(map(len, parts)) == [6, 2, 2, 7]
    assert not fold.speakers_overlap


def test_the_report_says_who_is_where() -> None:
    (fold,) = make_folds(TWO_CORPORA, SplitSettings())
    report = fold.to_dict(TWO_CORPORA)
    assert (report["split"], report["speakers_overlap"], report["num_left_out"]) == ("speaker", False, 0)
    assert list(report["sets"]) == list(SETS)
    for part_N, facts in zip(sets_of(fold), report["sets"].values(), strict=True):
        assert facts["num_clips"] == len(part_N) == sum(facts["emotions"].values()) == sum(facts["corpora"].values())
        assert facts["speakers"] == sorted(speakers(TWO_CORPORA, part_N))
    assert report["sets"]["test"]["emotions"] == {"neutral": 12, "happy": 12, "sad": 12}


ONE_OF_A_KIND = manifest(corpus("a", 3), [clip("a", "01", "angry")])


@pytest.mark.parametrize(
    ("clips", "values", "words"),
    [
        (manifest([]), {}, "no clip"),
        (TWO_CORPORA, {"exclude_speakers": sorted(set(TWO_CORPORA.speakers))}, "exclude_speakers leaves no clip"),
        (TWO_CORPORA, {"exclude_speakers": ["a-99"]}, "exclude_speakers: 'a-99' is not in the manifest"),
        (TWO_CORPORA, {"test_speakers": ["a-01", "x-1"]}, "test_speakers: 'x-1' is not in the manifest"),
        (TWO_CORPORA, {"test_speakers": sorted(set(TWO_CORPORA.speakers))}, "nothing is left for training"),
        (TWO_CORPORA, {"test_speakers": ["a-01"], "exclude_speakers": ["a-01"]}, "'a-01' is in exclude_speakers"),
        (manifest(corpus("a", 1)), {}, "two speakers"),
        (manifest(corpus("a", 1), corpus("b", 1)), {}, "single speaker"),
        (TWO_CORPORA, {"folds": 18}, "18 folds need as many speakers; there are 17"),
        (ONE_OF_A_KIND, {"split": "random"}, "'angry' of corpus a has 1 clip; split random needs 2"),
        (ONE_OF_A_KIND, {"split": "random", "folds": 3}, "'angry' of corpus a has 1 clip; split random needs 3"),
        (manifest(corpus("a", 2)), {"split": "random", "test_share": 0.01}, "too few clips"),
        (TWO_CORPORA, {"split": "corpus"}, "test_corpora"),
        (TWO_CORPORA, {"split": "corpus", "test_corpora": ["c"]}, "test_corpora: 'c' is not in the manifest"),
        (TWO_CORPORA, {"split": "corpus", "folds": 3}, "3 folds need as many corpora; there are 2"),
        (
            manifest(corpus("a", 3), corpus("b", 3, ("angry",))),
            {"split": "corpus", "test_corpora": ["b"]},
            "share no emotion",
        ),
        (TWO_CORPORA, {"split": "statement", "folds": 5}, "5 folds need as many statements; there are 4"),
        (manifest([clip("a", "01", "sad", None)]), {"split": "statement"}, "no clip says its statement"),
        (manifest([clip("a", "01", "sad"), clip("a", "02", "sad")]), {"split": "statement"}, "single statement"),
    ],
)
def test_what_cannot_be_split_gets_one_line(clips: Manifest, values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=r"^[^\n]*$") as error:
        make_folds(clips, SplitSettings(**values))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"folds": 1}, "folds"),
        ({"test_share": 1.0}, "test_share"),
        ({"validation_speakers": -1}, "validation_speakers"),
        ({"validation_share": 0.6, "calibration_share": 0.4}, "validation_share"),
        ({"folds": 3, "test_speakers": ["a-01"]}, "folds and test_speakers"),
        ({"split": "random", "test_speakers": ["a-01"]}, "test_speakers goes with split speaker"),
        ({"test_corpora": ["a"]}, "test_corpora goes with split corpus"),
        ({"test_speakers": []}, "test_speakers names nothing"),
        ({"test_speakers": "a-01"}, "'test_speakers' cannot be 'a-01'; it takes a list (each of it a text) or nothing"),
        ({"exclude_speakers": [1]}, "'exclude_speakers' cannot be 1"),
        ({"split": "by_mood"}, "one of speaker, random, statement, corpus"),
    ],
)
def test_settings_are_checked(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=r"^[^\n]*$") as error:
        SplitSettings.from_dict(values)
    assert words in str(error.value)
