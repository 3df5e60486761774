"""What adapting a model gave on labelled clips: typed values for a page and for programs, and their JSON."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np

from ser_core.evaluation.bootstrap import Interval
from ser_core.evaluation.groups import GroupMetrics
from ser_core.models import Adaptation
from ser_core.vocabulary import AdaptTo

#: Names of rows.
NOT_ADAPTED, CORPORA_ALONE, ALL_CLIPS = "not adapted", "corpora alone", "all clips"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimates:
    """What was estimated of one corpus or of several, and of speakers."""

    #: Means over corpora, each of which is an archive.
    strength: float
    distance: float
    unseen_distance: float
    #: What it was estimated from, of all corpora together.
    num_windows: int
    num_clips: int
    #: How many corpora there are, and of how many nothing is taken.
    num_corpora: int
    num_corpora_unchanged: int
    #: How many speakers are adapted to beyond their corpus, or would be; and of how many nothing more is taken.
    num_speakers: int
    num_speakers_unchanged: int

    @classmethod
    def of(cls, adaptations: Sequence[Adaptation]) -> Self:
        """Those of one corpus or more together."""
        own = [speaker for one in adaptations for speaker in one.folders.values()]
        strength, distance, unseen_distance = (
            float(np.mean([getattr(one, name) for one in adaptations]))
            for name in ("strength", "distance", "unseen_distance")
        )
        return cls(
            strength=strength,
            distance=distance,
            unseen_distance=unseen_distance,
            num_windows=sum(one.num_windows for one in adaptations),
            num_clips=sum(one.num_files for one in adaptations),
            num_corpora=len(adaptations),
            num_corpora_unchanged=sum(one.strength == 0 for one in adaptations),
            num_speakers=len(own),
            num_speakers_unchanged=sum(not any(one.shift) for one in own),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name.removeprefix("num_"): value for name, value in dataclasses.asdict(self).items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptedPart:
    """How good the predictions for all clips, or for those of one corpus, are with some estimates."""

    metrics: GroupMetrics
    #: UAR less that of no adaptation, by the paired bootstrap; None where that is what it is.
    gain: Interval | None
    #: None: the model is not adapted.
    estimates: Estimates | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **(self.estimates.to_dict() if self.estimates else {}),
            "gain": self.gain and self.gain._asdict(),
            "metrics": self.metrics.to_dict(),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptedRow:
    """One way to adapt the model."""

    #: What it is adapted to, such as "all clips" or "neutral=0.8"; or "not adapted".
    name: str
    overall: AdaptedPart
    corpora: dict[str, AdaptedPart]
    #: The constants of each corpus; of its speakers as of folders.
    constants: dict[str, Adaptation]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "overall": self.overall.to_dict(),
            "corpora": {corpus: part.to_dict() for corpus, part in self.corpora.items()},
            "constants": {corpus: one.to_dict() for corpus, one in self.constants.items()},
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptedResult:
    """No adaptation, that to all clips, which the rest of the report is of, and those to mixes."""

    adapt: AdaptTo
    #: Not adapted; where speakers are adapted to, corpora alone; all clips; and, of mixes, the balanced one and these.
    rows: tuple[AdaptedRow, ...]

    @property
    def notes(self) -> Iterator[str]:
        """What a reader must know, a sentence each."""
        speakers = " and beyond it to each speaker's" if self.adapt == "speaker" else ""
        yield f"The model is adapted to the clips of each corpus{speakers}, all of them, without their labels."
        [row] = [row for row in self.rows if row.name == ALL_CLIPS]
        found = {corpus: part.estimates for corpus, part in row.corpora.items() if part.estimates}
        if unchanged := [corpus for corpus, one in found.items() if one.num_corpora_unchanged]:
            yield f"Nothing is taken of {', '.join(unchanged)}: near the training data, or of too few windows."
        num_few = sum(one.num_speakers_unchanged for one in found.values())
        if num_few:
            num_speakers = sum(one.num_speakers for one in found.values())
            yield f"Nothing more is taken of {num_few} of the {num_speakers} speakers: they have too few windows."
        yield from self._notes_of_mixes(found)

    def _notes_of_mixes(self, of_all: dict[str, Estimates]) -> Iterator[str]:
        """Where a mix seems to do no harm as nothing is taken with it, other than with all clips."""
        names = [row.name for row in self.rows]
        for row in self.rows[names.index(ALL_CLIPS) + 1 :]:
            found = {corpus: part.estimates for corpus, part in row.corpora.items() if part.estimates}
            unchanged = [
                f"{corpus} ({one.num_windows} windows)"
                for corpus, one in found.items()
                if one.num_corpora_unchanged and not of_all[corpus].num_corpora_unchanged
            ]
            if unchanged:
                yield (
                    f"Adapted to {row.name}, nothing is taken of {', '.join(unchanged)}: too few windows, or near the "
                    "training data. That row does not tell whether such a mix harms."
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"adapt": self.adapt, "rows": [row.to_dict() for row in self.rows]}
