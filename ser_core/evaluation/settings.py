"""Settings of an evaluation."""

import re
from typing import Self

from pydantic import Field, model_validator

from ser_core.labels import label_fault
from ser_core.settings import Names, PathText, Probability, Settings
from ser_core.vocabulary import AskedAdaptTo

_MIX = re.compile(r"(\w+)=(\d*\.?\d+)")


class BootstrapSettings(Settings):
    """How the intervals are made."""

    resamples: int = Field(default=2_000, ge=2, le=10**6, description="Resamples of speakers, for the 95 % intervals.")
    seed: int = Field(default=0, ge=0, description="Seed of the resamples, and of the clips that are drawn.")


class Mix(Settings):
    """How often emotions are among the clips that are drawn: one has its share, the others are as even as can be."""

    #: None: all are as even as can be.
    emotion: str | None = None
    share: Probability = 0.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """An emotion and its share, such as neutral=0.8.

        Raises:
            ValueError: it is none.
        """
        found = _MIX.fullmatch(text)
        if found is None or label_fault(found[1]) is not None or float(found[2]) > 1:
            raise ValueError(f"--mix {text}: give an emotion and its share from 0 to 1, as neutral=0.8")
        return cls(emotion=found[1], share=float(found[2]))

    def __str__(self) -> str:
        return "balanced" if self.emotion is None else f"{self.emotion}={self.share:g}"


class ClipSettings(Settings):
    """Which clips are evaluated, and what the model is adapted to."""

    adapt: AskedAdaptTo = Field(
        default="none",
        description="What the model is adapted to, without labels: archive, the evaluated clips of each corpus; "
        "speaker, beyond these those of each speaker; none, nothing.",
    )
    mixes: Names = Field(
        default=(), description="Mixes of emotions that it is adapted to as well, each as neutral=0.8, to compare."
    )
    test_only: bool = Field(
        default=False, description="Whether only the clips that tested MODEL in its own training are evaluated."
    )
    against: PathText | None = Field(
        default=None,
        description="Another model, bundled, a folder or s3://bucket/prefix, to be held beside it on the same clips.",
    )
    clips_per_speaker: int | None = Field(
        default=None,
        ge=1,
        description="Most clips of each speaker that are evaluated, drawn evenly over emotions; by default all.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.parsed_mixes and self.adapt == "none":
            raise ValueError(f"--mix {self.mixes[0]}: changes nothing where nothing is adapted; give --adapt too")
        if self.against is not None and self.adapt != "none":
            raise ValueError("--against holds models side by side as they are; leave --adapt out")
        return self

    @property
    def parsed_mixes(self) -> tuple[Mix, ...]:
        """The mixes, each once."""
        return tuple(dict.fromkeys(Mix.parse(text) for text in self.mixes))
