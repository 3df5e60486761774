"""What a training leaves: each fold's model, predictions and report, and pooled predictions and a report of all folds.

Shape letters: N clips of a set, G test clips of all folds, C labels.
"""

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ser_core import models, storage
from ser_core.audio import LogMel
from ser_core.corpora import CORPORA, Manifest
from ser_core.encoding import json_bytes, parquet_bytes
from ser_core.evaluation import (
    Evaluation,
    LabelSets,
    ModelSpeakers,
    evaluate_predictions,
    fit_temperature,
    predictions_table,
    probabilities_in,
)
from ser_core.models import Artifact, ArtifactConfig, Reference, SpeechModel, package_versions
from ser_core.storage import Location, one_line_faults, write
from ser_core.training.job import Fold, Job
from ser_core.training.loop import Trained
from ser_core.training.model_card import card_of

REPORT_FILE, PREDICTIONS_FILE = "report.json", "predictions.parquet"
_METRICS = ("accuracy", "macro_f1", "uar", "ece")
Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoldPredictions:
    """What a fold's model predicts, at temperature 1."""

    calibration_NC: Floats
    test_NC: Floats


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoldResult:
    """How good a fold's model was found to be."""

    fold: Fold
    temperature: float
    #: Predictions for the test clips, at temperature 1.
    probabilities_NC: Floats
    #: None where nothing is tested.
    evaluation: Evaluation | None
    #: Whether the temperature was fitted to the other folds' predictions.
    calibrated_by_folds: bool = False

    def predictions(self) -> pa.Table:
        """What `predictions_table` says of the test clips, and which fold it is."""
        test = self.fold.test
        table = predictions_table(test, self.probabilities_NC, self.fold.job.labels, self.temperature)
        return table.append_column("fold", pa.array(np.full(len(test), self.fold.number + 1)))


def is_done(fold: Fold) -> bool:
    """Whether this run has written a fold's model and report."""
    return _is_of(fold.job, fold.folder.join(REPORT_FILE))


def is_complete(job: Job) -> bool:
    """Whether this run has ended."""
    return _is_of(job, job.folder.join(REPORT_FILE))


def _is_of(job: Job, report: Location) -> bool:
    try:
        return bool(json.loads(storage.read(report)).get("run") == job.run)
    except (FileNotFoundError, ValueError, AttributeError):
        return False


def write_fold(
    fold: Fold, model: SpeechModel, log_mel: LogMel, trained: Trained, predictions: FoldPredictions,
    reference: Reference | None,
) -> None:  # fmt: skip
    """Write a fold's model, then its predictions, then its report, which says that all is there."""
    job = fold.job
    temperature = job.config.temperature or 1.0
    if len(fold.sets.calibration_N):
        calibration = job.manifest.take(fold.sets.calibration_N)
        temperature = fitted_temperature(job, calibration, predictions.calibration_NC)
    result = _evaluate(fold, predictions.test_NC, temperature, ModelSpeakers.of_training(dict(fold.speakers)))
    config = _artifact_config(result, log_mel, trained)
    artifact = Artifact.of_model(config, model, log_mel, licence_text=job.licence_text, reference=reference)
    _save(result, artifact, trained.best.number)


def write_pooled(job: Job) -> None:
    """Pool the folds' predictions, every clip predicted by the model that was not trained on it, and report on them.

    Before, where the settings say so, each fold's model is calibrated by the others' predictions. A kill in the midst
    of it does no harm: what is read of a fold are predictions at temperature 1.
    """
    folds = [job.fold(number) for number in range(job.num_folds)]
    predictions = [_read_predictions(fold) for fold in folds]
    finish = _calibrated if job.calibrates_by_folds else _as_written
    results = [finish(fold, predictions) for fold in folds]
    table = pa.concat_tables([result.predictions() for result in results])
    write(job.folder.join(PREDICTIONS_FILE), parquet_bytes(table))
    tested, probabilities_GC = Manifest(table.select(job.manifest.table.column_names)), np.concatenate(predictions)
    overlap = any(fold.sets.speakers_overlap for fold in folds)
    seen = ModelSpeakers(training=tuple(sorted(set(job.manifest.speakers))) if overlap else ())
    evaluation = evaluate_predictions(
        tested, probabilities_GC, table["temperature"].to_numpy(), labels=label_sets(job, tested), model_speakers=seen,
        title=f"{job.name}: {len(folds)} folds by {job.config.split.split}, pooled",
    )  # fmt: skip
    overall = [result.evaluation.overall for result in results if result.evaluation is not None]
    report = {
        "run": job.run,
        "folds": [{"split": one.fold.sets.to_dict(job.manifest), "temperature": one.temperature, **metrics.to_dict()}
                  for one, metrics in zip(results, overall, strict=True)],
        # Nothing is better known about a model that is trained on everybody.
        "temperature": fitted_temperature(job, tested, probabilities_GC),
        "over_folds": {name: _spread([getattr(metrics, name).value for metrics in overall]) for name in _METRICS},
        "training": {"settings": job.config.recipe(), "manifest": _manifest_facts(job), "versions": package_versions()},
        "test": evaluation.to_dict(),
    }  # fmt: skip
    write(job.folder.join(REPORT_FILE), json_bytes(report))


def _as_written(fold: Fold, predictions: list[Floats]) -> FoldResult:
    """A fold's result, with the temperature that its model has."""
    config = models.read_config(fold.folder.url)
    return _evaluate(fold, predictions[fold.number], config.temperature, ModelSpeakers.of_training(config.training))


def _calibrated(fold: Fold, predictions: list[Floats]) -> FoldResult:
    """Give a fold's model the temperature that fits the other folds' predictions, and write all of it anew.

    These predictions are for clips that the other folds' models were not trained on.
    """
    job, others = fold.job, [number for number in range(len(predictions)) if number != fold.number]
    clips = job.manifest.take(np.concatenate([job.sets[other].test_N for other in others]))
    temperature = fitted_temperature(job, clips, np.concatenate([predictions[other] for other in others]))
    artifact = Artifact.load(fold.folder.url)
    training = artifact.config.training
    result = _evaluate(fold, predictions[fold.number], temperature, ModelSpeakers.of_training(training))
    result = dataclasses.replace(result, calibrated_by_folds=True)
    config = artifact.config.replace(temperature=temperature, training=training | _test_facts(result))
    _save(result, dataclasses.replace(artifact, config_json=config.to_json()), training["best_epoch"])
    return result


def _evaluate(fold: Fold, probabilities_NC: Floats, temperature: float, seen: ModelSpeakers | None) -> FoldResult:
    test, evaluation = fold.test, None
    if len(test):
        title = f"{fold.job.name}: unseen clips, split by {fold.sets.split}"
        evaluation = evaluate_predictions(
            test, probabilities_NC, temperature, labels=label_sets(fold.job, test), model_speakers=seen, title=title
        )
    return FoldResult(fold=fold, temperature=temperature, probabilities_NC=probabilities_NC, evaluation=evaluation)


def _save(result: FoldResult, artifact: Artifact, best_epoch: int) -> None:
    fold, folder, evaluation = result.fold, result.fold.folder, result.evaluation
    card = card_of(artifact.config, fold, evaluation, best_epoch, calibrated_by_folds=result.calibrated_by_folds)
    artifact = dataclasses.replace(artifact, card=card)
    with one_line_faults(folder, "cannot be written", "name another MODEL_DIR"):
        artifact.save(folder.url)
    if evaluation is not None:
        write(folder.join(PREDICTIONS_FILE), parquet_bytes(result.predictions()))
    report = {
        "run": fold.job.run,
        "model": artifact.identity,
        "split": fold.sets.to_dict(fold.job.manifest),
        "training": artifact.config.training,
        "temperature": result.temperature,
        "test": None if evaluation is None else evaluation.to_dict(),
    }
    write(folder.join(REPORT_FILE), json_bytes(report))


def _artifact_config(result: FoldResult, log_mel: LogMel, trained: Trained) -> ArtifactConfig:
    fold, job, config = result.fold, result.fold.job, result.fold.job.config
    return ArtifactConfig(
        name=job.name,
        architecture=config.architecture,
        architecture_settings=models.resolved_settings(config.architecture, config.architecture_settings),
        mel=log_mel.settings,
        window_seconds=config.window_seconds,
        labels=job.labels,
        temperature=result.temperature,
        weights_dtype=config.weights_dtype,
        licence=config.licence or _licence(job),
        licence_file=Path(config.licence_file).name if config.licence_file else None,
        training={
            "settings": config.recipe(),
            "weights_sha256": job.start.sha256,
            "teachers_sha256": [artifact.content_hash for artifact in fold.teachers],
            "manifest": _manifest_facts(job),
            "split": fold.sets.split,
            "speakers_overlap": fold.sets.speakers_overlap,
            "clips_without_speech": _num_without_speech(fold),
            **fold.speakers,
            "seed": config.seed,
            "history": [dataclasses.asdict(record) for record in trained.history],
            "best_epoch": trained.best.number,
            **_test_facts(result),
            "versions": package_versions(),
        },
    )


def _num_without_speech(fold: Fold) -> int:
    """Clips of the sets but the test that nobody speaks in; they are left out."""
    whole = fold.job.sets[fold.number]
    return sum(
        len(getattr(whole, name)) - len(getattr(fold.sets, name))
        for name in ("training_N", "validation_N", "calibration_N")
    )


def _test_facts(result: FoldResult) -> dict[str, Any]:
    return {} if result.evaluation is None else {"test": result.evaluation.overall.to_dict()}


def _manifest_facts(job: Job) -> dict[str, Any]:
    """What a model and a report say of the clips."""
    return {"sha256": job.manifest.content_hash(), "clips": len(job.manifest), "corpora": job.clips_by_corpus}


def _licence(job: Job) -> str | None:
    """The licences of the corpora, where all are known."""
    names = sorted(job.clips_by_corpus)
    if not all(name in CORPORA for name in names):
        return None
    licences = [f"{CORPORA[name].licence} ({name})" for name in names]
    return licences[0].rpartition(" (")[0] if len(licences) == 1 else ", ".join(licences)


def label_sets(job: Job, clips: Manifest) -> LabelSets:
    """Which labels each of some clips of the job can have."""
    return LabelSets(clips, job.labels, job.manifest.labels_by_corpus())


def fitted_temperature(job: Job, clips: Manifest, probabilities_NC: Floats) -> float:
    """Fit a temperature to predictions confined to the labels of each clip's corpus; every corpus counts the same.

    Args:
        job: whose labels they are.
        clips: of its manifest.
        probabilities_NC: what was predicted for them, at temperature 1.
    """
    spoken_N = np.flatnonzero(~np.isnan(probabilities_NC).any(axis=1))
    clips, probabilities_NC = clips.take(spoken_N), probabilities_NC[spoken_N]
    sets = label_sets(job, clips)
    return round(fit_temperature(sets.restricted(probabilities_NC), sets.label_G, clips.corpora.astype(str)), 4)


def _spread(values: list[float]) -> dict[str, float]:
    """Mean over the folds, and standard deviation (of a sample)."""
    return {"mean": float(np.mean(values)), "standard_deviation": float(np.std(values, ddof=1))}


def _read_predictions(fold: Fold) -> Floats:
    """A fold's predictions for its test clips, at temperature 1."""
    table = pq.read_table(io.BytesIO(storage.read(fold.folder.join(PREDICTIONS_FILE))))
    return probabilities_in(table, fold.job.labels)
