"""How good the predictions for some clips are, and for the clips of each corpus, speaker, gender and language."""

import dataclasses
from typing import Any

from ser_core.evaluation.bootstrap import Interval


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
    #: Clips whose speakers were in the model's training, and those of new ones; empty where all are new.
    seen: dict[str, GroupMetrics]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        by = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {part: {name: one.to_dict() for name, one in groups.items()} for part, groups in by.items() if groups}
