"""The scoring pipeline, pending files in and predicted records out: on Ray Data, or in this process."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from cluster.local import LocalPipeline
from cluster.resources import Resources
from cluster.stages import LoadSettings, PredictSettings
from ser_core.audio import WindowSettings
from ser_core.score_config import ScoreConfig
from ser_core.settings import ResolvedPrecision
from ser_core.source import Source
from ser_core.speech import SpeechSettings

if TYPE_CHECKING:
    from cluster.ray_process import RayProcess
    from ser_core.models import Artifact


@dataclass(frozen=True)
class RemotePipeline:
    """A `RayPipeline` in the process of Ray's driver."""

    process: "RayProcess"
    resources: Resources

    def run(self, pending: pa.Table, files_per_block: int) -> Iterator[pa.Table]:
        """As `RayPipeline.run`."""
        return self.process.run(pending, files_per_block)


@contextmanager
def open_pipeline(
    ray_process: "RayProcess | None",
    config: ScoreConfig,
    resources: Resources,
    source: Source,
    windows: WindowSettings,
    artifact: "Artifact",
    precision: ResolvedPrecision,
    speech: SpeechSettings,
) -> Iterator[RemotePipeline | LocalPipeline]:
    """The pipeline of a run, on the Ray of that process or, without one, in this process."""
    load = LoadSettings(
        source=source,
        channels=config.channels,
        audio_stream=config.audio_stream,
        windows=replace(windows, max_file_seconds=3600 * config.max_file_hours),
        speech=speech,
        features_on=config.features_on,
        file_timeout_seconds=config.file_timeout_seconds,
        block_bytes=resources.block_bytes,
    )
    predict = PredictSettings(
        device=resources.device,
        precision=precision,
        features_on=config.features_on,
        batch_size=resources.batch_size,
        num_threads=resources.threads_per_predictor,
        window_samples=windows.window_samples,
    )
    if ray_process is None:
        with closing(LocalPipeline(load=load, predict=predict, resources=resources, artifact=artifact)) as pipeline:
            yield pipeline
        return
    ray_process.prepare(load, predict, resources, artifact)
    yield RemotePipeline(ray_process, resources)
