"""What adapting a model gave on labelled clips: typed values for a page and for programs, and their JSON."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np

from ser_core.evaluation.bootstrap import Interval
from ser_core.evaluation.groups import GroupMetrics
from ser_core.models import Adaptation
from ser_core.vocabulary import AdaptTo

#: What a corpus, or a speaker, is called in numbers.
_PLURALS = {"archive": "corpora", "speaker": "speakers"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimates:
    """What was estimated, for one corpus or speaker or for several."""

    #: Means over them.
    strength: float
    distance: float
    unseen_distance: float
    #: What it was estimated from, of all together.
    num_windows: int
    num_clips: int
    #: How many corpora or speakers there are, and to how many of them the model is not adapted.
    num_groups: int
    num_unchanged: int

    @classmethod
    def of(cls, adaptations: Sequence[Adaptation]) -> Self:
        """Those of one or more groups together."""
        return cls(
            **{
                name: float(np.mean([getattr(one, name) for one in adaptations]))
                for name in ("strength", "distance", "unseen_distance")
            },
            num_windows=sum(one.num_windows for one in adaptations),
            num_clips=sum(one.num_files for one in adaptations),
            num_groups=len(adaptations),
            num_unchanged=sum(one.strength == 0 for one in adaptations),
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
    #: The constants of each corpus or speaker.
    constants: dict[str, Adaptation]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "overall": self.overall.to_dict(),
            "corpora": {corpus: part.to_dict() for corpus, part in self.corpora.items()},
            "constants": {group: one.to_dict() for group, one in self.constants.items()},
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptedResult:
    """No adaptation, that to all clips, which the rest of the report is of, and those to mixes."""

    adapt: AdaptTo
    #: Not adapted; all clips; and, where there are mixes, the balanced one and these.
    rows: tuple[AdaptedRow, ...]

    @property
    def notes(self) -> Iterator[str]:
        """What a reader must know, a sentence each."""
        groups = {"archive": "the clips of each corpus", "speaker": "the clips of each speaker"}[self.adapt]
        yield f"The model is adapted to {groups}, estimated from all of them without their labels."
        for row in self.rows:
            estimates = row.overall.estimates
            if estimates is not None and estimates.num_unchanged:
                yield (
                    f"Adapted to {row.name}, it stays as it is for {estimates.num_unchanged} of the "
                    f"{estimates.num_groups} {_PLURALS[self.adapt]}: near the training data, or of too few windows."
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"adapt": self.adapt, "rows": [row.to_dict() for row in self.rows]}
