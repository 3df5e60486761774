"""A few recordings at a time, in this process and without a table: what `ser predict` runs, for other programs too."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any
from warnings import warn

import pyarrow as pa
import pyarrow.compute as pc

from cluster.driver import Driver
from cluster.resources import fit_batches, plan_resources
from cluster.scoring import load_settings, open_pipeline, predict_settings
from cluster.session import local_hardware
from ser_core.errors import UsageError, printable
from ser_core.garbage import loading
from ser_core.models import Artifact, resolve_device
from ser_core.records import PLAN_SCHEMA
from ser_core.score_config import load_score_config
from ser_core.source import Source, escape_path, has_magic, is_collection
from ser_core.speech import SpeechSettings
from ser_core.storage import Location
from ser_core.tables import RowSettings

#: Settings of `ser score` that say something here.
_SETTINGS = (
    "channels", "audio_stream", "window_seconds", "hop_seconds", "speech", "min_speech_seconds", "max_file_hours",
    "file_timeout_seconds", "device", "precision", "batch_size", "features_on", "cpus", "gpus",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Window:
    """What a stretch of a recording sounds like."""

    start_seconds: float
    end_seconds: float
    #: `no_speech` where too little is said in it.
    emotion: str
    #: The emotion's probability, calibrated; None without speech.
    confidence: float | None
    #: Of each label, 0 to 1; empty without speech.
    probabilities: dict[str, float]
    #: How much of it is speech, 0 to 1; None where nobody listened.
    speech_share: float | None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a recording, or one channel of it, sounds like."""

    #: As it was named; bytes that are no UTF-8 as in the tables.
    path: str
    #: -1: the mix of all channels, or none that could be read.
    channel: int
    #: `scored`, `partial` or `failed`.
    status: str
    #: Of all windows; `no_speech`, or None where it failed.
    emotion: str | None
    confidence: float | None
    audio_seconds: float
    speech_seconds: float | None
    #: Why it is not whole, a reason of docs/running.md and a sentence; a sentence alone notes what is odd about it.
    reason: str | None
    detail: str | None
    windows: tuple[Window, ...]


class Recognizer(AbstractContextManager["Recognizer"]):
    """A model that is loaded once and asked about recordings.

        for answer in Recognizer("compact").answers(["call.wav", "s3://bucket/other.mp3"]):
            print(answer.path, answer.emotion, answer.confidence)

    Recordings are decoded in a child process, which ends with each call. Nothing is adapted to; `ser score` does that.
    """

    def __init__(self, model: str | None = None, *, on_warning: Callable[[str], None] = warn, **settings: Any) -> None:
        """
        Args:
            model: a bundled one or a folder; None: the default.
            on_warning: is told in a sentence when something is tried again.
            settings: of `ser score`, by their names in configs/score.yaml: how recordings are heard and cut, and on
                what the model runs.

        Raises:
            UsageError: a setting is none of these or out of range, or they do not go together.
            ArtifactError: there is no such model.
        """
        if others := sorted(settings.keys() - set(_SETTINGS)):
            raise UsageError(
                f"{printable(others[0])} is no setting of a Recognizer, which takes {', '.join(_SETTINGS)}"
            )
        config = load_score_config(None, {"model": model} | settings)
        # torch comes with it.
        with loading():
            artifact = Artifact.load(config.model)
        windows = artifact.windows(config.window_seconds, config.hop_seconds)
        resources = fit_batches(
            plan_resources(config, local_hardware(config.cpus, config.gpus)), config, windows.window_seconds
        )
        # One after the other, each on all cores: the first answer comes soonest.
        resources = replace(resources, num_loaders=1, num_predictors=1, threads_per_predictor=resources.num_predictors)
        _, precision = resolve_device(resources.device, config.precision)
        self._source = Source("list", Location(str(Path.cwd())), name="FILE")
        load = load_settings(config, self._source, windows, SpeechSettings.asked_for(config), resources.block_bytes)
        predict = predict_settings(config, resources, windows, precision)
        self._labels, self._on_warning = artifact.config.labels, on_warning
        self._rows = RowSettings(
            labels=self._labels, model=artifact.identity, hop_seconds=windows.hop_seconds, run_number=0
        )
        self._at_end = ExitStack()
        self._pipeline = self._at_end.enter_context(open_pipeline(None, load, predict, resources, artifact))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what is being answered, from any thread; nothing more is."""
        self._at_end.close()

    def answers(
        self, files: Iterable[str | Path], on_answer: Callable[[Answer], None] = lambda _: None
    ) -> list[Answer]:
        """What each recording sounds like, in the order that they are named; with channels each, one for each.

        Args:
            files: local, or on S3.
            on_answer: is called with each answer as soon as it and those before it are known.

        Raises:
            UsageError: a folder, prefix, glob, list or archive is named.
            ServiceError: storage failed as a whole.
        """
        named = [str(file) for file in files]
        for file in named:
            _require_file(file)
        taken = _Taken([escape_path(os.fsencode(file)) for file in named], self._source, self._labels, on_answer)
        driver = Driver(
            tables=taken,
            pipeline=self._pipeline,
            rows=self._rows,
            commit_seconds=0.0,
            max_failure_rate=1.0,
            on_warning=self._on_warning,
        )
        driver.score(Path(), len(named))
        return taken.answers


def _require_file(file: str) -> None:
    is_missing = not file.startswith("s3://") and not Path(file).exists()
    if (is_missing and has_magic(file)) or file.endswith("/") or Path(file).is_dir():
        what = "a folder, prefix or glob"
    elif is_collection(file):
        what = "a list or an archive"
    else:
        return
    raise UsageError(f"FILE {printable(file)} is {what}; ser predict takes recordings, and ser score takes all others")


class _Taken:
    """Takes the place of tables: what is committed becomes answers, in the order that the files were named."""

    def __init__(
        self, paths: list[str], source: Source, labels: tuple[str, ...], on_answer: Callable[[Answer], None]
    ) -> None:
        self.answers: list[Answer] = []
        self._paths, self._source, self._labels, self._on_answer = paths, source, labels, on_answer
        self._of_path: dict[str, list[Answer]] = {}

    def pending(self, plan_file: Path) -> Iterator[pa.Table]:
        """All files; there is no plan."""
        looked_at = [self._source.look(path).result() for path in dict.fromkeys(self._paths)]
        yield pa.Table.from_pylist([file._asdict() for file in looked_at], PLAN_SCHEMA)

    def commit(self, predictions: pa.Table, files: pa.Table, embeddings: pa.Table | None = None) -> None:
        for row in files.to_pylist():
            is_its = pc.and_(
                pc.equal(predictions["path"], row["path"]), pc.equal(predictions["channel"], row["channel"])
            )
            windows = predictions.filter(is_its).sort_by("window_index").to_pylist()
            answer = Answer(windows=tuple(map(self._window, windows)), **_fields(Answer, row))
            self._of_path.setdefault(row["path"], []).append(answer)
        while self._paths and self._paths[0] in self._of_path:
            for answer in self._of_path[self._paths.pop(0)]:
                self.answers.append(answer)
                self._on_answer(answer)

    def _window(self, row: dict[str, Any]) -> Window:
        probabilities = {label: row[f"p_{label}"] for label in self._labels if row[f"p_{label}"] is not None}
        return Window(probabilities=probabilities, **_fields(Window, row))


def _fields(of: type[Answer | Window], row: dict[str, Any]) -> dict[str, Any]:
    """What a row has under the same names."""
    return {name: row[name] for name in of.__dataclass_fields__ if name in row}
