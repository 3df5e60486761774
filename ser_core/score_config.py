"""Settings of `ser score`."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ser_core.settings import Device, HopSeconds, PathText, Precision, Probability, Settings, WindowSeconds
from ser_core.vocabulary import AskedAdaptMode, Channels, SpeechMode

FeaturesOn = Literal["cpu", "device"]
Engine = Literal["auto", "ray", "local"]
#: What `auto` turns into.
ResolvedEngine = Literal["ray", "local"]


class ScoreConfig(Settings):
    """Settings of `ser score`."""

    model: PathText = Field(
        default="whisper-bilstm", description="Model: the name of a bundled one (see `ser models`), a folder or s3://."
    )
    glob: str | None = Field(
        default=None,
        description="Pattern of the files of SOURCE that count, relative to it, such as '**/*.wav'; by default every "
        "audio suffix that can be read.",
    )
    channels: Channels = Field(
        default="mix", description="mix: one prediction for the mix of all channels; each: one for each channel."
    )
    audio_stream: int = Field(
        default=0,
        ge=0,
        le=99,
        description="Which audio stream of files that have several, such as videos; 0: the first.",
    )
    window_seconds: WindowSeconds | None = Field(
        default=None, description="Length of a window in seconds; by default as the model was trained."
    )
    hop_seconds: HopSeconds | None = Field(
        default=None, description="Seconds from one window's start to the next one's; by default a window's length."
    )
    speech: SpeechMode = Field(
        default="on",
        description="Which windows are judged: on, those with speech; all, also silence, music and noise.",
    )
    min_speech_seconds: float = Field(
        default=0.3,
        ge=0.001,
        le=600,
        description="Seconds of speech that a window needs to be judged; of one shorter than twice that, half.",
    )
    adapt: AskedAdaptMode = Field(
        default="auto",
        description="What the answers are adapted to: archive, how all of SOURCE differs from what the model was "
        "trained on, estimated once and kept in OUTPUT; folder, beyond it the largest folders of SOURCE, in the same "
        "way; file or channel, beyond it each file or each of its channels, from its own windows; none, nothing; auto: "
        "archive where the model can be adapted.",
    )
    embeddings: bool | None = Field(
        default=None,
        description="Whether OUTPUT keeps what the model's last layers read of each window, for "
        "--from-embeddings and ser search; by default as it was made, and a new one does not.",
    )
    batch_size: int | None = Field(
        default=None, ge=1, le=65_536, description="Windows that a predictor takes at a time; by default by device."
    )
    device: Device = Field(default="auto", description="Where the model runs.")
    precision: Precision = Field(
        default="auto",
        description="Precision of the model's arithmetic; auto is bf16 on a GPU or CPU that has it, else fp32.",
    )
    features_on: FeaturesOn = Field(
        default="cpu", description="Where log-mels are computed: cpu (in the loaders) or device (beside the model)."
    )
    engine: Engine = Field(
        default="auto",
        description="Where the stages run: ray, local (in this process), or auto: local where no cluster is named and "
        "little is pending.",
    )
    cpus: int | None = Field(
        default=None, ge=1, le=10**6, description="CPU cores to use, of this machine or the cluster; by default all."
    )
    gpus: int | None = Field(
        default=None, ge=0, le=10**6, description="GPUs to use, of this machine or the cluster; by default all."
    )
    address: str | None = Field(
        default=None,
        description="Ray cluster to join; by default RAY_ADDRESS, else a Ray of its own on this machine.",
    )
    max_failure_rate: Probability = Field(
        default=1.0,
        description="Share of files that may fail before the run stops; judged after 200 files and at the end.",
    )
    file_timeout_seconds: float = Field(
        default=300.0, ge=0.001, le=10**7, description="Seconds that a file may take without a finished segment."
    )
    max_file_hours: float = Field(
        default=24.0,
        ge=0.001,
        le=10_000,
        description="Hours of a file that are scored; one that is longer is partial, with the reason too_long.",
    )
    commit_seconds: float = Field(
        default=30.0,
        ge=0.001,
        le=10**7,
        description="Seconds that scored rows wait at most to be committed: what a kill may cost.",
    )
    prune: bool = Field(default=False, description="Whether the rows of files that are gone from SOURCE are deleted.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.engine == "local" and self.address is not None:
            raise ValueError("engine local is this process alone; leave out address, or use engine ray")
        default = type(self).model_fields["min_speech_seconds"].default
        if self.speech == "all" and self.min_speech_seconds != default:
            raise ValueError("speech all judges every window; leave out min_speech_seconds, or use speech on")
        return self

    @property
    def asks_for_speech(self) -> bool:
        """Whether somebody chose that speech is looked for, and it is not the default alone that says so."""
        return self.speech == "on" and not self.model_fields_set.isdisjoint({"speech", "min_speech_seconds"})


class SampleSettings(Settings):
    """How much of an archive is looked at to estimate its adaptation."""

    sample_windows: int = Field(
        default=256, ge=1, le=65_536, description="Most windows with speech that the estimate is made from."
    )


def load_score_config(file: Path | None, overrides: dict[str, Any]) -> ScoreConfig:
    """The settings of a YAML file, with the given ones (not None) in their place.

    Raises:
        UsageError: the file is missing or not YAML, or a setting is unknown or out of range.
    """
    from ser_core.yaml_file import read_yaml

    values = {} if file is None else read_yaml(file)
    values |= {name: value for name, value in overrides.items() if value is not None}
    return ScoreConfig.from_dict(values, "options" if file is None else str(file))
