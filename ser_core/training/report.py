"""What a fold of a training leaves: its model, predictions and report.

Shape letters: N clips of a set, C labels.
"""

import dataclasses
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ser_core import models, storage
from ser_core.audio import LogMel
from ser_core.corpora import CORPORA, Manifest
from ser_core.encoding import json_bytes, parquet_bytes, read_json
from ser_core.evaluation import (
    Evaluation,
    LabelSets,
    ModelSpeakers,
    evaluate_predictions,
    fit_temperature,
    predictions_table,
)
from ser_core.models import Artifact, ArtifactConfig, Reference, SpeechModel
from ser_core.storage import Location, one_line_faults, write
from ser_core.training.cautions import one_answer
from ser_core.training.job import Fold, Job
from ser_core.training.loop import Trained
from ser_core.training.model_card import card_of
from ser_core.versions import package_versions

REPORT_FILE, PREDICTIONS_FILE, PAGE_FILE = "report.json", "predictions.parquet", "evaluation.html"
#: They make a config longer by 8 bytes each.
_MAX_HASHED_CLIPS = 100_000
Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoldPredictions:
    """What a fold's model predicts, at temperature 1."""

    calibration_NC: Floats
    test_NC: Floats
    #: For some of the training set, where the other two are few.
    sample_NC: Floats


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
        return bool(read_json(storage.read(report)).get("run") == job.run)
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
    clips = _training_clips(fold)
    result = evaluate_fold(fold, predictions.test_NC, temperature, ModelSpeakers.of_training(clips))
    config = _artifact_config(result, log_mel, trained, clips | {"one_answer": _one_answer(fold, predictions)})
    artifact = Artifact.of_model(config, model, log_mel, licence_text=job.licence_text, reference=reference)
    save_fold(result, artifact, trained.best.number)


def evaluate_fold(fold: Fold, probabilities_NC: Floats, temperature: float, seen: ModelSpeakers | None) -> FoldResult:
    """How good predictions at temperature 1 for a fold's test clips are.

    Args:
        fold: the fold.
        probabilities_NC: the predictions.
        temperature: what the model's logits are divided by.
        seen: whose clips made the model; None: not known.
    """
    test, evaluation = fold.test, None
    if len(test):
        title = f"{fold.job.name}: unseen clips, split by {fold.sets.split}"
        # Of another corpus only what both have is compared; else a training that lacks an emotion is at fault.
        is_cross = fold.sets.split == "cross-corpus"
        among = fold.job.manifest.take(fold.sets.training_N).labels() if is_cross else None
        labels = label_sets(fold.job, test, among)
        evaluation = evaluate_predictions(
            test, probabilities_NC, temperature, labels=labels, model_speakers=seen, title=title
        )
    return FoldResult(fold=fold, temperature=temperature, probabilities_NC=probabilities_NC, evaluation=evaluation)


def save_fold(result: FoldResult, artifact: Artifact, best_epoch: int) -> None:
    """Write a fold's model with its card, then its predictions, then its report, which says that all is there."""
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


def _one_answer(fold: Fold, predictions: FoldPredictions) -> str | None:
    """What a model says of every clip that it was asked about."""
    sets = fold.sets
    clips = fold.job.manifest.take(np.concatenate([sets.calibration_N, sets.test_N, sets.sample_N]))
    all_NC = np.concatenate([predictions.calibration_NC, predictions.test_NC, predictions.sample_NC])
    return one_answer(all_NC, clips, fold.job.labels)


def _artifact_config(result: FoldResult, log_mel: LogMel, trained: Trained, of_clips: dict[str, Any]) -> ArtifactConfig:
    fold, job, config = result.fold, result.fold.job, result.fold.job.config
    return ArtifactConfig(
        name=job.name,
        architecture=config.architecture,
        code=models.architecture(config.architecture).origin,
        architecture_settings=models.resolved_settings(config.architecture, config.architecture_settings),
        mel=log_mel.settings,
        window_seconds=config.window_seconds,
        labels=job.labels,
        temperature=result.temperature,
        weights_dtype=config.weights_dtype,
        licence=config.licence or _licence(fold),
        licence_file=job.licence_file,
        training={
            "settings": config.recipe(),
            "weights_sha256": job.start.sha256,
            "weights_source": job.start.source,
            "second_weights_source": job.second_start.source,
            "teachers_sha256": [artifact.content_hash for artifact in fold.teachers],
            "manifest": manifest_facts(job),
            "split": fold.sets.split,
            "speakers_overlap": fold.sets.speakers_overlap,
            "clips_without_speech": _num_without_speech(fold),
            **of_clips,
            "seed": config.seed,
            "history": [dataclasses.asdict(record) for record in trained.history],
            "best_epoch": trained.best.number,
            **facts_of_test(result),
            "versions": package_versions(),
        },
    )


def _training_clips(fold: Fold) -> dict[str, Any]:
    """What a model's config says of who is in its sets, and of what audio its weights were fitted to.

    Of more clips than `_MAX_HASHED_CLIPS`, and where another model that is learned from does not say it, the audio is
    not said.
    """
    assert fold.decoded is not None
    hashes = set(fold.decoded.take(fold.sets.training_N).audio_hashes or ())
    for model in fold.learned_from:
        seen = ModelSpeakers.of_training(model.config.training)
        if seen is None or seen.audio_hashes is None:
            return dict(fold.speakers)
        hashes |= seen.audio_hashes
    if len(hashes) > _MAX_HASHED_CLIPS:
        return dict(fold.speakers)
    return {**fold.speakers, "audio_hashes": "".join(sorted(hashes))}


def _num_without_speech(fold: Fold) -> int:
    """Clips of the sets but the test that nobody speaks in; they are left out."""
    whole = fold.job.sets[fold.number]
    return sum(
        len(getattr(whole, name)) - len(getattr(fold.sets, name))
        for name in ("training_N", "validation_N", "calibration_N")
    )


def facts_of_test(result: FoldResult) -> dict[str, Any]:
    """What a model's config says of its test."""
    return {} if result.evaluation is None else {"test": result.evaluation.overall.to_dict()}


def manifest_facts(job: Job) -> dict[str, Any]:
    """What a model and a report say of the clips."""
    return {"sha256": job.manifest.content_hash(), "clips": len(job.manifest), "corpora": job.clips_by_corpus}


def _licence(fold: Fold) -> str | None:
    """The licences of the model that it starts from, and of the corpora that it is made of, where all are known."""
    start = fold.job.start.artifact
    of_start = [(start.config.licence, start.config.name)] if start is not None and start.config.licence else []
    of_corpora = [(CORPORA[name].licence, name) for name in fold.corpora if name in CORPORA]
    found = of_start + (of_corpora if len(of_corpora) == len(fold.corpora) else [])
    if len(found) < 2:
        return found[0][0] if found else None
    return ", ".join(f"{licence} ({name})" for licence, name in found)


def label_sets(job: Job, clips: Manifest, among: Collection[str] | None = None) -> LabelSets:
    """Which labels, among some or all, each of some clips of the job can have."""
    return LabelSets(clips, job.labels, job.manifest.labels_by_corpus(), among)


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
