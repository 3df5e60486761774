"""What training does to a clip so that a model does not learn it by heart; never used in scoring.

Shape letters: N samples of a clip, S samples of a window, F mel bands, T frames.

All randomness comes from the generator given (see `generator`). How many numbers a function draws from it does not
depend on the settings: whatever is switched off, the rest stays as it is.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn.functional import interpolate

from ser_core.settings import Settings, require
from ser_core.training.data import effects

#: Of a generator: each has numbers of its own.
Purpose = Literal["waveform", "mel", "mixup", "tempo"]
_PURPOSES = get_args(Purpose)
#: Gives the generator of one sample for a purpose.
Draw = Callable[[Purpose], np.random.Generator]
#: What `random_window` draws, in this order.
_DRAWS = (
    "speed_if", "speed", "overhang_if", "start", "reverberation_if", "rt60", "direct", "noise_if", "snr", "colour",
    "tilt_if", "tilt", "low_rate_if", "low_rate", "telephone_if", "gain_if", "gain",
)  # fmt: skip
#: What needs more than one number: seeds are drawn for it.
_SEEDS = ("reverberation", "noise")


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


#: Windows are cut at random places and nothing else happens to them.
OFF = AugmentSettings(
    speed=0, overhang=0, reverberation_probability=0, noise_probability=0, tilt_db=0, low_rate_probability=0,
    telephone_probability=0, gain_db=0, tempo=0, num_masks=0, mixup_probability=0,
)  # fmt: skip


def generator(seed: int, epoch: int, sample: int, purpose: Purpose) -> np.random.Generator:
    """The generator of one sample in one epoch: the same on whatever machine and in whatever batch it comes up."""
    return np.random.default_rng((seed, epoch, sample, _PURPOSES.index(purpose)))


def random_window(
    pcm_N: npt.NDArray[np.float32],
    window_samples: int,
    settings: AugmentSettings,
    rng: np.random.Generator,
    sample_rate_hz: int = 16_000,
) -> npt.NDArray[np.float32]:
    """A window (S,) from a random place of the clip, changed as the settings say; zero padded at its end.

    What is padded stays zero, as in scoring: effects end where the recording does.
    """
    draws = _Draws(rng)
    pcm_S = _cut(pcm_N, window_samples, settings, draws)
    if draws.happens("reverberation", settings.reverberation_probability):
        rt60_seconds = draws.between("rt60", settings.min_rt60_seconds, settings.max_rt60_seconds)
        direct_db = draws.between("direct", settings.min_direct_db, settings.max_direct_db)
        pcm_S = effects.reverberate(pcm_S, rt60_seconds, direct_db, sample_rate_hz, draws.generator("reverberation"))
    if draws.happens("noise", settings.noise_probability):
        snr_db = draws.between("snr", settings.min_snr_db, settings.max_snr_db)
        colour = draws.between("colour", 0, settings.max_noise_colour)
        pcm_S = effects.add_noise(pcm_S, snr_db, colour, sample_rate_hz, draws.generator("noise"))
    if draws.happens("tilt", settings.tilt_probability) and settings.tilt_db:
        pcm_S = effects.tilt(pcm_S, draws.between("tilt", -settings.tilt_db, settings.tilt_db), sample_rate_hz)
    if draws.happens("low_rate", settings.low_rate_probability) and settings.min_rate_hz < sample_rate_hz:
        low_rate_hz = draws.between("low_rate", settings.min_rate_hz, sample_rate_hz)
        pcm_S = effects.lower_rate(pcm_S, low_rate_hz, sample_rate_hz)
    if draws.happens("telephone", settings.telephone_probability):
        pcm_S = effects.telephone(pcm_S, sample_rate_hz)
    if draws.happens("gain", settings.gain_probability) and settings.gain_db:
        pcm_S = pcm_S * np.float32(10 ** (draws.between("gain", -settings.gain_db, settings.gain_db) / 20))
    window_S = np.zeros(window_samples, dtype=np.float32)
    window_S[: len(pcm_S)] = pcm_S
    return window_S


def _cut(
    pcm_N: npt.NDArray[np.float32], window_samples: int, settings: AugmentSettings, draws: "_Draws"
) -> npt.NDArray[np.float32]:
    """At most a window, at a random speed."""
    factor = 1.0
    if draws.happens("speed", settings.speed_probability):
        factor = draws.between("speed", 1 - settings.speed, 1 + settings.speed)
    overhang = settings.overhang if draws.happens("overhang", settings.overhang_probability) else 0.0
    last_start = max(0.0, len(pcm_N) - (1 - overhang) * window_samples * factor)
    start = int(draws.between("start", 0, last_start))
    piece_S = pcm_N[start : start + int(np.ceil(window_samples * factor))]
    return effects.change_speed(piece_S, factor)[:window_samples]


class _Draws:
    """All that `random_window` leaves to chance, drawn at once."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._shares = dict(zip(_DRAWS, rng.random(len(_DRAWS)).tolist(), strict=True))
        self._seeds = dict(zip(_SEEDS, rng.integers(2**63, size=len(_SEEDS)).tolist(), strict=True))

    def happens(self, name: str, probability: float) -> bool:
        return bool(self._shares[f"{name}_if"] < probability)

    def between(self, name: str, low: float, high: float) -> float:
        return float(low + (high - low) * self._shares[name])

    def generator(self, name: str) -> np.random.Generator:
        return np.random.default_rng(self._seeds[name])


def change_tempo(mel_FT: Tensor, settings: AugmentSettings, rng: np.random.Generator) -> None:
    """Stretch a log-mel over time or squeeze it, in place: frames between frames; what is free after it is silent."""
    happens, share = rng.random(2).tolist()
    if happens >= settings.tempo_probability:
        return
    num_frames = mel_FT.shape[1]
    factor = (1 + settings.tempo) ** (2 * share - 1)
    num_used, num_heard = (max(1, round(num_frames * min(1.0, part))) for part in (factor, 1 / factor))
    heard_FT = interpolate(mel_FT[None, :, :num_used], num_heard, mode="linear", align_corners=True)[0]
    mel_FT[:, num_heard:] = mel_FT.min()
    mel_FT[:, :num_heard] = heard_FT


def change_mels(mel_BFT: Tensor, settings: AugmentSettings, draws: Sequence[Draw]) -> None:
    """All that happens to normalised log-mels, in place, each by its own draws."""
    if not settings.changes_mel:
        return
    for mel_FT, draw in zip(mel_BFT, draws, strict=True):
        if settings.tempo:
            change_tempo(mel_FT, settings, draw("tempo"))
        mask_bands(mel_FT, settings, draw("mel"))


def mask_bands(mel_FT: Tensor, settings: AugmentSettings, rng: np.random.Generator) -> None:
    """Blank random bands and random spans of time of a normalised log-mel, in place, with its mean."""
    happens, *shares = rng.random(1 + 4 * settings.num_masks).tolist()
    if not settings.num_masks or happens >= settings.mask_probability:
        return
    mean = mel_FT.mean()
    widest = (settings.max_masked_mels, settings.max_masked_frames)
    for number in range(2 * settings.num_masks):
        axis = number % 2
        width = min(int(shares[2 * number] * (widest[axis] + 1)), mel_FT.shape[axis])
        start = int(shares[2 * number + 1] * (mel_FT.shape[axis] - width + 1))
        mel_FT.narrow(axis, start, width).fill_(mean)


def mixup_pair(sample: int, num_samples: int, settings: AugmentSettings, rng: np.random.Generator) -> tuple[int, float]:
    """The sample (of `num_samples`) to mix into this one, and this one's share, at least a half; 1: leave it alone.

    Features and targets are mixed alike: share x this one's + (1 - share) x the partner's.
    """
    happens, place = rng.random(2).tolist()
    share = float(rng.beta(settings.mixup_alpha, settings.mixup_alpha))
    if happens >= settings.mixup_probability or num_samples < 2:
        return sample, 1.0
    return (sample + 1 + int(place * (num_samples - 1))) % num_samples, max(share, 1 - share)
