"""What a run scores where an output's embeddings take the place of audio: with which settings, and how it is read."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cluster.adaptation import Look, precision_here
from cluster.embedded.pipeline import EmbeddedPipeline
from cluster.embedded.plan import write_embedded_plan
from cluster.embedded.sample import SampleCut, read_embedded_sample
from cluster.resources import Resources
from cluster.sample import Sample, batch_windows
from ser_core.audio import WindowSettings
from ser_core.errors import UsageError
from ser_core.score_config import ResolvedEngine, ScoreConfig
from ser_core.settings import ResolvedDevice, ResolvedPrecision, Threads
from ser_core.source import PlanSummary
from ser_core.storage import Location
from ser_core.tables import EmbeddedOutput, Fingerprint

if TYPE_CHECKING:
    from cluster.ray_process import RayProcess
    from ser_core.models import Artifact

#: Settings that are those of the output, whose windows and embeddings were made with them.
_OF_OUTPUT = (
    "glob", "channels", "audio_stream", "window_seconds", "hop_seconds", "speech", "min_speech_seconds",
    "max_file_hours",
)  # fmt: skip


@dataclass(frozen=True)
class StoredEmbeddings:
    """The embeddings of an output, to be scored by a model with the same encoder; as `Recordings`."""

    output: EmbeddedOutput
    config: ScoreConfig
    #: Before it is adapted.
    artifact: "Artifact"
    windows: WindowSettings

    @classmethod
    def of(cls, source: str, config: ScoreConfig, *, output: Location) -> Self:
        """As the command line and the settings name them; `output` is where the rows go.

        Raises:
            UsageError: the source keeps no embeddings, they are of another encoder or of other settings, or it is
                the output itself.
        """
        location = Location.parse(source)
        if output.url == location.url or output.url.startswith(f"{location.url}/"):
            raise UsageError(f"--from-embeddings reads {location} and writes elsewhere; name another NEW_OUTPUT")
        stored = EmbeddedOutput(location)
        _require_its_settings(config, stored)
        name = config.model if "model" in config.model_fields_set else None
        artifact = model_of(stored, name)
        if name is not None and config.window_seconds is None:
            _require_its_windows(artifact, stored)
        settled = _settled(config, stored.made_with, name or artifact.config.name)
        return cls(stored, settled, artifact, artifact.windows(settled.window_seconds, settled.hop_seconds))

    def names(self) -> tuple[str, str | None]:
        """The source of the recordings, and the output whose embeddings take its place."""
        return self.output.made_with.source, str(self.output.location)

    def precision(self, _: Fingerprint | None) -> ResolvedPrecision:
        """As they were made, so that the answers are those of scoring anew."""
        return self.output.made_with.precision

    def choose_engine(
        self, _address: str | None, _resources: Resources, _num_files: int, _num_bytes: float
    ) -> tuple[ResolvedEngine, str]:
        """This process, and why."""
        return "local", "embeddings are read in this process"

    def write_plan(self, to: Path, *, exclude: Location) -> PlanSummary:
        """Write the files that the output tells of into a local Parquet file (PLAN_SCHEMA)."""
        return write_embedded_plan(self.output, to)

    def look(self, fingerprint: Fingerprint, device: ResolvedDevice) -> Look:
        """What reads the sample from which an adaptation is estimated."""
        from ser_core.models import Predictor

        made_with = self.output.made_with
        predictor = Predictor(
            self.artifact,
            device=device,
            precision=precision_here(fingerprint.precision, device),
            batch_size=batch_windows(made_with.window_seconds),
            gives_components=True,
        )
        windows = replace(self.windows, max_file_seconds=3600 * made_with.max_file_hours)
        cut = SampleCut(windows=windows, is_by_channel=made_with.channels != "mix")

        def look(plan: Path, most: int) -> Sample:
            return read_embedded_sample(self.output, plan, predictor.predict_embedded, cut, num_windows=most)

        return look

    @contextmanager
    def pipeline(
        self, artifact: "Artifact", made_with: Fingerprint, resources: Resources, ray_process: "RayProcess | None"
    ) -> Iterator[EmbeddedPipeline]:
        """What scores with a model, in this process."""
        from ser_core.models import Predictor

        assert ray_process is None
        hands_embeddings_on = made_with.embeddings is not None
        predictor = Predictor(
            artifact,
            device=resources.device,
            precision=made_with.precision,
            # As scoring anew: sums in bf16 depend on the shape of a batch.
            batch_size=resources.batch_size,
            threads=Threads(resources.num_predictors * resources.threads_per_predictor),
            gives_embeddings=hands_embeddings_on,
        )
        pipeline = EmbeddedPipeline(self.output, predictor, resources, hands_embeddings_on=hands_embeddings_on)
        with closing(pipeline):
            yield pipeline


def model_of(output: EmbeddedOutput, name: str | None) -> "Artifact":
    """The model of a name, or the bundled one that an output was made with.

    Raises:
        UsageError: none is named, and it was another; or its embeddings are others.
    """
    from ser_core.models import Artifact, bundled_names

    made_with = output.made_with.model.rpartition("@")[0]
    if name is None and made_with not in bundled_names():
        raise UsageError(f"{output.location} was made with {output.made_with.model}; give that model with --model")
    artifact = Artifact.load(name or made_with)
    if artifact.encoder.identity != output.encoder:
        raise UsageError(
            f"model '{artifact.identity}' has another encoder ({artifact.encoder.identity}) than {output.location} was "
            f"made with ({output.encoder}); give a model with the same one, or score anew"
        )
    return artifact


def _require_its_settings(config: ScoreConfig, output: EmbeddedOutput) -> None:
    """Refuse settings that were asked for and are not those of the output, which no audio is read to change."""
    if config.engine == "ray" or config.address is not None:
        raise UsageError("--from-embeddings reads embeddings in this process; leave out --engine ray and --address")
    asked = {name: getattr(config, name) for name in _OF_OUTPUT if name in config.model_fields_set}
    asked |= {} if config.precision == "auto" else {"precision": config.precision}
    for name, value in asked.items():
        stored = getattr(output.made_with, name)
        if value not in {None, stored}:
            was = "without" if stored is None else f"with {stored}"
            raise UsageError(
                f"--{name.replace('_', '-')} {value}: {output.location} was made {was}, and --from-embeddings reads no "
                "audio; leave it out, or score anew"
            )


def _require_its_windows(artifact: "Artifact", output: EmbeddedOutput) -> None:
    """Refuse a model that is made for other windows, unless somebody says that it is to judge these."""
    seconds, stored = artifact.config.window_seconds, output.made_with.window_seconds
    if seconds != stored:
        raise UsageError(
            f"model '{artifact.identity}' judges windows of {seconds:g} s, and {output.location} has windows of "
            f"{stored:g} s; score anew, or give --window-seconds {stored:g} to let it judge those"
        )


def _settled(config: ScoreConfig, made_with: Fingerprint, model: str) -> ScoreConfig:
    """The settings with those of the output in their place, and the name of the model."""
    values = {name: getattr(made_with, name) for name in _OF_OUTPUT}
    if made_with.min_speech_seconds is None:
        del values["min_speech_seconds"]
    given = {name: getattr(config, name) for name in config.model_fields_set - {"min_speech_seconds"}}
    return ScoreConfig.from_dict(given | values | {"engine": "local", "model": model})
