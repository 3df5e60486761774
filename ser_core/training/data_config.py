"""Settings of what a training learns from: how clips are split, how often each is taken, how they are augmented."""

from typing import Literal, Self

from pydantic import Field, model_validator

from ser_core.settings import Names, Probability, Settings

Split = Literal["speaker", "random", "statement", "corpus", "cross-corpus"]
Sampling = Literal["natural", "square_root", "balanced"]


class SplitSettings(Settings):
    """Which clips train, which validate, which calibrate and which test.

    Sets are drawn from each corpus alike, and men and women as evenly as they are there.
    """

    split: Split = Field(
        default="speaker",
        description="What is new in the test: speaker (nobody in it is in training), random (its clips), statement "
        "(its sentences), corpus (its corpora), or cross-corpus: a model is trained on each corpus alone, and tested "
        "on each.",
    )
    folds: int | None = Field(
        default=None, ge=2, description="Number of folds that take the place of one test; by default there is one test."
    )
    test_speakers: Names | None = Field(
        default=None, description="Speakers to test, in the place of a share; for split speaker."
    )
    test_corpora: Names | None = Field(
        default=None, description="Corpora to test, in the place of a share; for split corpus."
    )
    test_share: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="Share of each corpus's speakers or statements, or of all clips, that is tested; 0: no test.",
    )
    exclude_speakers: Names | None = Field(default=None, description="Speakers that are left out of every set.")
    validation_speakers: int = Field(
        default=2,
        ge=0,
        description="Speakers of each corpus that say which epoch is best; fewer where too few would be left to train.",
    )
    calibration_speakers: int = Field(
        default=2,
        ge=0,
        description="Speakers of each corpus that the temperature is fitted to; fewer where too few would be left.",
    )
    validation_share: float = Field(
        default=0.1, ge=0, lt=1, description="Share of the clips that are not tested; for split random."
    )
    calibration_share: float = Field(
        default=0.1, ge=0, lt=1, description="Share of the clips that are not tested; for split random."
    )
    seed: int = Field(default=0, ge=0, description="Seed of the split.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.validation_share + self.calibration_share >= 1:
            raise ValueError("validation_share and calibration_share together must leave clips for training")
        if self.split == "cross-corpus" and self.folds is not None:
            raise ValueError("split cross-corpus has a fold for each corpus; leave out folds")
        for split, name, named in (
            ("speaker", "test_speakers", self.test_speakers), ("corpus", "test_corpora", self.test_corpora),
        ):  # fmt: skip
            if named is None:
                continue
            if self.split != split:
                raise ValueError(f"{name} goes with split {split}, not {self.split}")
            if self.folds is not None:
                raise ValueError(f"folds and {name} exclude each other; give one")
            if not named:
                raise ValueError(f"{name} names nothing; leave it out or name some")
        return self

    @property
    def has_folds(self) -> bool:
        """Whether several models are trained, each in a folder of its own."""
        return self.folds is not None or self.split == "cross-corpus"


class AugmentSettings(Settings):
    """What is done to clips so that a model does not learn them by heart: how strongly, and with what probability.

    0 switches an effect off. A value that is drawn from a range is drawn evenly.
    """

    speed: float = Field(
        default=0.1, ge=0, lt=1, description="Share by which speed, and with it pitch, is changed at most, either way."
    )
    speed_probability: Probability = Field(default=1.0, description="Probability of another speed.")
    overhang: float = Field(
        default=0.15,
        ge=0,
        lt=1,
        description="Share of a window that may hang over the end of its clip, as a file's last window does.",
    )
    reverberation_probability: Probability = Field(default=0.15, description="Probability of a room that reverberates.")
    noise_probability: Probability = Field(default=0.25, description="Probability of noise.")
    tilt_db: float = Field(
        default=6.0, ge=0, description="Decibels that high frequencies are raised or lowered at most against low ones."
    )
    tilt_probability: Probability = Field(default=0.3, description="Probability of such a tilt.")
    low_rate_probability: Probability = Field(default=0.1, description="Probability of a lower sample rate.")
    min_rate_hz: float = Field(default=8_000.0, ge=1_000, description="Lowest of those sample rates.")
    telephone_probability: Probability = Field(
        default=0.05, description="Probability of a telephone line: 300 to 3,400 Hz, 8 kHz, mu-law."
    )
    gain_db: float = Field(default=6.0, ge=0, description="Decibels that a clip is made louder or quieter at most.")
    gain_probability: Probability = Field(default=0.5, description="Probability of another loudness.")
    tempo: float = Field(
        default=0.0,
        ge=0,
        description="Share by which tempo, and not pitch, is made faster at most, or as much slower; 1: from half to "
        "twice as fast.",
    )
    tempo_probability: Probability = Field(default=1.0, description="Probability of another tempo.")
    num_masks: int = Field(
        default=2, ge=0, description="Number of masks over time, and over bands (SpecAugment, arXiv 1904.08779)."
    )
    max_masked_mels: int = Field(default=12, ge=0, description="Widest mask over bands.")
    max_masked_frames: int = Field(default=16, ge=0, description="Widest mask over time.")
    mixup_probability: Probability = Field(
        default=0.0, description="Probability that a clip is mixed with another one (mixup, arXiv 1710.09412)."
    )
    mixup_alpha: float = Field(
        default=0.4, gt=0, description="Shares of the two clips are drawn from Beta(alpha, alpha)."
    )

    @property
    def changes_waveform(self) -> bool:
        """Whether a window's samples are ever changed; where it is cut is no change."""
        return any(
            (
                self.speed and self.speed_probability, self.reverberation_probability, self.noise_probability,
                self.tilt_db and self.tilt_probability, self.low_rate_probability, self.telephone_probability,
                self.gain_db and self.gain_probability,
            )
        )  # fmt: skip

    @property
    def changes_mel(self) -> bool:
        """Whether the log-mel is ever stretched, or bands or spans of time blanked."""
        return bool(self.num_masks or (self.tempo and self.tempo_probability))
