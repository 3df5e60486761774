"""What a training of several folds leaves beside theirs: pooled predictions, and a report of all folds.

Shape letters: N test clips of a fold, G those of all folds, C labels.
"""

import dataclasses
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ser_core import models, storage
from ser_core.corpora import Manifest
from ser_core.encoding import json_bytes, parquet_bytes
from ser_core.evaluation import (
    Evaluation,
    ModelSpeakers,
    evaluate_predictions,
    probabilities_in,
    render_page,
)
from ser_core.models import Artifact
from ser_core.storage import Location, exists, write
from ser_core.training.job import Fold, Job
from ser_core.training.report import (
    PAGE_FILE,
    PREDICTIONS_FILE,
    REPORT_FILE,
    Floats,
    FoldResult,
    evaluate_fold,
    facts_of_test,
    fitted_temperature,
    is_complete,
    label_sets,
    manifest_facts,
    save_fold,
)
from ser_core.versions import package_versions

_METRICS = ("accuracy", "macro_f1", "uar", "ece")


def finish_job(job: Job) -> bool:
    """Write what a training leaves beside its models: the pooled report, and a page of the test; what is there stays.

    Returns:
        Whether there is a page: there is none where nothing is tested, or by models that compare unlike labels.
    """
    if job.config.split.has_folds and not is_complete(job):
        write_pooled(job)
    if exists(job.folder.join(PAGE_FILE)):
        return True
    if job.config.split.split == "cross-corpus":
        return False
    try:
        table = _read_table(job.folder)
    except FileNotFoundError:
        return False
    write(job.folder.join(PAGE_FILE), render_page(_of_table(job, table)).encode())
    return True


def _of_table(job: Job, table: pa.Table) -> Evaluation:
    """The evaluation of a test's predictions."""
    tested, probabilities_GC = Manifest.of_predictions(table), probabilities_in(table, job.labels)
    if job.config.split.has_folds:
        return _pooled(job, table)
    config = models.read_config(job.folder.url)
    evaluation = evaluate_predictions(
        tested,
        probabilities_GC,
        config.temperature,
        labels=label_sets(job, tested),
        model_speakers=ModelSpeakers.of_training(config.training),
        title=f"{job.name}: unseen clips, split by {job.config.split.split}",
    )
    return evaluation.with_history(config.training)


def write_pooled(job: Job) -> None:
    """Pool the folds' predictions, every clip predicted by the model that was not trained on it, and report on them.

    Before, where the settings say so, each fold's model is calibrated by the others' predictions. A kill in the midst
    of it does no harm: what is read of a fold are predictions at temperature 1.
    """
    folds = [job.fold(number) for number in range(job.num_folds)]
    tables = [_read_table(fold.folder) for fold in folds]
    predictions = [probabilities_in(table, job.labels) for table in tables]
    decoded = _decoded(job.manifest, tables)
    folds = [dataclasses.replace(fold, decoded=decoded) for fold in folds]
    finish = _calibrated if job.calibrates_by_folds else _as_written
    results = [finish(fold, predictions) for fold in folds]
    table = pa.concat_tables([result.predictions() for result in results])
    write(job.folder.join(PREDICTIONS_FILE), parquet_bytes(table))
    tested, probabilities_GC = Manifest.of_predictions(table), np.concatenate(predictions)
    overall = [result.evaluation.overall for result in results if result.evaluation is not None]
    report = {
        "run": job.run,
        "folds": [{"split": one.fold.sets.to_dict(job.manifest), "temperature": one.temperature,
                   "one_answer": _one_answer(one.fold), **metrics.to_dict()}
                  for one, metrics in zip(results, overall, strict=True)],
        # Nothing is better known about a model that is trained on everybody.
        "temperature": fitted_temperature(job, tested, probabilities_GC),
        "training": {"settings": job.config.recipe(), "manifest": manifest_facts(job), "versions": package_versions()},
    }  # fmt: skip
    if job.config.split.split == "cross-corpus":
        # A clip is tested by several models, each of which has other labels to compare.
        report |= {"matrix": _matrix(results), "test": None}
    else:
        spreads = {name: _spread([getattr(metrics, name).value for metrics in overall]) for name in _METRICS}
        report |= {"over_folds": spreads, "test": _pooled(job, table).to_dict()}
    write(job.folder.join(REPORT_FILE), json_bytes(report))


def _pooled(job: Job, table: pa.Table) -> Evaluation:
    tested, probabilities_GC = Manifest.of_predictions(table), probabilities_in(table, job.labels)
    overlap = any(sets.speakers_overlap for sets in job.sets)
    trained = tuple(sorted(set(job.manifest.speakers))) if overlap else ()
    seen = ModelSpeakers(training=trained, audio_hashes=_in_several(table))
    title = f"{job.name}: {job.num_folds} folds by {job.config.split.split}, pooled"
    labels = label_sets(job, tested)
    temperature_G = table["temperature"].to_numpy()
    return evaluate_predictions(
        tested, probabilities_GC, temperature_G, labels=labels, model_speakers=seen, title=title
    )


def _in_several(table: pa.Table) -> frozenset[str] | None:
    """Hashes of the audio that is in several folds: whoever was tested by it in one was trained on it in the others."""
    hashes = Manifest.of_predictions(table).audio_hashes
    if hashes is None:
        return None
    folds_of: dict[str, set[int]] = {}
    for audio_hash, fold in zip(hashes, table["fold"].to_pylist(), strict=True):
        folds_of.setdefault(audio_hash, set()).add(fold)
    return frozenset(audio_hash for audio_hash, folds in folds_of.items() if len(folds) > 1)


def _decoded(manifest: Manifest, tables: list[pa.Table]) -> Manifest:
    """The clips with what the folds' trainings heard of those that they tested."""
    found = [Manifest.of_predictions(table) for table in tables]
    known: dict[str, tuple[float, str]] = {}
    for one in found:
        if one.audio_hashes is not None and one.audio_seconds is not None:
            known |= dict(zip(one.paths, zip(one.audio_seconds, one.audio_hashes, strict=True), strict=True))
    if not known:
        return manifest
    seconds, hashes = zip(*(known.get(path, (np.nan, "")) for path in manifest.paths), strict=True)
    return manifest.decoded(np.array(seconds), hashes)


def _matrix(results: list[FoldResult]) -> dict[str, dict[str, Any]]:
    """The metrics of models that are each of one corpus, by theirs and then by the corpus that they are tested on."""
    return {
        one.fold.corpora[0]: {name: metrics.to_dict() for name, metrics in one.evaluation.by.corpus.items()}
        for one in results
        if one.evaluation is not None
    }


def _as_written(fold: Fold, predictions: list[Floats]) -> FoldResult:
    """A fold's result, with the temperature that its model has."""
    config = models.read_config(fold.folder.url)
    return evaluate_fold(fold, predictions[fold.number], config.temperature, ModelSpeakers.of_training(config.training))


def _calibrated(fold: Fold, predictions: list[Floats]) -> FoldResult:
    """Give a fold's model the temperature that fits the other folds' predictions, and write all of it anew.

    These predictions are for clips that the other folds' models were not trained on.
    """
    job, others = fold.job, [number for number in range(len(predictions)) if number != fold.number]
    clips = job.manifest.take(np.concatenate([job.sets[other].test_N for other in others]))
    temperature = fitted_temperature(job, clips, np.concatenate([predictions[other] for other in others]))
    artifact = Artifact.load(fold.folder.url)
    training = artifact.config.training
    result = evaluate_fold(fold, predictions[fold.number], temperature, ModelSpeakers.of_training(training))
    result = dataclasses.replace(result, calibrated_by_folds=True)
    config = artifact.config.replace(temperature=temperature, training=training | facts_of_test(result))
    save_fold(result, dataclasses.replace(artifact, config_json=config.to_json()), training["best_epoch"])
    return result


def _one_answer(fold: Fold) -> Any:
    """What a fold's model says of every clip; None: it says several things."""
    return models.read_config(fold.folder.url).training.get("one_answer")


def _spread(values: list[float]) -> dict[str, float]:
    """Mean over the folds, and standard deviation (of a sample)."""
    return {"mean": float(np.mean(values)), "standard_deviation": float(np.std(values, ddof=1))}


def _read_table(folder: Location) -> pa.Table:
    return pq.read_table(io.BytesIO(storage.read(folder.join(PREDICTIONS_FILE))))
