"""Settings of what a model is given: how a file is cut into windows, and how a window becomes a log-mel."""

import dataclasses
from typing import Literal

from ser_core.settings import HOP_SECONDS_RANGE, WINDOW_SECONDS_RANGE, Settings, require

MelScale = Literal["db", "whisper"]


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
