"""What a training leaves: a model with its card, answers to the test clips, a report; of folds, all of them pooled.

Shape letters: N clips of a set, G test clips of all folds, C labels.
"""

import dataclasses
import io
import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ser_core import models, storage
from ser_core.artifact import Artifact
from ser_core.artifact_config import ArtifactConfig
from ser_core.calibration import at_temperature, fit_temperature
from ser_core.corpora import CORPORA
from ser_core.evaluation import LabelSets, evaluate_answers
from ser_core.evaluation_result import ModelSpeakers
from ser_core.features import LogMel
from ser_core.manifest import Manifest
from ser_core.model_card import card_of
from ser_core.model_folder import one_line_faults, write
from ser_core.models.base import SpeechModel
from ser_core.splits import Fold
from ser_core.storage import Location
from ser_core.training import Trained
from ser_core.training_job import Job

REPORT_FILE, ANSWERS_FILE = "report.json", "answers.parquet"
_PACKAGES = ("ser", "torch", "numpy", "librosa", "soxr", "soundfile", "safetensors")
_FIGURES = ("accuracy", "macro_f1", "uar", "ece")
Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoldAnswers:
    """What the kept weights answer, at temperature 1."""

    temperature_NC: Floats
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
    fold, folder = job.folds[number], job.fold_folder(number)
    temperature = _fitted_temperature(job, fold, answers.temperature_NC)
    speakers = _speakers(job, number)
    test = job.manifest.take(fold.test_N)
    calibrated_NC = at_temperature(answers.test_NC, temperature)
    evaluation: dict[str, Any] | None = None
    if len(test):
        heard = ModelSpeakers.of_training(speakers)
        title = f"{_name(job)}: unseen clips, split by {fold.split}"
        evaluation = evaluate_answers(
            test, calibrated_NC, answers.test_NC, labels=_label_sets(job, test), heard=heard, title=title
        ).to_dict()
    config = _artifact_config(job, number, log_mel, trained, temperature, evaluation, speakers)
    card = card_of(config, fold.to_dict(job.manifest), evaluation)
    artifact = Artifact.of_model(config, model, log_mel, card=card, licence_text=job.licence_text)
    with one_line_faults(folder, "written"):
        artifact.save(folder.url)
    if len(test):
        write(folder.join(ANSWERS_FILE), _answers_file(job, test, calibrated_NC, number, temperature))
    report = {
        "run": job.run,
        "model": artifact.identity,
        "split": fold.to_dict(job.manifest),
        "training": config.training,
        "temperature": temperature,
        "test": evaluation,
    }
    write(folder.join(REPORT_FILE), _json(report))


def write_pooled(job: Job) -> None:
    """Pool the folds' answers, every clip answered by the model that was not trained on it, and report on them."""
    tables = [pq.read_table(io.BytesIO(storage.read(job.fold_folder(number).join(ANSWERS_FILE))))
              for number in range(len(job.folds))]  # fmt: skip
    reports = [json.loads(storage.read(job.fold_folder(number).join(REPORT_FILE))) for number in range(len(job.folds))]
    answers = pa.concat_tables(tables)
    buffer = io.BytesIO()
    pq.write_table(answers, buffer, compression="zstd")
    write(job.folder.join(ANSWERS_FILE), buffer.getvalue())
    answer_GC = np.stack([answers[f"p_{label}"].to_numpy() for label in job.labels], axis=1)
    temperature_G = answers["temperature"].to_numpy()
    uncalibrated_GC = np.concatenate(
        [at_temperature(answer_GC[row : row + 1], 1 / temperature) for row, temperature in enumerate(temperature_G)]
    )
    overlap = any(fold.speakers_overlap for fold in job.folds)
    heard = ModelSpeakers(training=tuple(sorted(set(job.manifest.speakers))) if overlap else ())
    tested = Manifest(answers.select(job.manifest.table.column_names))
    evaluation = evaluate_answers(
        tested, answer_GC, uncalibrated_GC, labels=_label_sets(job, tested), heard=heard,
        title=f"{_name(job)}: {len(job.folds)} folds by {job.config.split.split}, pooled",
    )  # fmt: skip
    by_fold = [report["test"]["overall"] for report in reports]
    report = {
        "run": job.run,
        "folds": [{"split": one["split"], "temperature": one["temperature"], **overall}
                  for one, overall in zip(reports, by_fold, strict=True)],
        "over_folds": {name: _spread([one[name]["value"] for one in by_fold]) for name in _FIGURES},
        "training": {"settings": job.config.recipe(), "manifest": _manifest_facts(job), "versions": _versions()},
        "test": evaluation.to_dict(),
    }  # fmt: skip
    write(job.folder.join(REPORT_FILE), _json(report))


def _spread(values: Sequence[float]) -> dict[str, float]:
    """Over folds: mean, and standard deviation (of a sample)."""
    return {"mean": float(np.mean(values)), "standard_deviation": float(np.std(values, ddof=1))}


def _answers_file(job: Job, test: Manifest, answer_NC: Floats, number: int, temperature: float) -> bytes:
    """Parquet: the manifest's columns, then fold, temperature, answer, confidence, p_<label>."""
    labels = np.array(job.labels, dtype=object)
    columns = {
        "fold": np.full(len(test), number + 1),
        "temperature": np.full(len(test), temperature),
        "answer": labels[answer_NC.argmax(axis=1)],
        "confidence": answer_NC.max(axis=1),
        **{f"p_{label}": answer_NC[:, place] for place, label in enumerate(job.labels)},
    }
    table = test.table
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _artifact_config(
    job: Job, number: int, log_mel: LogMel, trained: Trained, temperature: float, evaluation: dict[str, Any] | None,
    speakers: dict[str, list[str]],
) -> ArtifactConfig:  # fmt: skip
    config, fold = job.config, job.folds[number]
    best = dataclasses.asdict(trained.best)
    figures: dict[str, Any] = {"best_epoch": best}
    if evaluation is not None:
        figures["test"] = {name: evaluation["overall"][name] for name in ("clips", "speakers", *_FIGURES)}
    return ArtifactConfig(
        name=_name(job),
        architecture=config.architecture,
        architecture_settings=models.whole_settings(config.architecture, config.architecture_settings),
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
            "manifest": _manifest_facts(job),
            "split": fold.split,
            "speakers_overlap": fold.speakers_overlap,
            **speakers,
            "seed": config.seed,
            "history": [dataclasses.asdict(record) for record in trained.history],
            "figures": figures,
            "versions": _versions(),
        },
    )


def _name(job: Job) -> str:
    return job.config.name or job.folder.name


def _speakers(job: Job, number: int) -> dict[str, list[str]]:
    fold = job.folds[number]
    sets = {
        "speakers": fold.training_N,
        "stopping_speakers": fold.stopping_N,
        "temperature_speakers": fold.temperature_N,
        "test_speakers": fold.test_N,
    }
    found = {name: set(job.manifest.speakers[rows_N]) for name, rows_N in sets.items()}
    found["speakers"] |= job.heard_through(number) - found["stopping_speakers"] - found["temperature_speakers"]
    return {name: sorted(speakers) for name, speakers in found.items()}


def _manifest_facts(job: Job) -> dict[str, Any]:
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


def _label_sets(job: Job, clips: Manifest) -> LabelSets:
    """Of a part of the job's clips."""
    return LabelSets(clips, job.labels, job.manifest.labels_by_corpus())


def _fitted_temperature(job: Job, fold: Fold, answer_NC: Floats) -> float:
    """From answers that are confined to what each clip can be, as they are judged; every corpus counts the same."""
    if job.config.temperature is not None:
        return job.config.temperature
    if not len(fold.temperature_N):
        return 1.0
    clips = job.manifest.take(fold.temperature_N)
    sets = _label_sets(job, clips)
    return round(fit_temperature(sets.masked(answer_NC), sets.label_G, clips.corpora.astype(str)), 4)


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


def _json(values: dict[str, Any]) -> bytes:
    return json.dumps(values, indent=2, ensure_ascii=False).encode() + b"\n"
