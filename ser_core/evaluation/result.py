"""What an evaluation found: typed values for a page and for code that compares models, and their JSON.

Shape letters: L labels of the evaluation: the model's, then those that it lacks and clips have.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, Self

from ser_core.corpora import is_known_speaker
from ser_core.evaluation.adapted_result import AdaptedResult
from ser_core.evaluation.details import Baseline, HardClip
from ser_core.evaluation.groups import Against, GroupMetrics, Groups
from ser_core.evaluation.metrics import ClassMetrics, CoveragePoint, Labels, Reliability
from ser_core.evaluation.model_training import History, ModelSpeakers
from ser_core.evaluation.settings import BootstrapSettings
from ser_core.vocabulary import NO_SPEECH

#: Format of the JSON; raised when a field goes or changes its meaning. 2: resamples, predictions, missing_labels, seen.
FORMAT_NUMBER = 2
_MAX_NAMED, _MAX_NAMED_PATHS = 6, 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class About:
    """The model and how it ran: what a reader must know to judge the metrics, or to get them again."""

    #: Name and content, as `Artifact.identity`.
    model: str
    architecture: str
    licence: str | None
    temperature: float
    manifests: tuple[str, ...]
    manifest_sha256: str
    window_seconds: float
    #: Which windows are judged: on, those with speech, or all.
    speech: str
    #: What a window needs of it; None where all are judged.
    min_speech_seconds: float | None
    device: str
    precision: str
    batch_size: int
    versions: dict[str, str]
    #: What the model is adapted to: none, archive or speaker.
    adapt: str = "none"
    #: Most clips of each speaker that are evaluated; None: all.
    clips_per_speaker: int | None = None
    #: How many clips of the manifests are therefore not.
    num_left_out: int = 0
    #: Whether only the clips are evaluated that tested the model in its own training.
    test_only: bool = False
    #: How many clips of the manifests are therefore not, and how many of that test are not in them.
    num_not_tested: int = 0
    num_not_here: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How good a model's predictions for the clips of a manifest are."""

    title: str
    about: About | None
    #: They are in the order of the rows and columns of `confusion_LL`.
    labels: tuple[str, ...]
    #: Those of `labels` that the model cannot predict.
    missing_labels: tuple[str, ...]
    #: The labels that the clips of each corpus can have.
    label_sets: dict[str, tuple[str, ...]]
    settings: BootstrapSettings
    overall: GroupMetrics
    classes: tuple[ClassMetrics, ...]
    #: Clips by their right label (row) and their predicted one (column).
    confusion_LL: Labels
    #: Whether the temperature is another than 1, so that metrics before and after calibration differ.
    is_calibrated: bool
    reliability: Reliability
    reliability_uncalibrated: Reliability
    coverage: tuple[CoveragePoint, ...]
    by: Groups
    #: None where the model does not say.
    model_speakers: ModelSpeakers | None
    #: What nobody needs to listen for.
    baselines: dict[str, Baseline]
    #: The clips that are wrong with the least probability of the right label.
    hardest: tuple[HardClip, ...]
    #: Paths of clips whose audio the model was fitted to, whoever is said to speak; None: it was not compared.
    heard_paths: tuple[str, ...] | None = None
    #: The epochs of the model's training; none where they are not known.
    history: History = dataclasses.field(default_factory=History)
    #: Another model on the same clips; None: there is none.
    against: Against | None = None
    #: The predictions are of the adapted model, and beside others here; None: it is as it was trained.
    adaptation: AdaptedResult | None = None

    def with_history(self, training: dict[str, Any]) -> Self:
        """The same, with the epochs that `training` of the model's config tells of."""
        return dataclasses.replace(self, history=History.of_training(training))

    @property
    def overlap(self) -> ModelSpeakers | None:
        """Those of these clips' speakers who took part in making the model; None where the model does not say."""
        return None if self.model_speakers is None else self.model_speakers.among(self.by.speaker)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the metrics must know, a sentence each."""
        return (
            *self._notes_on_clips(),
            *self._notes_on_speakers(),
            *self._notes_on_labels(),
            *self._notes_on_intervals(),
            *(self.adaptation.notes if self.adaptation else ()),
        )

    def _notes_on_clips(self) -> Iterator[str]:
        about, num_clips = self.about, self.overall.num_clips
        if about is not None and about.test_only:
            missing = f"; {about.num_not_here} more of its test are not there" if about.num_not_here else ""
            yield (
                f"These are the clips that tested the model in its training, {num_clips + about.num_left_out} of the "
                f"{num_clips + about.num_left_out + about.num_not_tested} in the manifest{missing}."
            )
        if about is not None and about.num_left_out:
            yield (
                f"{about.num_left_out} of the {num_clips + about.num_left_out} clips were left out: of each speaker at "
                f"most {about.clips_per_speaker} were drawn (seed {self.settings.seed})."
            )

    def _notes_on_speakers(self) -> Iterator[str]:
        overlap, total = self.overlap, self.overall.num_speakers
        flatter = "metrics of speakers that a model knows flatter it"
        unknown = [speaker for speaker in self.by.speaker if not is_known_speaker(speaker)]
        if unknown:
            named = _named(unknown)
            yield f"Who speaks is not known of some clips ({named}), nor whether the training had them; {flatter}."
        if overlap is None:
            yield f"The model does not say which speakers it was trained on; {flatter}."
            return
        if found := tuple(speaker for speaker in overlap.training if speaker not in unknown):
            yield f"{len(found)} of the {total} speakers were in the model's training ({_named(found)}); {flatter}."
        elif not unknown:
            yield f"None of the speakers was in the model's training, by their names{self._compared_audio}."
        if self.heard_paths:
            yield (
                f"The audio of {len(self.heard_paths)} of the {self.overall.num_clips} clips was in the model's "
                f"training, whoever is said to speak ({_named(self.heard_paths, _MAX_NAMED_PATHS)}); {flatter}."
            )
        for found, words in (
            (overlap.validation, "chose the epoch that was kept"),
            (overlap.calibration, "calibrated the model"),
        ):
            if found:
                yield f"{len(found)} of the {total} speakers {words} ({_named(found)})."

    @property
    def _compared_audio(self) -> str:
        if self.heard_paths is None:
            return "; whether the same audio was there under other names was not compared"
        return "" if self.heard_paths else ", nor the audio of any clip, by hashes of their samples"

    def _notes_on_labels(self) -> Iterator[str]:
        of_model = [label for label in self.labels if label not in {*self.missing_labels, NO_SPEECH}]
        for corpus, labels in self.label_sets.items():
            possible = [label for label in labels if label not in self.missing_labels]
            absent = [label for label in of_model if label not in labels]
            if absent:
                yield (
                    f"No clip of {corpus} has {_named(absent)}: its metrics compare the other {len(possible)} of the "
                    f"model's {len(of_model)} labels alone."
                )
        for one in self.classes:
            if one.label == NO_SPEECH:
                yield (
                    f"In {one.num_predictions} of the {self.overall.num_clips} clips there is no speech, as scoring "
                    "hears it; they get no emotion, and count as wrong."
                )
            if one.label in self.missing_labels:
                yield f"The model has no label {one.label}: its {one.num_clips} clips count as wrong."

    def _notes_on_intervals(self) -> Iterator[str]:
        for corpus in self.overall.few_speakers:
            number = self.overall.speakers_by_corpus[corpus]
            yield f"Of {corpus} there {'is 1 speaker' if number == 1 else 'are 2 speakers'}: its intervals say little."

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without NaN."""
        return {
            "format_number": FORMAT_NUMBER,
            "title": self.title,
            "about": dataclasses.asdict(self.about) if self.about else {},
            "labels": list(self.labels),
            "missing_labels": list(self.missing_labels),
            "label_sets": {corpus: list(labels) for corpus, labels in self.label_sets.items()},
            "bootstrap": {**self.settings.to_dict(), "over": "speakers, within each corpus", "percent": 95},
            "notes": list(self.notes),
            "overall": self.overall.to_dict(),
            "classes": [_class_dict(one) for one in self.classes],
            "confusion": self.confusion_LL.tolist(),
            "reliability": _bin_dicts(self.reliability),
            "reliability_uncalibrated": _bin_dicts(self.reliability_uncalibrated),
            "coverage": [dataclasses.asdict(point) for point in self.coverage],
            "by": self.by.to_dict(),
            "model_speakers": self.model_speakers.to_dict() if self.model_speakers else None,
            "overlap": self.overlap.to_dict() if self.overlap else None,
            "heard_clips": None if self.heard_paths is None else list(self.heard_paths),
            "baselines": {name: dataclasses.asdict(one) for name, one in self.baselines.items()},
            "hardest": [dataclasses.asdict(clip) for clip in self.hardest],
            "history": self.history.model_dump(mode="json")["history"],
            "best_epoch": self.history.best_epoch,
            "against": self.against.to_dict() if self.against else None,
            "adaptation": self.adaptation.to_dict() if self.adaptation else None,
        }


def _class_dict(one: ClassMetrics) -> dict[str, Any]:
    return {
        "label": one.label,
        "clips": one.num_clips,
        "predictions": one.num_predictions,
        "precision": one.precision,
        "recall": one.recall,
        "f1": one.f1,
    }


def _bin_dicts(reliability: Reliability) -> list[dict[str, Any]]:
    return [
        {
            "from": one.low,
            "to": one.high,
            "clips": one.num_clips,
            "confidence": one.confidence,
            "accuracy": one.accuracy,
        }
        for one in reliability.bins
    ]


def _named(names: tuple[str, ...] | list[str], most: int = _MAX_NAMED) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
