"""`ser evaluate`: a model's predictions for the clips of manifests -> a report for programs and one for people."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from jobs.console import Console
from jobs.interrupts import Interrupts
from ser_core.errors import OutputError, SerError, UsageError
from ser_core.score_config import ScoreConfig
from ser_core.settings import ResolvedDevice, ResolvedPrecision

if TYPE_CHECKING:
    from ser_core.corpora import Manifest
    from ser_core.evaluation import About, Evaluation, Floats, GroupMetrics
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
    resamples: int
    seed: int

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
    from ser_core.evaluation import (
        BootstrapSettings,
        LabelSets,
        ModelSpeakers,
        evaluate_predictions,
        predictions_table,
    )
    from ser_core.models import Artifact, Predictor
    from ser_core.storage import Location, check_writable

    settings = BootstrapSettings.from_dict({"resamples": request.resamples, "seed": request.seed}, "options")
    folder = Location.parse(request.output)
    artifact = Artifact.load(request.model)
    config = artifact.config
    manifest = read_manifests(request.manifests)
    LabelSets(manifest, config.labels)
    _check_ours(folder)
    check_writable(folder, "name another folder", what="OUT")
    running = _running(request.settings)
    predictor = Predictor(artifact, features_on="device", **running)
    probabilities_GC = _predict(predictor, manifest, request.settings, console)
    evaluation = evaluate_predictions(
        manifest,
        probabilities_GC,
        config.temperature,
        labels=config.labels,
        model_speakers=ModelSpeakers.of_training(config.training),
        settings=settings,
        title=f"{config.name} on {', '.join(sorted(set(manifest.corpora)))}",
        about=_about(request, artifact, manifest, running),
    )
    _write(folder, evaluation, predictions_table(manifest, probabilities_GC, config.labels, config.temperature))
    _report(evaluation, folder, console)
    return 0


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
    from ser_core.storage import read

    try:
        found = json.loads(read(file))
    except (FileNotFoundError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.keys() >= {"format_number", "overall", "confusion", "coverage"}


def _running(settings: ScoreConfig) -> "Running":
    """The device, the precision and the batch size that the model runs with."""
    from ser_core.models import resolve_device

    device, precision = resolve_device(settings.device, settings.precision)
    batch_size = settings.batch_size or (_CPU_BATCH_SIZE if device == "cpu" else _GPU_BATCH_SIZE)
    return Running(device=device, precision=precision, batch_size=batch_size)


def _predict(predictor: "Predictor", manifest: "Manifest", settings: ScoreConfig, console: Console) -> "Floats":
    import torch

    from ser_core.evaluation import predict_manifest
    from ser_core.speech import SpeechSettings

    def show(num_done: int) -> None:
        progress.update(num_done, len(manifest), f"{num_done}/{len(manifest)} clips")

    speech = SpeechSettings.asked_for(settings)
    try:
        with Interrupts(), console.progress() as progress:
            return predict_manifest(predictor, manifest, predictor.artifact.windows(), speech, show)
    except torch.OutOfMemoryError as error:
        batch_size = predictor.batch_size
        raise SerError(
            f"the GPU has no memory for batches of {batch_size}; use a smaller --batch-size, or --device cpu"
        ) from error


def _about(request: Request, artifact: "Artifact", manifest: "Manifest", running: Running) -> "About":
    from ser_core.evaluation import About
    from ser_core.models import package_versions
    from ser_core.storage import Location

    config = artifact.config
    return About(
        model=artifact.identity,
        architecture=config.architecture,
        licence=config.licence,
        temperature=config.temperature,
        manifests=tuple(str(Location.parse(file)) for file in request.manifests),
        manifest_sha256=manifest.content_hash(),
        window_seconds=config.window_seconds,
        speech=request.settings.speech,
        min_speech_seconds=request.settings.min_speech_seconds if request.settings.speech == "on" else None,
        versions=package_versions(),
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
    lines.append(f"report: {folder.join(PAGE_FILE)}")
    data = {
        "output": str(folder),
        "notes": list(evaluation.notes),
        "overall": overall.to_dict(),
        "corpora": {corpus: one.to_dict() for corpus, one in corpora.items()},
    }
    console.result(lines, data)


def _line(name: str, one: "GroupMetrics") -> str:
    uar = one.uar
    between = "" if uar.low is None or uar.high is None else f" ({100 * uar.low:.1f} to {100 * uar.high:.1f})"
    return (
        f"{name}: {one.num_clips} clips, {one.num_speakers} speakers: UAR {100 * uar.value:.1f} %{between}, "
        f"accuracy {100 * one.accuracy.value:.1f} %, macro F1 {100 * one.macro_f1.value:.1f} %, "
        f"ECE {100 * one.ece.value:.1f} %"
    )
