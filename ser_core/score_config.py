"""Settings of `ser score`."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from ser_core.settings import (
    HOP_SECONDS_RANGE,
    WINDOW_SECONDS_RANGE,
    Channels,
    Device,
    Precision,
    Settings,
    read_yaml,
    require,
)

FeaturesOn = Literal["cpu", "device"]
Engine = Literal["auto", "ray", "local"]
#: What `auto` turns into.
ResolvedEngine = Literal["ray", "local"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreConfig(Settings):
    """Everything `ser score` can be told; configs/score.yaml shows every field with its default."""

    #: A bundled name, a folder, or s3://bucket/prefix.
    model: str = "whisper-bilstm"
    #: Which files of SOURCE count, relative to it; none: every audio suffix this program reads.
    glob: str | None = None
    #: One answer for the mix of all channels, or one for each channel.
    channels: Channels = "mix"
    #: None: as the model was trained.
    window_seconds: float | None = None
    #: None: equal to the window.
    hop_seconds: float | None = None
    #: Windows a predictor takes at a time; none: by device.
    batch_size: int | None = None
    device: Device = "auto"
    #: auto: bf16 on a GPU or CPU that has it, else fp32.
    precision: Precision = "auto"
    features_on: FeaturesOn = "cpu"
    #: Where the stages run: on Ray, or in this process; auto: here where no cluster is named and little is pending.
    engine: Engine = "auto"
    #: Of this machine (or the cluster) to use; none: all.
    cpus: int | None = None
    gpus: int | None = None
    #: A Ray cluster to join; none: RAY_ADDRESS, else a Ray of our own on this machine.
    address: str | None = None
    #: Share of files that may fail before the run stops.
    max_failure_rate: float = 1.0
    #: Longest a file may take without a finished segment.
    file_timeout_seconds: float = 300.0
    #: Longest that scored rows wait to be committed: what a kill may cost.
    commit_seconds: float = 30.0
    #: Delete the rows of files that are gone from SOURCE.
    prune: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (
            ("window_seconds", *WINDOW_SECONDS_RANGE),
            ("hop_seconds", *HOP_SECONDS_RANGE),
            ("batch_size", 1, 65_536),
            ("cpus", 1, 10**6),
            ("gpus", 0, 10**6),
            ("max_failure_rate", 0, 1),
            ("file_timeout_seconds", 0.001, 10**7),
            ("commit_seconds", 0.001, 10**7),
        ):
            value = getattr(self, name)
            require(value is None or low <= value <= high, f"{name} must be {low:g} to {high:g}, not {value}")
        require(
            self.engine != "local" or self.address is None,
            "engine local is this process alone; leave out address, or use engine ray",
        )


def load_score_config(file: Path | None, overrides: dict[str, Any]) -> ScoreConfig:
    """The settings of a YAML file, with the given ones (not None) in their place.

    Raises:
        UsageError: the file is missing or not YAML, or a setting is unknown or out of range.
    """
    values: dict[str, Any] = {}
    where = "options"
    if file is not None:
        values = read_yaml(file)
        where = str(file)
    values |= {name: value for name, value in overrides.items() if value is not None}
    return ScoreConfig.from_dict(values, where)
