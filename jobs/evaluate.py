"""`ser evaluate`: a model's predictions for the clips of manifests -> a report for programs and one for people."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from jobs.console import Console
from jobs.interrupts import Interrupts
from ser_core.errors import SerError, UsageError
from ser_core.score_config import ScoreConfig
from ser_core.settings import ResolvedDevice, ResolvedPrecision

if TYPE_CHECKING:
    import pyarrow as pa

    from ser_core.corpora import Manifest
    from ser_core.evaluation import (
        About,
        AdaptedResult,
        BootstrapSettings,
        ClipSettings,
        Evaluation,
        Floats,
        GroupMetrics,
        Interval,
        LabelSets,
    )
    from ser_core.models import Artifact, Predictor

_GAINS: tuple[tuple[str, Literal["uar", "accuracy"]], ...] = (("UAR", "uar"), ("accuracy", "accuracy"))
_CPU_BATCH_SIZE, _GPU_BATCH_SIZE = 16, 256


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was typed."""

    model: str
    manifests: list[str]
    output: str
    #: Of `ser score`: how the model runs, and which windows are judged.
    settings: ScoreConfig
    clips: "ClipSettings"
    bootstrap: "BootstrapSettings"

    def __post_init__(self) -> None:
        if self.output.endswith(".parquet"):
            raise UsageError(f"OUT {self.output}: is named like a manifest; the last argument is the folder to write")


class Running(TypedDict):
    """How `Predictor` runs."""

    device: ResolvedDevice
    precision: ResolvedPrecision
    batch_size: int


def run_evaluate(request: Request, console: Console) -> int:
    """Check everything first, then predict every clip, then write OUT."""
    from ser_core.corpora import read_manifests
    from ser_core.evaluation import EvaluationFolder, LabelSets, chosen_clips, side_by_side
    from ser_core.models import Artifact
    from ser_core.storage import Location

    out = EvaluationFolder(Location.parse(request.output))
    artifact = Artifact.load(request.model)
    other = None if request.clips.against is None else Artifact.load(request.clips.against)
    if request.clips.adapt != "none":
        artifact.require_adaptable(request.model)
    whole = read_manifests(request.manifests)
    chosen = chosen_clips(whole, request.model, request.clips, request.bootstrap.seed)
    models = [one for one in (artifact, other) if one is not None]
    subjects = [_Subject(one, LabelSets(chosen.clips, one.config.labels, whole.labels_by_corpus())) for one in models]
    out.check()
    running, about = _running(request.settings), {"manifest_sha256": whole.content_hash()} | chosen.about()
    first, *others = (_evaluated(one, chosen.clips, about, request, running, console) for one in subjects)
    evaluation = first.evaluation
    tables = [first.table()]
    for beside in others:
        evaluation = side_by_side(first.clips, first.answers, beside.answers, (evaluation, beside.evaluation))
        tables.append(beside.table())
    out.write(evaluation, tables)
    _report(evaluation, str(out.folder), str(out.page), console)
    return 0


@dataclass(frozen=True)
class _Subject:
    """A model that is evaluated, and which of its labels are compared."""

    artifact: "Artifact"
    sets: "LabelSets"


@dataclass(frozen=True)
class _Evaluated:
    """What was found of it."""

    subject: _Subject
    #: Of which it is known by now how long they are.
    clips: "Manifest"
    probabilities_GC: "Floats"
    evaluation: "Evaluation"

    @property
    def answers(self) -> "tuple[LabelSets, Floats]":
        """Its predictions, and which labels are compared."""
        return self.subject.sets, self.probabilities_GC

    def table(self) -> "pa.Table":
        """Its predictions."""
        from ser_core.evaluation import predictions_table

        config = self.subject.artifact.config
        return predictions_table(self.clips, self.probabilities_GC, config.labels, config.temperature)


def _evaluated(
    subject: _Subject, clips: "Manifest", about: dict[str, Any], request: Request, running: "Running", console: Console
) -> _Evaluated:
    """Predict the clips with one model, and judge it by them."""
    from ser_core.evaluation import ModelSpeakers, evaluate_predictions
    from ser_core.models import Predictor

    artifact, config = subject.artifact, subject.artifact.config
    is_adapted = request.clips.adapt != "none"
    predictor = Predictor(artifact, features_on="device", gives_components=is_adapted, **running)
    clips, probabilities_GC, adaptation = _predict(predictor, clips, subject.sets, request, console)
    evaluation = evaluate_predictions(
        clips,
        probabilities_GC,
        config.temperature,
        labels=subject.sets,
        model_speakers=ModelSpeakers.of_training(config.training),
        settings=request.bootstrap,
        title=f"{config.name} on {', '.join(sorted(set(clips.corpora)))}",
        about=_about(request, artifact, about, running),
    )
    evaluation = replace(evaluation.with_history(config.training), adaptation=adaptation)
    return _Evaluated(subject, clips, probabilities_GC, evaluation)


def _running(settings: ScoreConfig) -> "Running":
    """The device, the precision and the batch size that the model runs with."""
    from ser_core.models import resolve_device

    device, precision = resolve_device(settings.device, settings.precision)
    batch_size = settings.batch_size or (_CPU_BATCH_SIZE if device == "cpu" else _GPU_BATCH_SIZE)
    return Running(device=device, precision=precision, batch_size=batch_size)


def _predict(
    predictor: "Predictor", manifest: "Manifest", sets: "LabelSets", request: Request, console: Console
) -> "tuple[Manifest, Floats, AdaptedResult | None]":
    """The clips, of which it is known by now how long they are, and the predictions to report on.

    Where the model is adapted these are the adapted one's, and it is said what that gains.
    """
    import torch

    from ser_core.evaluation import AdaptableClips, predict_manifest
    from ser_core.speech import SpeechSettings

    def show(num_done: int) -> None:
        progress.update(num_done, len(manifest), f"{num_done}/{len(manifest)} clips")

    artifact, adapt = predictor.artifact, request.clips.adapt
    asked = predictor, manifest, artifact.windows(), SpeechSettings.asked_for(request.settings)
    try:
        with Interrupts(), console.progress() as progress:
            if adapt == "none":
                found = predict_manifest(*asked, show)
                return found.clips, found.probabilities_GC, None
            clips = AdaptableClips.predict(*asked, show)
    except torch.OutOfMemoryError as error:
        batch_size = predictor.batch_size
        raise SerError(
            f"the GPU has no memory for batches of {batch_size}; use a smaller --batch-size, or --device cpu"
        ) from error
    return clips.manifest, *clips.adapt(adapt, request.clips.parsed_mixes, sets, request.bootstrap)


def _about(request: Request, artifact: "Artifact", of_clips: dict[str, Any], running: Running) -> "About":
    from ser_core.evaluation import About
    from ser_core.storage import Location
    from ser_core.versions import package_versions

    config = artifact.config
    return About(
        model=artifact.identity,
        architecture=config.architecture,
        licence=config.licence,
        temperature=config.temperature,
        manifests=tuple(str(Location.parse(file)) for file in request.manifests),
        window_seconds=config.window_seconds,
        speech=request.settings.speech,
        min_speech_seconds=request.settings.min_speech_seconds if request.settings.speech == "on" else None,
        versions=package_versions(),
        adapt=request.clips.adapt,
        clips_per_speaker=request.clips.clips_per_speaker,
        test_only=request.clips.test_only,
        **of_clips,
        **running,
    )


def _report(evaluation: "Evaluation", folder: str, page: str, console: Console) -> None:
    """Print the result, for people or as one JSON object."""
    if console.mode == "human":
        for note in evaluation.notes:
            console.say(note)
    overall = evaluation.overall
    lines = [_line("all", overall)]
    corpora = evaluation.by.corpus
    if len(corpora) > 1:
        lines += [_line(corpus, one) for corpus, one in corpora.items()]
    if evaluation.is_calibrated:
        lines.append(f"before calibration, ECE {100 * overall.ece_uncalibrated:.1f} %")
    lines += _adapted_lines(evaluation.adaptation)
    lines += _against_lines(evaluation)
    lines.append(f"report: {page}")
    data = {
        "output": folder,
        "notes": list(evaluation.notes),
        "overall": overall.to_dict(),
        "corpora": {corpus: one.to_dict() for corpus, one in corpora.items()},
        "baselines": {name: asdict(one) for name, one in evaluation.baselines.items()},
        "against": evaluation.against and evaluation.against.to_dict(),
        "adaptation": evaluation.adaptation and evaluation.adaptation.to_dict(),
    }
    console.result(lines, data)


def _against_lines(evaluation: "Evaluation") -> Iterator[str]:
    if (beside := evaluation.against) is not None:
        yield _line(beside.model, beside.overall)
        gains = ", ".join(f"{name} {_interval(beside.gains[metric], '+')}" for name, metric in _GAINS)
        yield f"gain over it: {gains}"


def _adapted_lines(adaptation: "AdaptedResult | None") -> Iterator[str]:
    for row in adaptation.rows if adaptation else ():
        part, estimates = row.overall, row.overall.estimates
        metrics = f"UAR {_interval(part.metrics.uar)}, ECE {100 * part.metrics.ece.value:.1f} %"
        if estimates is None or part.gain is None:
            yield f"{row.name}: {metrics}"
            continue
        num_adapted = estimates.num_speakers - estimates.num_speakers_unchanged
        beyond = f", beyond it {num_adapted} of {estimates.num_speakers} speakers" if estimates.num_speakers else ""
        yield (
            f"adapted to {row.name}: {metrics}, gain {_interval(part.gain, '+')}; {estimates.num_windows} windows of "
            f"{estimates.num_clips} clips, strength {estimates.strength:.0%}, distance {estimates.distance:.2f} "
            f"(unheard speakers {estimates.unseen_distance:.2f}){beyond}"
        )


def _interval(metric: "Interval", sign: str = "") -> str:
    """A metric in percent; with sign "+", a difference of two in points."""
    value, *bounds = (format(100 * one, f"{sign}.1f") for one in metric if one is not None)
    between = f" ({' to '.join(bounds)})" if bounds else ""
    return f"{value} {'points' if sign else '%'}{between}"


def _line(name: str, one: "GroupMetrics") -> str:
    return (
        f"{name}: {one.num_clips} clips, {one.num_speakers} speakers: UAR {_interval(one.uar)}, "
        f"accuracy {100 * one.accuracy.value:.1f} %, macro F1 {100 * one.macro_f1.value:.1f} %, "
        f"ECE {100 * one.ece.value:.1f} %"
    )
