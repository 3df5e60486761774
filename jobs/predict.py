"""`ser predict`: a few files, one line each, by the pipeline in this process."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from cluster.driver import Driver
from cluster.resources import plan_resources
from cluster.scoring import load_settings, open_pipeline, predict_settings
from cluster.session import local_hardware
from jobs.console import Console
from ser_core.errors import UsageError, printable
from ser_core.garbage import loading
from ser_core.models import Artifact, resolve_device
from ser_core.records import PLAN_SCHEMA
from ser_core.score_config import load_score_config
from ser_core.source import Source, escape_path, has_magic, is_collection
from ser_core.speech import SpeechSettings
from ser_core.storage import Location
from ser_core.tables import RowSettings

_ANSWER = ("path", "status", "emotion", "confidence", "audio_seconds", "speech_seconds", "reason", "detail")


def run_predict(files: list[str], options: dict[str, Any], console: Console) -> int:
    """Print path, emotion and confidence of each file, and what is noted of it; 3 if one was not scored whole.

    Args:
        files: local, or on S3.
        options: what was typed, by the name of the setting of `ser score`.
        console: where it is printed.

    Raises:
        UsageError: what is given is a folder, prefix, glob, list or archive, or the settings do not go together.
    """
    for file in files:
        _require_file(file)
    config = load_score_config(None, options)
    # torch comes with it.
    with loading():
        artifact = Artifact.load(config.model)
    windows = artifact.windows()
    resources = plan_resources(config, local_hardware(None, None))
    # One after the other, each on all cores: the first line comes soonest.
    resources = replace(resources, num_loaders=1, num_predictors=1, threads_per_predictor=resources.num_predictors)
    _, precision = resolve_device(resources.device, "auto")
    source = Source("list", Location(str(Path.cwd())), name="FILE")
    lines = _Lines([escape_path(os.fsencode(file)) for file in files], source, console)
    load = load_settings(config, source, windows, SpeechSettings.asked_for(config), resources.block_bytes)
    predict = predict_settings(config, resources, windows, precision)
    with open_pipeline(None, load, predict, resources, artifact) as pipeline:
        driver = Driver(
            tables=lines,
            pipeline=pipeline,
            rows=RowSettings(
                labels=artifact.config.labels, model=artifact.identity, hop_seconds=windows.hop_seconds, run_number=0
            ),
            commit_seconds=0.0,
            max_failure_rate=1.0,
            on_warning=console.say,
        )
        driver.score(Path(), len(files))
    return 0 if lines.are_whole else 3


def _require_file(file: str) -> None:
    is_missing = not file.startswith("s3://") and not Path(file).exists()
    if (is_missing and has_magic(file)) or file.endswith("/") or Path(file).is_dir():
        what = "a folder, prefix or glob"
    elif is_collection(file):
        what = "a list or an archive"
    else:
        return
    raise UsageError(f"FILE {printable(file)} is {what}; ser predict takes recordings, and ser score takes all others")


class _Lines:
    """Takes the place of tables: what is committed is printed, in the order that the files were named."""

    def __init__(self, paths: Sequence[str], source: Source, console: Console) -> None:
        self.are_whole = True
        self._paths = list(paths)
        self._source = source
        self._console = console
        self._rows: dict[str, dict[str, Any]] = {}

    def pending(self, plan_file: Path) -> Iterator[pa.Table]:
        """All files; there is no plan."""
        looked_at = [self._source.look(path).result() for path in dict.fromkeys(self._paths)]
        yield pa.Table.from_pylist([file._asdict() for file in looked_at], PLAN_SCHEMA)

    def commit(self, predictions: pa.Table, files: pa.Table, embeddings: pa.Table | None = None) -> None:
        self._rows |= {row["path"]: row for row in files.to_pylist()}
        while self._paths and self._paths[0] in self._rows:
            row = self._rows[self._paths.pop(0)]
            self.are_whole = self.are_whole and row["status"] == "scored"
            answer = {name: row[name] for name in _ANSWER}
            for name, digits in (("confidence", 4), ("audio_seconds", 3), ("speech_seconds", 3)):
                if answer[name] is not None:
                    answer[name] = round(answer[name], digits)
            self._console.result(_line(answer), answer)


def _line(answer: dict[str, Any]) -> str:
    fields = [answer["path"], answer["emotion"] or "failed"]
    if answer["confidence"] is not None:
        fields.append(f"{answer['confidence']:.2f}")
    if answer["status"] != "scored":
        fields.append(f"{answer['reason']}: {answer['detail']}")
    elif answer["detail"]:
        # A note, as of channels that cancel out.
        fields.append(answer["detail"])
    return "\t".join(map(printable, fields))
