"""What a training leaves: a model with its card, answers to the test clips, a report.

Shape letters: N clips of a set, C labels.
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
from ser_core.evaluation import (
    LabelSets,
    ModelSpeakers,
    evaluate_predictions,
    fit_temperature,
    predictions_table,
)
from ser_core.models import Artifact, ArtifactConfig, SpeechModel
from ser_core.storage import Location, one_line_faults, write
from ser_core.training.job import Job
from ser_core.training.loop import Trained
from ser_core.training.model_card import card_of

REPORT_FILE, PREDICTIONS_FILE = "report.json", "predictions.parquet"
FIGURES = ("accuracy", "macro_f1", "uar", "ece")
Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoldAnswers:
    """What the kept weights answer, at temperature 1."""

    calibration_NC: Floats
    test_NC: Floats


def is_done(job: Job, number: int) -> bool:
    """Whether this run has written a fold's model and report."""
    return _is_of(job, job.fold_folder(number).join(REPORT_FILE))


def is_complete(job: Job) -> bool:
    """Whether this run has ended."""
    return _is_of(job, job.folder.join(REPORT_FILE))


def _is_of(job: Job, report: Location) -> bool:
    try:
        return bool(json.loads(storage.read(report)).get("run") == job.run)
    except (FileNotFoundError, ValueError, AttributeError):
        return False


def write_fold(
    job: Job, number: int, model: SpeechModel, log_mel: LogMel, trained: Trained, answers: FoldAnswers
) -> None:
    """Write a fold's model, then its answers, then its report, which says that all is there."""
    fold = job.folds[number]
    temperature = job.config.temperature or 1.0
    if len(fold.calibration_N):
        temperature = fitted_temperature(job, job.manifest.take(fold.calibration_N), answers.calibration_NC)
    evaluation = _evaluation(job, number, answers.test_NC, temperature)
    config = _artifact_config(job, number, log_mel, trained, temperature, evaluation)
    artifact = Artifact.of_model(config, model, log_mel, licence_text=job.licence_text)
    _save_fold(job, number, artifact, answers.test_NC, evaluation, calibrated_by_folds=False)


def recalibrate_fold(job: Job, number: int, answer_NC: Floats, temperature: float) -> None:
    """Give a fold's model the temperature that the other folds say, and write all of it anew.

    Args:
        job: whose fold is done.
        number: of the fold.
        answer_NC: the model's answers to the test clips, at temperature 1.
        temperature: the new one.
    """
    artifact = Artifact.load(job.fold_folder(number).url)
    evaluation = _evaluation(job, number, answer_NC, temperature)
    figures = artifact.config.training["figures"] | _test_figures(evaluation)
    training = artifact.config.training | {"figures": figures}
    config = dataclasses.replace(artifact.config, temperature=temperature, training=training)
    artifact = dataclasses.replace(artifact, config_json=config.to_json())
    _save_fold(job, number, artifact, answer_NC, evaluation, calibrated_by_folds=True)


def _evaluation(job: Job, number: int, answer_NC: Floats, temperature: float) -> dict[str, Any] | None:
    """Of the test clips, where there are any."""
    fold = job.folds[number]
    test = job.manifest.take(fold.test_N)
    if not len(test):
        return None
    heard = ModelSpeakers.of_training(_speakers(job, number))
    title = f"{name_of(job)}: unseen clips, split by {fold.split}"
    return evaluate_predictions(
        test, answer_NC, temperature, labels=label_sets(job, test), heard=heard, title=title
    ).to_dict()


def _save_fold(
    job: Job, number: int, artifact: Artifact, answer_NC: Floats, evaluation: dict[str, Any] | None, *,
    calibrated_by_folds: bool,
) -> None:  # fmt: skip
    fold, folder, config = job.folds[number], job.fold_folder(number), artifact.config
    split = fold.to_dict(job.manifest)
    artifact = dataclasses.replace(
        artifact, card=card_of(config, split, evaluation, calibrated_by_folds=calibrated_by_folds)
    )
    with one_line_faults(folder, "written"):
        artifact.save(folder.url)
    if evaluation is not None:
        write(folder.join(PREDICTIONS_FILE), _answers_file(job, number, answer_NC, config.temperature))
    report = {
        "run": job.run,
        "model": artifact.identity,
        "split": split,
        "training": config.training,
        "temperature": config.temperature,
        "test": evaluation,
    }
    write(folder.join(REPORT_FILE), to_json(report))


def _answers_file(job: Job, number: int, answer_NC: Floats, temperature: float) -> bytes:
    """Parquet, as `predictions_table` has it, and which fold it is."""
    test = job.manifest.take(job.folds[number].test_N)
    table = predictions_table(test, answer_NC, job.labels, temperature)
    table = table.append_column("fold", pa.array(np.full(len(test), number + 1)))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _artifact_config(
    job: Job, number: int, log_mel: LogMel, trained: Trained, temperature: float, evaluation: dict[str, Any] | None
) -> ArtifactConfig:
    config, fold = job.config, job.folds[number]
    best = dataclasses.asdict(trained.best)
    return ArtifactConfig(
        name=name_of(job),
        architecture=config.architecture,
        architecture_settings=models.resolved_settings(config.architecture, config.architecture_settings),
        mel=log_mel.settings,
        window_seconds=config.window_seconds,
        labels=job.labels,
        temperature=temperature,
        weights_dtype=config.weights_dtype,
        licence=config.licence or _licence(job),
        licence_file=Path(config.licence_file).name if config.licence_file else None,
        training={
            "settings": config.recipe(),
            "weights_sha256": job.weights_hash(),
            "teachers_sha256": [artifact.content_hash for artifact in job.teachers(number)],
            "manifest": manifest_facts(job),
            "split": fold.split,
            "speakers_overlap": fold.speakers_overlap,
            **_speakers(job, number),
            "seed": config.seed,
            "history": [dataclasses.asdict(record) for record in trained.history],
            "figures": {"best_epoch": best} | _test_figures(evaluation),
            "versions": models.package_versions(),
        },
    )


def _test_figures(evaluation: dict[str, Any] | None) -> dict[str, Any]:
    if evaluation is None:
        return {}
    return {"test": {name: evaluation["overall"][name] for name in ("clips", "speakers", *FIGURES)}}


def name_of(job: Job) -> str:
    """Of the model."""
    return job.config.name or job.folder.name


def _speakers(job: Job, number: int) -> dict[str, list[str]]:
    fold = job.folds[number]
    sets = {
        "speakers": fold.training_N,
        "validation_speakers": fold.validation_N,
        "calibration_speakers": fold.calibration_N,
        "test_speakers": fold.test_N,
    }
    found = {name: set(job.manifest.speakers[rows_N]) for name, rows_N in sets.items()}
    found["speakers"] |= job.speakers_known_from(number) - found["validation_speakers"] - found["calibration_speakers"]
    return {name: sorted(speakers) for name, speakers in found.items()}


def manifest_facts(job: Job) -> dict[str, Any]:
    """What a model and a report say of the clips."""
    corpora, counts = np.unique(job.manifest.corpora.astype(str), return_counts=True)
    clips = dict(zip(corpora.tolist(), counts.tolist(), strict=True))
    return {"sha256": job.manifest.content_hash(), "clips": len(job.manifest), "corpora": clips}


def _licence(job: Job) -> str | None:
    """Of the corpora, where all are known."""
    names = sorted(set(job.manifest.corpora))
    if not all(name in CORPORA for name in names):
        return None
    licences = [f"{CORPORA[name].licence} ({name})" for name in names]
    return licences[0].rpartition(" (")[0] if len(licences) == 1 else ", ".join(licences)


def label_sets(job: Job, clips: Manifest) -> LabelSets:
    """Which labels each of some clips of the job can have."""
    return LabelSets(clips, job.labels, job.manifest.labels_by_corpus())


def fitted_temperature(job: Job, clips: Manifest, answer_NC: Floats) -> float:
    """From answers that are confined to what each clip can be, as they are judged; every corpus counts the same.

    Args:
        job: whose labels they are.
        clips: of its manifest.
        answer_NC: what was answered to them, at temperature 1.
    """
    sets = label_sets(job, clips)
    return round(fit_temperature(sets.masked(answer_NC), sets.label_G, clips.corpora.astype(str)), 4)


def to_json(values: dict[str, Any]) -> bytes:
    """As reports are written."""
    return json.dumps(values, indent=2, ensure_ascii=False).encode() + b"\n"
