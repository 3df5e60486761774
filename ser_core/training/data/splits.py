"""Splits: which clips train a model, which validate its epochs, which calibrate it, and which test it.

Shape letters: N rows (clips) of a manifest.

    speaker     nobody in the test is in training; held out, or K folds
    random      clips at random, stratified by corpus and emotion; speakers are in training and test
    statement   the sentence of a test clip is not in training; speakers are in training and test
    corpus      no clip of a test corpus is in training
    cross-corpus  a fold for each corpus, which alone trains; all other corpora are tested, and of its own the speakers
                that split speaker holds out; emotions that it lacks are not tested

But for `random`, the validation and calibration sets are of speakers who are in no other set. A split by statement
leaves out clips that do not say their statement, as theirs might be that of the test, and what the validation and
calibration speakers say of the test's statements. The same statement in two corpora counts as two.
"""

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ser_core.corpora import Manifest
from ser_core.errors import UsageError
from ser_core.settings import require
from ser_core.training.data_config import Split, SplitSettings

__all__ = ["ClipSets", "Split", "SplitSettings", "make_folds"]

Rows = npt.NDArray[np.int64]
_MAX_NAMED = 3
#: Clips that tell whether a model says more than one thing.
_NUM_ASKED = 32
_PLURALS = {"speaker": "speakers", "statement": "statements", "corpus": "corpora"}


@dataclass(frozen=True)
class ClipSets:
    """Row numbers of a manifest, ascending, no row in two sets; all but the training set may be empty."""

    split: Split
    training_N: Rows
    validation_N: Rows
    calibration_N: Rows
    test_N: Rows
    #: Whether a speaker is in training and in test.
    speakers_overlap: bool

    @property
    def sample_N(self) -> Rows:
        """Clips of the training set, where hardly any are tested or calibrate: what the model says of them is asked."""
        num_held = len(self.test_N) + len(self.calibration_N)
        chosen = np.linspace(0, len(self.training_N) - 1, _NUM_ASKED if num_held < _NUM_ASKED else 0)
        return self.training_N[np.unique(chosen.astype(np.int64))]

    def to_dict(self, manifest: Manifest) -> dict[str, Any]:
        """What a report says of it: the split, whether speakers overlap, and what is in each set."""
        sets = {
            "training": self.training_N,
            "validation": self.validation_N,
            "calibration": self.calibration_N,
            "test": self.test_N,
        }
        return {
            "split": self.split,
            "speakers_overlap": self.speakers_overlap,
            "num_left_out": len(manifest) - sum(map(len, sets.values())),
            "sets": {name: _facts(manifest.take(rows_N)) for name, rows_N in sets.items()},
        }


def make_folds(manifest: Manifest, settings: SplitSettings) -> list[ClipSets]:
    """The folds, or one fold where `settings.has_folds` is false; the same for the same rows and settings.

    Raises:
        UsageError: the manifest cannot be split so: it is empty, a name is not in it, there are too few speakers,
            statements, corpora or clips, or training and test share no emotion.
    """
    require(len(manifest) > 0, "the manifest holds no clip; name one that does")
    clips = _Clips(manifest, settings)
    draw = {"random": clips.random_tests, "cross-corpus": clips.cross_tests}.get(settings.split, clips.whole_tests)
    tests = draw()
    return [clips.fold(test_N, number) for number, test_N in enumerate(tests)]


class _Clips:
    """The rows that take part, and how they are drawn."""

    def __init__(self, manifest: Manifest, settings: SplitSettings) -> None:
        self._settings = settings
        self._corpora, self._speakers = manifest.corpora, manifest.speakers
        self._statements, self._label_N = manifest.statements, manifest.label_N
        self._labels = manifest.known_labels
        self._genders = dict(zip(self._speakers, (gender or "" for gender in manifest.genders), strict=True))
        excluded = settings.exclude_speakers or ()
        _check_names("exclude_speakers", excluded, self._speakers)
        is_used_N = ~np.isin(self._speakers, excluded)
        require(bool(is_used_N.any()), "split: exclude_speakers leaves no clip; exclude fewer")
        for speaker in settings.test_speakers or []:
            require(speaker not in excluded, f"split: test speaker '{speaker}' is in exclude_speakers too")
        if settings.split == "statement":
            is_used_N &= np.array([statement is not None for statement in self._statements])
            require(bool(is_used_N.any()), "split statement: no clip says its statement; use another split")
        self._rows_N: Rows = np.flatnonzero(is_used_N)

    def random_tests(self) -> list[Rows]:
        """Rows to test in each fold, by scikit-learn, stratified by corpus and emotion."""
        from sklearn.model_selection import StratifiedKFold, train_test_split

        folds, share, seed = self._settings.folds, self._settings.test_share, self._settings.seed
        if folds is None and share == 0:
            return [self._rows_N[:0]]
        strata = self._strata(self._rows_N)
        for stratum, count in sorted(Counter(strata).items()):
            what = f"{stratum} has {count} clip{'s' * (count > 1)}"
            require(count >= (folds or 2), f"{what}; split random needs {folds or 2}; add some or leave it out")
        if folds is not None:
            parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(strata, strata)
            return [self._rows_N[test] for _, test in parts]
        try:
            test_N: Rows = train_test_split(self._rows_N, test_size=share, stratify=strata, random_state=seed)[1]
        except ValueError as error:
            what = f"{len(strata)} clips are too few clips to test {share:g} of them with every emotion of every corpus"
            raise UsageError(f"split random: {what}; use another test_share") from error
        return [np.sort(test_N)]

    def whole_tests(self) -> list[Rows]:
        """Rows to test in each fold: all of some speakers, statements or corpora."""
        split, folds = self._settings.split, self._settings.folds
        name_N = {"speaker": self._speakers, "statement": self._statements, "corpus": self._corpora}[split]
        for setting, named in (
            ("test_speakers", self._settings.test_speakers), ("test_corpora", self._settings.test_corpora),
        ):  # fmt: skip
            if named is not None:
                _check_names(setting, named, name_N[self._rows_N])
                return [self._rows_N[np.isin(name_N[self._rows_N], named)]]
        groups = self._groups(name_N)
        units = [unit for group in groups for unit in group]
        if folds is not None:
            things = _PLURALS[split]
            require(len(units) >= folds, f"split {split}: {folds} folds need as many {things}; there are {len(units)}")
            return [self._rows_of(units[number::folds], name_N) for number in range(folds)]
        if self._settings.test_share == 0:
            return [self._rows_N[:0]]
        require(split != "corpus", "split corpus: name test_corpora, or give folds")
        way_out = "use split random, which tests clips, or test_share 0"
        require(
            len(units) > 1, f"split {split} needs two {_PLURALS[split]} or more; a single {split} is there; {way_out}"
        )
        held_out = [unit for group in groups for unit in self._test_share_of(group)]
        require(len(held_out) > 0, f"split {split}: every corpus has a single {split}; use split random or corpus")
        return [self._rows_of(held_out, name_N)]

    def cross_tests(self) -> list[Rows]:
        """Rows to test in each fold: all but those of one corpus's speakers that are not held out."""
        groups = self._groups(self._speakers)
        require(len(groups) > 1, "split cross-corpus needs two corpora or more; a single corpus is there")
        tests = []
        for group in groups:
            held_out = self._test_share_of(group) if self._settings.test_share else []
            others = [unit for unit in group if unit not in held_out]
            tests.append(np.setdiff1d(self._rows_N, self._rows_of(others, self._speakers)))
        return tests

    def fold(self, test_N: Rows, number: int) -> ClipSets:
        """The fold with this test."""
        rest_N = np.setdiff1d(self._rows_N, test_N)
        draw = self._random_clips if self._settings.split == "random" else self._whole_speakers
        validation_N, calibration_N = draw(rest_N, number)
        if self._settings.split == "statement":
            held_N = np.concatenate([validation_N, calibration_N])
            was_there = len(test_N) > 0
            test_N = test_N[~np.isin(self._speakers[test_N], self._speakers[held_N])]
            require(
                len(test_N) > 0 or not was_there,
                "split statement: only the validation and calibration speakers say the tested statements; "
                "test others, use fewer folds, or set validation_speakers and calibration_speakers to 0",
            )
        training_N = np.setdiff1d(rest_N, np.concatenate([validation_N, calibration_N]))
        require(len(training_N) > 0, "split: nothing is left for training; test less, or use another split")
        shared = np.intersect1d(self._label_N[training_N], self._label_N[test_N])
        require(len(shared) > 0 or not len(test_N), "split: training and test share no emotion; test something else")
        if self._settings.split == "cross-corpus":
            test_N = test_N[np.isin(self._label_N[test_N], shared)]
        overlap = bool(set(self._speakers[training_N]) & set(self._speakers[test_N]))
        return ClipSets(self._settings.split, training_N, validation_N, calibration_N, test_N, overlap)

    def _random_clips(self, rest_N: Rows, number: int) -> tuple[Rows, Rows]:
        rng = np.random.default_rng((self._settings.seed, number))
        shuffled_N = rng.permutation(rest_N)
        ordered_N = shuffled_N[np.argsort(self._strata(shuffled_N), kind="stable")]
        shares = (self._settings.validation_share, self._settings.calibration_share)
        counts = [min(round(share * len(rest_N)), len(rest_N)) for share in shares]
        held_N = ordered_N[_spread(len(ordered_N), sum(counts), rng)]
        is_validation = np.isin(np.arange(len(held_N)), _spread(len(held_N), counts[0], rng))
        return np.sort(held_N[is_validation]), np.sort(held_N[~is_validation])

    def _whole_speakers(self, rest_N: Rows, number: int) -> tuple[Rows, Rows]:
        validation: list[str] = []
        calibration: list[str] = []
        for corpus in sorted(set(self._corpora[rest_N])):
            rng = _generator(self._settings.seed, corpus, number)
            names = set(self._speakers[rest_N][self._corpora[rest_N] == corpus])
            num_validation, num_calibration = self._num_held(len(names))
            order = self._shuffled(names, rng)
            held = [order[index] for index in _spread(len(order), num_validation + num_calibration, rng)]
            chosen = {held[index] for index in _spread(len(held), num_validation, rng)}
            validation += chosen
            calibration += set(held) - chosen
        of_N = self._speakers[rest_N]
        return rest_N[np.isin(of_N, validation)], rest_N[np.isin(of_N, calibration)]

    def _num_held(self, num_speakers: int) -> tuple[int, int]:
        """Number of validation and calibration speakers of a corpus: one each, then in turn while half are left."""
        spare = max(min(2, num_speakers - 1), num_speakers // 2)
        most = self._settings.calibration_speakers
        validation = min(self._settings.validation_speakers, max(spare - most, (spare + 1) // 2))
        return validation, min(most, spare - validation)

    def _groups(self, name_N: npt.NDArray[np.object_]) -> list[list[tuple[str, str]]]:
        """Each corpus's (corpus, name); their order does not depend on what other corpora are there."""
        units = sorted(set(zip(self._corpora[self._rows_N], name_N[self._rows_N], strict=True)))
        groups = []
        for corpus in sorted(set(self._corpora[self._rows_N])):
            names = {name for of, name in units if of == corpus}
            order = self._shuffled(names, _generator(self._settings.seed, corpus))
            groups.append([(corpus, name) for name in order])
        return groups

    def _shuffled(self, names: set[str], rng: np.random.Generator) -> list[str]:
        """In random order, then (of speakers) by gender, so that what is dealt or spread evenly has men and women."""
        order = [str(name) for name in rng.permutation(sorted(names))]
        return sorted(order, key=lambda name: self._genders.get(name, ""))

    def _test_share_of(self, group: list[tuple[str, str]]) -> list[tuple[str, str]]:
        count = min(max(1, round(self._settings.test_share * len(group))), len(group) - 1)
        rng = _generator(self._settings.seed, group[0][0])
        return [group[index] for index in _spread(len(group), count, rng)]

    def _rows_of(self, units: list[tuple[str, str]], name_N: npt.NDArray[np.object_]) -> Rows:
        wanted = set(units)
        of = zip(self._corpora[self._rows_N], name_N[self._rows_N], strict=True)
        return self._rows_N[[unit in wanted for unit in of]]

    def _strata(self, rows_N: Rows) -> list[str]:
        pairs = zip(self._label_N[rows_N], self._corpora[rows_N], strict=True)
        return [f"'{self._labels[label]}' of corpus {corpus}" for label, corpus in pairs]


def _generator(seed: int, corpus: str, number: int = 0) -> np.random.Generator:
    return np.random.default_rng((seed, zlib.crc32(corpus.encode()), number))


def _spread(size: int, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """`count` indices out of `size`, evenly spaced from a random start (systematic sampling)."""
    return np.floor((np.arange(count) + rng.random()) * size / max(1, count)).astype(np.int64)


def _facts(clips: Manifest) -> dict[str, Any]:
    emotions = Counter(clips.table["emotion"].to_pylist())
    return {
        "num_clips": len(clips),
        "speakers": sorted(set(clips.speakers)),
        "emotions": {label: emotions[label] for label in clips.labels()},
        "corpora": dict(sorted(Counter(clips.corpora).items())),
    }


def _check_names(setting: str, names: Sequence[str], known_N: npt.NDArray[np.object_]) -> None:
    missing = sorted(set(names) - set(known_N))
    named = ", ".join(f"'{name}'" for name in missing[:_MAX_NAMED])
    known = sorted({str(name) for name in known_N})
    more = ", ..." if len(known) > _MAX_NAMED else ""
    verb = "is" if len(missing) == 1 else "are"
    require(
        not missing,
        f"split: {setting}: {named} {verb} not in the manifest; known: {', '.join(known[:_MAX_NAMED])}{more}",
    )
