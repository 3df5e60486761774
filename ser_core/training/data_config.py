"""Settings of what a training learns from: how clips are split, how often each is taken, how they are augmented."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from ser_core.settings import Settings, require

Split = Literal["speaker", "random", "statement", "corpus"]


#: Split -> the setting that names what is tested.
NAMING = {"speaker": "test_speakers", "statement": "test_statements", "corpus": "test_corpora"}


@dataclass(frozen=True, kw_only=True)
class SplitSettings(Settings):
    """How to split. Sets are drawn from each corpus alike, and men and women as evenly as they are there."""

    split: Split = "speaker"
    #: As many folds in the place of one test, and other speakers, statements, corpora or clips tested in each.
    folds: int | None = None
    #: What is tested, by name, in the place of a share.
    test_speakers: list[str] | None = None
    test_statements: list[str] | None = None
    test_corpora: list[str] | None = None
    #: Of each corpus's speakers or statements, or of all clips; 0: no test.
    test_share: float = 0.2
    #: Left out of every set.
    exclude_speakers: list[str] | None = None
    #: Of each corpus; fewer where the two would take more than half of what is not tested.
    stopping_speakers: int = 2
    temperature_speakers: int = 2
    #: Of the clips that are not tested; for `random` alone.
    stopping_share: float = 0.1
    temperature_share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.folds is None or self.folds >= 2, f"split: folds must be 2 or more, not {self.folds}")
        require(0 <= self.test_share < 1, f"split: test_share must be 0 to less than 1, not {self.test_share}")
        for name in ("stopping_speakers", "temperature_speakers", "stopping_share", "temperature_share", "seed"):
            require(getattr(self, name) >= 0, f"split: {name} must be 0 or more, not {getattr(self, name)}")
        require(
            self.stopping_share + self.temperature_share < 1,
            "split: stopping_share and temperature_share together must leave clips for training",
        )
        for split, name in NAMING.items():
            named = getattr(self, name)
            require(named is None or split == self.split, f"split: {name} goes with split {split}, not {self.split}")
            require(named is None or self.folds is None, f"split: folds and {name} exclude each other; give one")
            require(named is None or len(named) > 0, f"split: {name} names nothing; leave it out or name some")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentSettings(Settings):
    """How strongly, and with what probability; 0 switches one off. What is drawn from a range is drawn evenly."""

    #: Speed (and with it pitch) is changed by up to this share, either way.
    speed: float = 0.1
    speed_probability: float = 1.0
    #: A window may hang over the end of its clip by up to this share of itself, as a file's last window does.
    overhang: float = 0.15
    overhang_probability: float = 1.0
    #: A room that reverberates: 60 dB of decay in so long, the direct sound so much above the rest.
    reverberation_probability: float = 0.15
    min_rt60_seconds: float = 0.15
    max_rt60_seconds: float = 0.6
    min_direct_db: float = 0.0
    max_direct_db: float = 12.0
    #: Noise so much below the speech, its power falling as 1 / frequency ** colour with 0 to `max_noise_colour`.
    noise_probability: float = 0.25
    min_snr_db: float = 5.0
    max_snr_db: float = 35.0
    max_noise_colour: float = 2.0
    #: High frequencies up to so much above or below low ones.
    tilt_db: float = 6.0
    tilt_probability: float = 0.3
    #: Recorded at a lower sample rate, down to this one.
    low_rate_probability: float = 0.1
    min_rate_hz: float = 8_000.0
    #: 300 to 3,400 Hz, 8 kHz, mu-law.
    telephone_probability: float = 0.05
    #: Louder or quieter by up to so much.
    gain_db: float = 6.0
    gain_probability: float = 0.5
    #: Tempo, and not pitch, is changed: by up to this share faster, or as much slower (1: from half to twice as fast).
    tempo: float = 0.0
    tempo_probability: float = 1.0
    #: SpecAugment (Park et al. 2019, arXiv 1904.08779): number of masks of each kind, and the widest of each.
    num_masks: int = 2
    max_masked_mels: int = 12
    max_masked_frames: int = 16
    mask_probability: float = 1.0
    #: mixup (Zhang et al. 2018, arXiv 1710.09412): shares are drawn from Beta(alpha, alpha).
    mixup_probability: float = 0.0
    mixup_alpha: float = 0.4

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_probability"):
                require(0 <= value <= 1, f"augmentation: {field.name} must be 0 to 1, not {value:g}")
            elif field.name.startswith("max_") and (least := getattr(self, f"min_{field.name[4:]}", None)) is not None:
                require(least <= value, f"augmentation: min_{field.name[4:]} must not be above {field.name}")
        for name in ("speed", "overhang"):
            value = getattr(self, name)
            require(0 <= value < 1, f"augmentation: {name} must be 0 to less than 1, not {value:g}")
        for name in (
            "tilt_db", "gain_db", "tempo", "num_masks", "max_masked_mels", "max_masked_frames", "max_noise_colour",
        ):  # fmt: skip
            value = getattr(self, name)
            require(value >= 0, f"augmentation: {name} must be 0 or more, not {value:g}")
        for name in ("min_rt60_seconds", "mixup_alpha"):
            require(getattr(self, name) > 0, f"augmentation: {name} must be more than 0")
        require(self.min_rate_hz >= 1_000, "augmentation: min_rate_hz must be 1000 or more")

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
        return bool((self.num_masks and self.mask_probability) or (self.tempo and self.tempo_probability))


Sampling = Literal["natural", "square_root", "balanced"]
