"""Settings of the log-mel that a model is given."""

from typing import Literal, Self

from pydantic import Field, model_validator

from ser_core.settings import MIN_WINDOW_SECONDS, Settings

MelScale = Literal["db", "whisper"]


class MelSettings(Settings):
    """How a window becomes a log-mel spectrogram (librosa's definition, Slaney mels and norm, centred frames).

    Two scales: `db` is relative to the window's maximum and normalised by constants of the training data, `whisper` is
    absolute and normalised as Whisper was trained (Radford et al. 2022, arXiv 2212.04356); `top_db`, `mean_db` and
    `std_db` belong to `db` alone.
    """

    sample_rate_hz: int = Field(
        default=16_000, ge=1, le=384_000, description="Sample rate that recordings are brought to."
    )
    n_fft: int = Field(default=1024, ge=1, le=65_536, description="Samples of a frame.")
    hop_length: int = Field(
        default=320, ge=1, le=65_536, description="Samples from one frame's start to the next one's."
    )
    num_mels: int = Field(default=128, ge=1, le=1_024, description="Number of mel bands.")
    f_min_hz: float = Field(default=0.0, ge=0, description="Lowest frequency of the lowest band.")
    f_max_hz: float = Field(default=8_000.0, gt=0, description="Highest frequency of the highest band.")
    cleaned: bool = Field(
        default=False,
        description="Whether a window's constant offset and mains hum are taken out of it first, and with scale "
        "whisper its level, which scale db never tells.",
    )
    high_pass_hz: float = Field(
        default=0.0,
        ge=0,
        le=120,
        description="What lies below it (drift, rumble) is taken out of a cleaned window too; 0 for nothing.",
    )
    scale: MelScale = Field(default="db", description="db, or as Whisper was trained.")
    samples: bool = Field(
        default=False,
        description="Whether below the mel bands each frame has its samples too, hop_length rows of the cleaned "
        "window, for a model that reads both; with scale whisper and cleaned.",
    )
    top_db: float = Field(default=80.0, gt=0, description="Depth of the floor below the window's own maximum, in dB.")
    mean_db: float = Field(
        default=-40.0, description="Constant of the training data that is taken from the log-mel, in dB."
    )
    std_db: float = Field(default=20.0, gt=0, description="Constant of the training data that divides the rest, in dB.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.f_min_hz < self.f_max_hz <= self.sample_rate_hz / 2:
            raise ValueError("f_min_hz must be below f_max_hz, and f_max_hz at most half of sample_rate_hz")
        if self.high_pass_hz and (not self.cleaned or self.high_pass_hz > self.sample_rate_hz / 4):
            raise ValueError(
                "high_pass_hz needs cleaned: true (else set it to 0), and is at most a quarter of sample_rate_hz"
            )
        if self.samples and not (self.cleaned and self.scale == "whisper"):
            raise ValueError("samples needs cleaned: true and scale: whisper (else set it to false)")
        # A window is mirrored at its ends, so the shortest one must hold half a frame.
        if self.scale == "whisper" and self.n_fft >= 2 * MIN_WINDOW_SECONDS * self.sample_rate_hz:
            raise ValueError(f"scale whisper needs an n_fft shorter than {2 * MIN_WINDOW_SECONDS:g} s")
        return self

    @property
    def num_rows(self) -> int:
        """Rows of what a model sees: mel bands, and the samples of a frame where they are there too."""
        return self.num_mels + self.samples * self.hop_length

    def num_frames(self, window_samples: int) -> int:
        """Frames of a window (centred frames: 1 + samples // hop, of which Whisper drops the last)."""
        return (self.scale == "db") + window_samples // self.hop_length
