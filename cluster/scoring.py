"""The scoring pipeline, pending files in and predicted records out: on Ray Data, or in this process."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pyarrow as pa

from cluster.adaptation import Look, look_at_audio, precision_here
from cluster.local import LocalPipeline
from cluster.resources import Resources, choose_engine
from cluster.session import local_hardware
from cluster.stages import LoadSettings, PredictSettings
from ser_core.audio import WindowSettings
from ser_core.score_config import ResolvedEngine, ScoreConfig
from ser_core.settings import ResolvedDevice, ResolvedPrecision
from ser_core.source import PlanSummary, Source, write_plan
from ser_core.speech import SpeechSettings
from ser_core.storage import Location
from ser_core.tables import Fingerprint, RowAdaptation, RowSettings
from ser_core.vocabulary import AdaptMode

if TYPE_CHECKING:
    from cluster.ray_process import RayProcess
    from ser_core.models import Artifact


#: Of embeddings of one file, which wait until it is whole.
_MAX_FILE_EMBEDDING_BYTES = 2**29


@dataclass(frozen=True)
class RemotePipeline:
    """A `RayPipeline` in the process of Ray's driver."""

    process: "RayProcess"
    resources: Resources

    def run(self, pending: pa.Table, files_per_block: int) -> Iterator[pa.Table]:
        """As `RayPipeline.run`."""
        return self.process.run(pending, files_per_block)


@dataclass(frozen=True)
class Recordings:
    """What a run scores: the recordings of a source. `StoredEmbeddings` has the same faces."""

    source: Source
    config: ScoreConfig
    #: Before it is adapted.
    artifact: "Artifact"
    windows: WindowSettings

    @classmethod
    def of(cls, source: str, config: ScoreConfig) -> Self:
        """As the command line and the settings name them."""
        from ser_core.models import Artifact

        parsed, artifact = Source.parse(source, config.glob), Artifact.load(config.model)
        return cls(parsed, config, artifact, artifact.windows(config.window_seconds, config.hop_seconds))

    def names(self) -> tuple[str, str | None]:
        """The source, and the output whose embeddings take its place: None."""
        return self.source.describe(), None

    def precision(self, made_with: Fingerprint | None) -> ResolvedPrecision | None:
        """What precision `auto` means in an output that was made with these settings; None: what there is."""
        return made_with.precision if made_with else None

    def choose_engine(
        self, address: str | None, resources: Resources, num_files: int, num_bytes: float
    ) -> tuple[ResolvedEngine, str]:
        """Which engine scores so many pending files, of so many bytes in all, and why."""
        return choose_engine(self.config, address, resources, num_files, num_bytes)

    def write_plan(self, to: Path, *, exclude: Location) -> PlanSummary:
        """Write what there is into a local Parquet file (PLAN_SCHEMA), without what lies in `exclude`."""
        return write_plan(self.source, to, exclude=exclude)

    def look(self, fingerprint: Fingerprint, device: ResolvedDevice) -> Look:
        """What reads the sample from which an adaptation is estimated."""
        load = load_settings(self.config, self.source, self.windows, speech_settings(fingerprint))
        precision, num_cpus = precision_here(fingerprint.precision, device), local_hardware(self.config.cpus, 0).cpus
        return look_at_audio(self.artifact, load, device=device, precision=precision, num_cpus=num_cpus)

    def pipeline(
        self, artifact: "Artifact", made_with: Fingerprint, resources: Resources, ray_process: "RayProcess | None"
    ) -> AbstractContextManager[RemotePipeline | LocalPipeline]:
        """What scores with a model: on the Ray of that process or, without one, in this process."""
        config, embeddings = self.config, made_with.embeddings is not None
        load = load_settings(config, self.source, self.windows, speech_settings(made_with), resources.block_bytes)
        predict = predict_settings(config, resources, self.windows, made_with.precision, embeddings=embeddings)
        return open_pipeline(ray_process, load, predict, resources, artifact)


def fingerprint_of(
    config: ScoreConfig,
    names: tuple[str, str | None],
    windows: WindowSettings,
    artifact: "Artifact",
    precision: ResolvedPrecision,
    *,
    listens_not_yet: bool,
    adapt: AdaptMode,
    embeddings: bool,
) -> Fingerprint:
    """What rows are made with.

    Args:
        config: the settings of the run.
        names: the source, and the output whose embeddings take its place, if any.
        windows: how files are cut.
        artifact: the model.
        precision: of its arithmetic.
        listens_not_yet: whether the output is of before there was speech detection, and goes on.
        adapt: what answers are adapted to.
        embeddings: whether they are kept.

    Raises:
        ArtifactError: embeddings are asked for, and the model gives none.
    """
    listens = config.speech == "on" and not listens_not_yet
    return Fingerprint(
        source=names[0],
        from_embeddings=names[1],
        glob=config.glob,
        model=artifact.identity,
        channels=config.channels,
        audio_stream=config.audio_stream,
        window_seconds=windows.window_seconds,
        hop_seconds=windows.hop_seconds,
        precision=precision,
        speech=None if listens_not_yet else config.speech,
        min_speech_seconds=config.min_speech_seconds if listens else None,
        max_file_hours=config.max_file_hours,
        adapt=adapt,
        embeddings=artifact.encoder.identity if embeddings else None,
    )


def load_settings(
    config: ScoreConfig, source: Source, windows: WindowSettings, speech: SpeechSettings, block_bytes: int = 16 * 2**20
) -> LoadSettings:
    """How the files of a run are read; what passes on to a predictor is in blocks of `block_bytes`."""
    return LoadSettings(
        source=source,
        channels=config.channels,
        audio_stream=config.audio_stream,
        windows=replace(windows, max_file_seconds=3600 * config.max_file_hours),
        speech=speech,
        features_on=config.features_on,
        file_timeout_seconds=config.file_timeout_seconds,
        block_bytes=block_bytes,
    )


def speech_settings(fingerprint: Fingerprint) -> SpeechSettings:
    """Which windows are judged where rows are made with these settings."""
    if fingerprint.min_speech_seconds is None:
        return SpeechSettings(mode="all")
    return SpeechSettings(mode="on", min_speech_seconds=fingerprint.min_speech_seconds)


def row_settings(
    artifact: "Artifact", windows: WindowSettings, fingerprint: Fingerprint, run_number: int
) -> RowSettings:
    """How a run makes rows of what the model says."""
    return RowSettings(
        labels=artifact.config.labels,
        model=artifact.identity,
        hop_seconds=windows.hop_samples / windows.sample_rate_hz,
        run_number=run_number,
        adaptation=RowAdaptation.of(fingerprint.adapt, artifact),
        has_embeddings=fingerprint.embeddings is not None,
    )


def predict_settings(
    config: ScoreConfig,
    resources: Resources,
    windows: WindowSettings,
    precision: ResolvedPrecision,
    *,
    embeddings: bool = False,
) -> PredictSettings:
    """How a run asks the model."""
    return PredictSettings(
        device=resources.device,
        precision=precision,
        features_on=config.features_on,
        batch_size=resources.batch_size,
        num_threads=resources.threads_per_predictor,
        window_samples=windows.window_samples,
        gives_embeddings=embeddings,
    )


@contextmanager
def open_pipeline(
    ray_process: "RayProcess | None",
    load: LoadSettings,
    predict: PredictSettings,
    resources: Resources,
    artifact: "Artifact",
) -> Iterator[RemotePipeline | LocalPipeline]:
    """The pipeline of a run, on the Ray of that process or, without one, in this process."""
    if predict.gives_embeddings:
        most_windows = _MAX_FILE_EMBEDDING_BYTES // (2 * artifact.encoder.num_values)
        windows = replace(load.windows, max_file_windows=min(load.windows.max_file_windows, most_windows))
        load = replace(load, windows=windows)
    if ray_process is None:
        with closing(LocalPipeline(load=load, predict=predict, resources=resources, artifact=artifact)) as pipeline:
            yield pipeline
        return
    ray_process.prepare(load, predict, resources, artifact)
    yield RemotePipeline(ray_process, resources)
