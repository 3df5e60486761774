"""`ser evaluate`: a model's predictions for the clips of manifests -> a report for programs and one for people."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict

from jobs.console import Console
from jobs.interrupts import Interrupts
from ser_core.errors import OutputError, SerError, UsageError
from ser_core.score_config import ScoreConfig
from ser_core.settings import ResolvedDevice, ResolvedPrecision

if TYPE_CHECKING:
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
    from ser_core.storage import Location

JSON_FILE, PAGE_FILE, PREDICTIONS_FILE = "evaluation.json", "evaluation.html", "predictions.parquet"
_MAX_LOOKED_AT = 50
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
    from ser_core.evaluation import LabelSets, ModelSpeakers, check_mix, evaluate_predictions, predictions_table
    from ser_core.models import Artifact, Predictor
    from ser_core.storage import Location, check_writable

    folder = Location.parse(request.output)
    artifact = Artifact.load(request.model)
    if request.clips.adapt != "none":
        artifact.require_adaptable(request.model)
    config = artifact.config
    whole = read_manifests(request.manifests)
    manifest = _drawn(whole, request)
    for mix in request.clips.parsed_mixes:
        check_mix(mix, manifest)
    sets = LabelSets(manifest, config.labels, whole.labels_by_corpus())
    _check_ours(folder)
    check_writable(folder, "name another folder", what="OUT")
    running = _running(request.settings)
    is_adapted = request.clips.adapt != "none"
    predictor = Predictor(artifact, features_on="device", gives_components=is_adapted, **running)
    probabilities_GC, adaptation = _predict(predictor, manifest, sets, request, console)
    evaluation = evaluate_predictions(
        manifest,
        probabilities_GC,
        config.temperature,
        labels=sets,
        model_speakers=ModelSpeakers.of_training(config.training),
        settings=request.bootstrap,
        title=f"{config.name} on {', '.join(sorted(set(manifest.corpora)))}",
        about=_about(request, artifact, whole, len(whole) - len(manifest), running),
    )
    evaluation = replace(evaluation, adaptation=adaptation)
    _write(folder, evaluation, predictions_table(manifest, probabilities_GC, config.labels, config.temperature))
    _report(evaluation, folder, console)
    return 0


def _drawn(whole: "Manifest", request: Request) -> "Manifest":
    """The clips that are evaluated."""
    from ser_core.evaluation import draw_per_speaker

    num_clips = request.clips.clips_per_speaker
    return whole if num_clips is None else whole.take(draw_per_speaker(whole, num_clips, request.bootstrap.seed))


def _check_ours(folder: "Location") -> None:
    """Raises OutputError where OUT holds files, and no evaluation, be it one whose writing was broken off."""
    from ser_core.storage import list_files, one_line_faults

    with one_line_faults(folder, "cannot be written to", "name another folder", what="OUT"):
        names = {name for name, _ in list_files(folder, _MAX_LOOKED_AT)} - {".probe"}
        is_begun = PAGE_FILE in names and names <= {PAGE_FILE, PREDICTIONS_FILE}
        if names and not is_begun and not _is_evaluation(folder.join(JSON_FILE)):
            raise OutputError(
                f"OUT {folder}: holds {min(names)} and no evaluation, so its files are not this command's to replace; "
                "name another folder"
            )


def _is_evaluation(file: "Location") -> bool:
    from ser_core.encoding import read_json
    from ser_core.storage import read

    try:
        found = read_json(read(file))
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(found, dict) and found.keys() >= {"format_number", "overall", "confusion", "coverage"}


def _running(settings: ScoreConfig) -> "Running":
    """The device, the precision and the batch size that the model runs with."""
    from ser_core.models import resolve_device

    device, precision = resolve_device(settings.device, settings.precision)
    batch_size = settings.batch_size or (_CPU_BATCH_SIZE if device == "cpu" else _GPU_BATCH_SIZE)
    return Running(device=device, precision=precision, batch_size=batch_size)


def _predict(
    predictor: "Predictor", manifest: "Manifest", sets: "LabelSets", request: Request, console: Console
) -> "tuple[Floats, AdaptedResult | None]":
    """The predictions to report on, and what others there are where the model is adapted."""
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
                return predict_manifest(*asked, show), None
            clips = AdaptableClips.predict(*asked, show)
    except torch.OutOfMemoryError as error:
        batch_size = predictor.batch_size
        raise SerError(
            f"the GPU has no memory for batches of {batch_size}; use a smaller --batch-size, or --device cpu"
        ) from error
    return clips.adapt(adapt, request.clips.parsed_mixes, sets, request.bootstrap)


def _about(request: Request, artifact: "Artifact", whole: "Manifest", num_left_out: int, running: Running) -> "About":
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
        manifest_sha256=whole.content_hash(),
        window_seconds=config.window_seconds,
        speech=request.settings.speech,
        min_speech_seconds=request.settings.min_speech_seconds if request.settings.speech == "on" else None,
        versions=package_versions(),
        adapt=request.clips.adapt,
        clips_per_speaker=request.clips.clips_per_speaker,
        num_left_out=num_left_out,
        **running,
    )


def _write(folder: "Location", evaluation: "Evaluation", predictions: Any) -> None:
    """The page first: a broken off evaluation is known by it; the JSON last: where it is, the others belong to it."""
    from ser_core.encoding import json_bytes, parquet_bytes
    from ser_core.evaluation import render_page
    from ser_core.storage import delete, one_line_faults, put

    with one_line_faults(folder, "cannot be written to", what="OUT"):
        delete(folder.join(JSON_FILE))
        put(folder.join(PAGE_FILE), render_page(evaluation).encode())
        put(folder.join(PREDICTIONS_FILE), parquet_bytes(predictions))
        put(folder.join(JSON_FILE), json_bytes(evaluation.to_dict()))


def _report(evaluation: "Evaluation", folder: "Location", console: Console) -> None:
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
    lines.append(f"report: {folder.join(PAGE_FILE)}")
    data = {
        "output": str(folder),
        "notes": list(evaluation.notes),
        "overall": overall.to_dict(),
        "corpora": {corpus: one.to_dict() for corpus, one in corpora.items()},
        "adaptation": evaluation.adaptation and evaluation.adaptation.to_dict(),
    }
    console.result(lines, data)


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
