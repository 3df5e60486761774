"""The folds of a training, taken together: calibrated by each other, pooled and reported on.

Shape letters: N test clips of a fold, G test clips of all folds, C labels.
"""

import io
import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ser_core import storage
from ser_core.corpora import Manifest
from ser_core.evaluation import ModelSpeakers, evaluate_predictions, probabilities_in
from ser_core.models import package_versions
from ser_core.storage import write
from ser_core.training.job import Job
from ser_core.training.report import (
    FIGURES,
    PREDICTIONS_FILE,
    REPORT_FILE,
    fitted_temperature,
    label_sets,
    manifest_facts,
    name_of,
    recalibrate_fold,
    to_json,
)

Floats = npt.NDArray[np.float64]


def write_pooled(job: Job) -> None:
    """Pool the folds' answers, every clip answered by the model that was not trained on it, and report on them.

    Before, where the settings say so, each fold's model is calibrated by the others' answers.
    """
    tables = _tables(job)
    uncalibrated = [probabilities_in(table, job.labels) for table in tables]
    if job.calibrates_by_folds:
        _calibrate(job, uncalibrated)
        tables = _tables(job)
    reports = [json.loads(storage.read(job.fold_folder(number).join(REPORT_FILE))) for number in range(len(job.folds))]
    answers = pa.concat_tables(tables)
    buffer = io.BytesIO()
    pq.write_table(answers, buffer, compression="zstd")
    write(job.folder.join(PREDICTIONS_FILE), buffer.getvalue())
    uncalibrated_GC = np.concatenate(uncalibrated)
    overlap = any(fold.speakers_overlap for fold in job.folds)
    heard = ModelSpeakers(training=tuple(sorted(set(job.manifest.speakers))) if overlap else ())
    tested = Manifest(answers.select(job.manifest.table.column_names))
    evaluation = evaluate_predictions(
        tested, uncalibrated_GC, answers["temperature"].to_numpy(), labels=label_sets(job, tested), heard=heard,
        title=f"{name_of(job)}: {len(job.folds)} folds by {job.config.split.split}, pooled",
    )  # fmt: skip
    by_fold = [report["test"]["overall"] for report in reports]
    report = {
        "run": job.run,
        "folds": [{"split": one["split"], "temperature": one["temperature"], **overall}
                  for one, overall in zip(reports, by_fold, strict=True)],
        # Of a model that is trained on everybody: nothing is better known about it.
        "temperature": fitted_temperature(job, tested, uncalibrated_GC),
        "over_folds": {name: _spread([one[name]["value"] for one in by_fold]) for name in FIGURES},
        "training": {"settings": job.config.recipe(), "manifest": manifest_facts(job), "versions": package_versions()},
        "test": evaluation.to_dict(),
    }  # fmt: skip
    write(job.folder.join(REPORT_FILE), to_json(report))


def _spread(values: Sequence[float]) -> dict[str, float]:
    """Over folds: mean, and standard deviation (of a sample)."""
    return {"mean": float(np.mean(values)), "standard_deviation": float(np.std(values, ddof=1))}


def _tables(job: Job) -> list[pa.Table]:
    """What each fold's model answered to its test clips."""
    return [pq.read_table(io.BytesIO(storage.read(job.fold_folder(number).join(PREDICTIONS_FILE))))
            for number in range(len(job.folds))]  # fmt: skip


def _calibrate(job: Job, answers: Sequence[Floats]) -> None:
    """Give each fold's model the temperature that fits the other folds' answers, to clips that those had not heard.

    A kill in the midst of it does no harm: answers say at which temperature they are.
    """
    for number, answer_NC in enumerate(answers):
        others = [other for other in range(len(answers)) if other != number]
        clips = job.manifest.take(np.concatenate([job.folds[other].test_N for other in others]))
        temperature = fitted_temperature(job, clips, np.concatenate([answers[other] for other in others]))
        recalibrate_fold(job, number, answer_NC, temperature)
