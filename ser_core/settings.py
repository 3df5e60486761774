"""Settings as data: frozen dataclasses, checked once when they are made."""

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from ser_core.errors import UsageError

Channels = Literal["mix", "each"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16"]
#: What `auto` turns into.
ResolvedDevice = Literal["cpu", "cuda"]
ResolvedPrecision = Literal["fp32", "bf16"]
FeaturesOn = Literal["cpu", "device"]
MelScale = Literal["db", "whisper"]

WINDOW_SECONDS_RANGE = (0.1, 600.0)
HOP_SECONDS_RANGE = (0.01, 600.0)

DEFAULT_GLOB_SUFFIXES = (
    "wav", "wave", "flac", "ogg", "oga", "opus", "mp3", "aif", "aiff", "au", "rf64", "w64",
)  # fmt: skip


def require(condition: bool, message: str) -> None:
    """UsageError with this message unless the condition holds."""
    if not condition:
        raise UsageError(message)


class Settings:
    """Adds checked construction from plain data to a frozen dataclass."""

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "config") -> Self:
        """Build from plain values.

        Raises:
            UsageError: an unknown name or a value of another type, naming `where` and the field.
        """
        hints = get_type_hints(cls)
        names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for name, value in values.items():
            require(name in names, f"{where}: unknown setting '{name}'; known: {', '.join(sorted(names))}")
            require(_fits(value, hints[name]), f"{where}: '{name}' cannot be {value!r}; it takes {_words(hints[name])}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values that JSON and YAML can hold."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[call-overload]
        return plain


def _fits(value: object, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_fits(item, get_args(hint)[0]) for item in value)
    if get_args(hint) and type(None) in get_args(hint):
        return value is None or any(_fits(value, option) for option in get_args(hint) if option is not type(None))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, get_origin(hint) or hint)


def _words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if get_origin(hint) is list:
        return f"a list (each of it {_words(get_args(hint)[0])})"
    if get_args(hint):
        return " or ".join("nothing" if option is type(None) else _words(option) for option in get_args(hint))
    return {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}.get(hint, str(hint))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MelSettings(Settings):
    """How a window becomes a log-mel spectrogram (librosa's definition, Slaney mels and norm, centred frames).

    Two scales: `db` is relative to the window's maximum and normalised by constants of the training data, `whisper` is
    absolute and normalised as Whisper was trained (Radford et al. 2022, arXiv 2212.04356); the last three settings are
    of `db` alone.
    """

    sample_rate_hz: int = 16_000
    n_fft: int = 1024
    hop_length: int = 320
    num_mels: int = 128
    f_min_hz: float = 0.0
    f_max_hz: float = 8_000.0
    scale: MelScale = "db"
    #: Floor below the window's own maximum, in dB.
    top_db: float = 80.0
    #: Constants of the training data: the model sees (log-mel in dB relative to the window's maximum - mean) / std.
    mean_db: float = -40.0
    std_db: float = 20.0

    def __post_init__(self) -> None:
        require(self.sample_rate_hz > 0 and self.n_fft > 0 and self.hop_length > 0, "mel: sizes must be positive")
        require(self.num_mels > 0 and self.std_db > 0 and self.top_db > 0, "mel: num_mels, std_db, top_db must be > 0")
        require(0 <= self.f_min_hz < self.f_max_hz <= self.sample_rate_hz / 2, "mel: need 0 <= f_min < f_max <= rate/2")
        # A window is mirrored at its ends, so the shortest one must hold half a frame.
        require(
            self.scale == "db" or self.n_fft < 2 * WINDOW_SECONDS_RANGE[0] * self.sample_rate_hz,
            f"mel: scale whisper needs an n_fft shorter than {2 * WINDOW_SECONDS_RANGE[0]:g} s",
        )

    def num_frames(self, window_samples: int) -> int:
        """Frames of a window (centred frames: 1 + samples // hop, of which Whisper drops the last)."""
        return (self.scale == "db") + window_samples // self.hop_length


@dataclasses.dataclass(frozen=True, kw_only=True)
class WindowSettings(Settings):
    """How a file is cut. Window i of a channel starts at i x hop."""

    sample_rate_hz: int = 16_000
    window_seconds: float = 3.0
    hop_seconds: float = 3.0
    #: A tail shorter than this is dropped unless it is the only window.
    min_tail_seconds: float = 0.5
    #: A file shorter than this is `too_short`.
    min_file_seconds: float = 0.1

    def __post_init__(self) -> None:
        for name, (low, high) in (("window_seconds", WINDOW_SECONDS_RANGE), ("hop_seconds", HOP_SECONDS_RANGE)):
            value = getattr(self, name)
            require(low <= value <= high, f"{name} must be {low:g} to {high:g}, not {value}")

    @property
    def window_samples(self) -> int:
        return round(self.window_seconds * self.sample_rate_hz)

    @property
    def hop_samples(self) -> int:
        return round(self.hop_seconds * self.sample_rate_hz)


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


def read_yaml(file: Path) -> dict[str, Any]:
    """The settings that a YAML file names; UsageError where it is none."""
    import yaml

    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"config {file}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"config {file}: not YAML ({str(error).splitlines()[0]})") from error
    require(isinstance(values, dict | None), f"config {file}: must be a list of 'name: value' lines")
    return values or {}
