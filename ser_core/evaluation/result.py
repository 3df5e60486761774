"""What an evaluation found: plain data, for JSON, for a page, and for code that compares models.

Shape letters: L labels of the evaluation: the model's, then those that it lacks and clips have.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, Self

from ser_core.evaluation.bootstrap import BootstrapSettings, Interval
from ser_core.evaluation.metrics import ClassMetrics, CoveragePoint, Labels, Reliability

#: Of the JSON; raised when a field goes or changes its meaning.
FORMAT_NUMBER = 1
_MAX_NAMED = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSpeakers:
    """Whose clips made a model, as "<corpus>-<id>"."""

    #: The weights were fitted to them.
    training: tuple[str, ...] = ()
    #: They said which epoch is kept.
    validation: tuple[str, ...] = ()
    #: The temperature was fitted to them.
    calibration: tuple[str, ...] = ()

    @classmethod
    def of_training(cls, training: dict[str, Any]) -> Self | None:
        """From `training` of a model's config; None where it does not say.

        It reads the lists `speakers`, `validation_speakers` and `calibration_speakers`; only the first must be there.
        The last two are `stopping_speakers` and `temperature_speakers` in older artifacts.
        """
        heard = _texts(training.get("speakers"))
        if heard is None:
            return None
        validation = _texts(training.get("validation_speakers", training.get("stopping_speakers")))
        calibration = _texts(training.get("calibration_speakers", training.get("temperature_speakers")))
        return cls(training=heard, validation=validation or (), calibration=calibration or ())


def _texts(value: Any) -> tuple[str, ...] | None:
    is_list_of_texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return tuple(value) if is_list_of_texts else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupMetrics:
    """How good the answers to some clips are; metrics.py says what the figures mean."""

    num_clips: int
    num_speakers: int
    accuracy: Interval
    macro_f1: Interval
    uar: Interval
    ece: Interval
    #: At temperature 1.
    ece_uncalibrated: float
    #: The mean probability of the answers given.
    confidence: float
    #: How many of these clips' speakers are of each corpus.
    speakers_by_corpus: dict[str, int]

    @property
    def few_speakers(self) -> tuple[str, ...]:
        """The corpora with so few speakers (one or two) that an interval says little."""
        return tuple(corpus for corpus, number in self.speakers_by_corpus.items() if number <= 2)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "clips": self.num_clips,
            "speakers": self.num_speakers,
            **{name: getattr(self, name)._asdict() for name in ("accuracy", "macro_f1", "uar", "ece")},
            "ece_uncalibrated": self.ece_uncalibrated,
            "confidence": self.confidence,
            "few_speakers": list(self.few_speakers),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How good a model's answers to the clips of a manifest are."""

    title: str
    #: The model, the manifests, the device: what a reader must know, plain values by name.
    about: dict[str, Any]
    #: In the order of the rows and columns of `confusion_LL`.
    labels: tuple[str, ...]
    #: Of these, what the model cannot answer.
    missing_labels: tuple[str, ...]
    #: By corpus: the labels of its clips, to which their answers are confined.
    label_sets: dict[str, tuple[str, ...]]
    settings: BootstrapSettings
    overall: GroupMetrics
    classes: tuple[ClassMetrics, ...]
    #: Clips by their right label (row) and their answer.
    confusion_LL: Labels
    #: Whether the temperature is another than 1, so that metrics before and after calibration differ.
    is_calibrated: bool
    reliability: Reliability
    reliability_uncalibrated: Reliability
    coverage: tuple[CoveragePoint, ...]
    #: `corpus`, `speaker`, `gender`, `language`, and `heard` where some speakers were in the training: name -> figures.
    by: dict[str, dict[str, GroupMetrics]]
    #: None where the model does not say.
    heard: ModelSpeakers | None

    @property
    def overlap(self) -> dict[str, tuple[str, ...]] | None:
        """Who of the speakers took part in making the model, by what for; None where the model does not say."""
        if self.heard is None:
            return None
        sets = {part: set(names) for part, names in dataclasses.asdict(self.heard).items()}
        return {part: tuple(name for name in self.by["speaker"] if name in names) for part, names in sets.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the figures must know, a sentence each."""
        return (*self._notes_on_speakers(), *self._notes_on_labels(), *self._notes_on_intervals())

    def _notes_on_speakers(self) -> Iterator[str]:
        overlap, total = self.overlap, self.overall.num_speakers
        flatter = "figures for speakers that a model knows flatter it"
        if overlap is None:
            yield f"The model does not say which speakers it was trained on; {flatter}."
            return
        if found := overlap["training"]:
            yield f"{len(found)} of the {total} speakers were in the model's training ({_named(found)}); {flatter}."
        else:
            yield "None of the speakers was in the model's training."
        for part, words in (("validation", "chose the epoch that was kept"), ("calibration", "calibrated the model")):
            if found := overlap[part]:
                yield f"{len(found)} of the {total} speakers {words} ({_named(found)})."

    def _notes_on_labels(self) -> Iterator[str]:
        num_known = len(self.labels) - len(self.missing_labels)
        for corpus, labels in self.label_sets.items():
            possible = [label for label in labels if label not in self.missing_labels]
            masked = [label for label in self.labels if label not in {*labels, *self.missing_labels}]
            if masked:
                yield (
                    f"No clip of {corpus} has {_named(masked)}: what the model says of that is masked there, and the "
                    f"other {len(possible)} of its {num_known} labels renormalised."
                )
        for figures in self.classes:
            if figures.label in self.missing_labels:
                yield f"The model has no label {figures.label}: its {figures.num_clips} clips count as answered wrong."

    def _notes_on_intervals(self) -> Iterator[str]:
        for corpus in self.overall.few_speakers:
            number = self.overall.speakers_by_corpus[corpus]
            yield f"Of {corpus} there {'is 1 speaker' if number == 1 else 'are 2 speakers'}: its intervals say little."

    def to_dict(self) -> dict[str, Any]:
        """For JSON: plain values, no NaN."""
        return {
            "format_number": FORMAT_NUMBER,
            "title": self.title,
            "about": self.about,
            "labels": list(self.labels),
            "missing_labels": list(self.missing_labels),
            "label_sets": {corpus: list(labels) for corpus, labels in self.label_sets.items()},
            "bootstrap": {**self.settings.to_dict(), "over": "speakers, within each corpus", "percent": 95},
            "notes": list(self.notes),
            "overall": self.overall.to_dict(),
            "classes": [_class_dict(figures) for figures in self.classes],
            "confusion": self.confusion_LL.tolist(),
            "reliability": self.reliability.to_dicts(),
            "reliability_uncalibrated": self.reliability_uncalibrated.to_dicts(),
            "coverage": [dataclasses.asdict(point) for point in self.coverage],
            "by": {part: {name: one.to_dict() for name, one in groups.items()} for part, groups in self.by.items()},
            "model_speakers": dataclasses.asdict(self.heard) if self.heard else None,
            "overlap": self.overlap,
        }


def _class_dict(figures: ClassMetrics) -> dict[str, Any]:
    return {
        "label": figures.label,
        "clips": figures.num_clips,
        "answers": figures.num_answers,
        "precision": figures.precision,
        "recall": figures.recall,
        "f1": figures.f1,
    }


def _named(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more
