"""How good predictions are: for some clips, for those of each corpus, speaker and so on, and beside another model's."""

import dataclasses
from typing import Any, get_args

from ser_core.evaluation.bootstrap import Interval, Metric
from ser_core.evaluation.metrics import ClassMetrics

METRICS: tuple[Metric, ...] = get_args(Metric)
COUNTS = ("both_right", "this_right", "other_right", "neither_right")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupMetrics:
    """How good the predictions for some clips are; metrics.py defines each metric."""

    num_clips: int
    num_speakers: int
    accuracy: Interval
    macro_f1: Interval
    uar: Interval
    ece: Interval
    #: At temperature 1.
    ece_uncalibrated: float
    #: The mean probability of the predicted labels.
    confidence: float
    #: The number of these clips' speakers by corpus.
    speakers_by_corpus: dict[str, int]

    @property
    def few_speakers(self) -> tuple[str, ...]:
        """The corpora with so few speakers (one or two) that an interval says little."""
        return tuple(corpus for corpus, number in self.speakers_by_corpus.items() if number <= 2)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "clips": self.num_clips,
            "speakers": self.num_speakers,
            **{name: getattr(self, name)._asdict() for name in ("accuracy", "macro_f1", "uar", "ece")},
            "ece_uncalibrated": self.ece_uncalibrated,
            "confidence": self.confidence,
            "few_speakers": list(self.few_speakers),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Groups:
    """The metrics of the clips of each name."""

    corpus: dict[str, GroupMetrics]
    speaker: dict[str, GroupMetrics]
    gender: dict[str, GroupMetrics]
    language: dict[str, GroupMetrics]
    #: As the corpora's file names say how strongly an emotion is acted; empty where none does.
    intensity: dict[str, GroupMetrics]
    #: By the clip's length; empty where it is not known.
    length: dict[str, GroupMetrics]
    #: Clips whose speakers were in the model's training, and those of new ones; empty where all are new.
    seen: dict[str, GroupMetrics]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        by = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {part: {name: one.to_dict() for name, one in groups.items()} for part, groups in by.items() if groups}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Against:
    """Another model on the clips of an evaluation."""

    #: Name and content, as `Artifact.identity`.
    model: str
    overall: GroupMetrics
    classes: tuple[ClassMetrics, ...]
    #: What a reader must know of its metrics, a sentence each.
    notes: tuple[str, ...]
    #: By how much the evaluated model is better, by metric; the resamples take the same speakers for both.
    gains: dict[Metric, Interval]
    #: Clips that both get right, this model alone, the other one alone, and neither.
    both_right: int
    this_right: int
    other_right: int
    neither_right: int
    #: Clips of which both say the same.
    agree: int

    def recall_of(self, label: str) -> float | None:
        """Its recall of a label; None where it knows none."""
        return next((one.recall for one in self.classes if one.label == label), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "model": self.model,
            "overall": self.overall.to_dict(),
            "recalls": {one.label: one.recall for one in self.classes},
            "notes": list(self.notes),
            "gains": {name: gain._asdict() for name, gain in self.gains.items()},
            **{name: getattr(self, name) for name in (*COUNTS, "agree")},
        }
