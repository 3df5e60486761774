"""The part of a written report.json that a training's end lines are made of."""

from pydantic import BaseModel

from ser_core.storage import Location, read


class Estimate(BaseModel):
    """A metric's value and its 95 % interval, which is None where every corpus has one speaker alone."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        return f"{self.value:.1%}" + ("" if self.low is None else f" [{self.low:.1%}, {self.high:.1%}]")


class Spread(BaseModel):
    """A metric's mean over the folds and its standard deviation (of a sample)."""

    mean: float
    standard_deviation: float

    def __str__(self) -> str:
        return f"{self.mean:.1%} ± {self.standard_deviation:.1%}"


class Overall(BaseModel):
    """The metrics of all test clips."""

    clips: int
    speakers: int
    accuracy: Estimate
    macro_f1: Estimate
    uar: Estimate
    ece: Estimate
    ece_uncalibrated: float
    confidence: float
    few_speakers: list[str]


class TestPart(BaseModel):
    """The test clips' part of the report."""

    overall: Overall
    notes: list[str]


class Split(BaseModel):
    """The protocol of the test."""

    split: str
    speakers_overlap: bool


class FoldPart(BaseModel):
    """A fold's part of the report of all folds; they are split alike."""

    split: Split
    one_answer: str | None = None


class TrainingPart(BaseModel):
    """What a model says of its training."""

    #: What it says of every clip; None: it says several things.
    one_answer: str | None = None


class ReportSummary(BaseModel):
    """A report of one model, or of all folds, which names no model."""

    model: str | None = None
    split: Split | None = None
    folds: list[FoldPart] = []
    training: TrainingPart = TrainingPart()
    test: TestPart | None
    over_folds: dict[str, Spread] | None = None
    #: By the corpus that a model was trained on, then by the one that it is tested on.
    matrix: dict[str, dict[str, Overall]] | None = None

    @classmethod
    def read(cls, report: Location) -> "ReportSummary":
        """Read what a training wrote.

        Raises:
            FileNotFoundError: there is no report.
        """
        return cls.model_validate_json(read(report))

    @property
    def one_answers(self) -> dict[int, str]:
        """Of models that say one thing of every clip: what it is, by the fold's number from 1 on."""
        answers = [fold.one_answer for fold in self.folds] or [self.training.one_answer]
        return {number: answer for number, answer in enumerate(answers, start=1) if answer is not None}

    @property
    def test_split(self) -> Split:
        """How the clips were split into training and test."""
        return self.split or self.folds[0].split

    def matrix_rows(self) -> list[list[str]]:
        """The matrix for people: its head, then a row for each model; a dash where nothing could be tested."""
        matrix = self.matrix or {}
        tested = sorted({corpus for row in matrix.values() for corpus in row})
        cells = [
            [name, *(f"{row[one].uar}, ECE {row[one].ece.value:.3f}" if one in row else "-" for one in tested)]
            for name, row in matrix.items()
        ]
        return [["", *tested], *cells]
