"""Augmentation: what training does to clips so that a model does not learn them by heart; never used in scoring.

Shape letters: N samples of a clip, S samples of a window, F mel bands, T frames.

All randomness comes from the generator given (see `generator`). How many numbers a function draws from it does not
depend on the settings: whatever is switched off, the rest stays as it is.
"""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn.functional import interpolate

from ser_core.training.data import effects
from ser_core.training.data.waveform_cache import Waveform
from ser_core.training.data_config import AugmentSettings

#: What a generator is for; each has random numbers of its own.
Purpose = Literal["waveform", "mel", "mixup", "tempo"]
_PURPOSES = get_args(Purpose)
#: Gives the generator of one sample for a purpose.
Draw = Callable[[Purpose], np.random.Generator]
#: What `random_window` draws, in this order.
_DRAWS = (
    "speed_if", "speed", "start", "reverberation_if", "rt60", "direct", "noise_if", "snr", "colour",
    "tilt_if", "tilt", "low_rate_if", "low_rate", "telephone_if", "gain_if", "gain",
)  # fmt: skip
#: What needs more than one random number, and gets a seed.
_SEEDS = ("reverberation", "noise")
#: Ranges of a room: the time in which its reverberation decays by 60 dB, and the level of the direct sound above it.
_RT60_SECONDS = (0.15, 0.6)
_DIRECT_DB = (0.0, 12.0)
#: Ranges of noise: its level below the speech, and the colour with which its power falls, as 1 / frequency ** colour.
_SNR_DB = (5.0, 35.0)
_NOISE_COLOUR = (0.0, 2.0)

#: Windows are cut at random places and nothing else happens to them.
OFF = AugmentSettings(
    speed=0, overhang=0, reverberation_probability=0, noise_probability=0, tilt_db=0, low_rate_probability=0,
    telephone_probability=0, gain_db=0, tempo=0, num_masks=0, mixup_probability=0,
)  # fmt: skip


def generator(seed: int, epoch: int, sample: int, purpose: Purpose) -> np.random.Generator:
    """The generator of one sample in one epoch: the same on whatever machine and in whatever batch it comes up."""
    return np.random.default_rng((seed, epoch, sample, _PURPOSES.index(purpose)))


def random_window(
    pcm_N: npt.NDArray[np.float32] | Waveform,
    window_samples: int,
    settings: AugmentSettings,
    rng: np.random.Generator,
    sample_rate_hz: int = 16_000,
    places: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float32]:
    """A window (S,) from a random place of the clip, changed as the settings say; zero padded at its end.

    What is padded stays zero, as in scoring: effects end where the recording does. `places` (P, 2), ascending shares of
    the last start, are where it may begin; None: anywhere.
    """
    draws = _Draws(rng, places)
    pcm_S = _cut(pcm_N, window_samples, settings, draws)
    if draws.happens("reverberation", settings.reverberation_probability):
        rt60_seconds, direct_db = draws.between("rt60", *_RT60_SECONDS), draws.between("direct", *_DIRECT_DB)
        pcm_S = effects.reverberate(pcm_S, rt60_seconds, direct_db, sample_rate_hz, draws.generator("reverberation"))
    if draws.happens("noise", settings.noise_probability):
        snr_db, colour = draws.between("snr", *_SNR_DB), draws.between("colour", *_NOISE_COLOUR)
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
    pcm_N: npt.NDArray[np.float32] | Waveform, window_samples: int, settings: AugmentSettings, draws: "_Draws"
) -> npt.NDArray[np.float32]:
    """Cut a window at a random place, played at a random speed; it may be shorter than a window."""
    factor = 1.0
    if draws.happens("speed", settings.speed_probability):
        factor = draws.between("speed", 1 - settings.speed, 1 + settings.speed)
    last_start = max(0.0, len(pcm_N) - (1 - settings.overhang) * window_samples * factor)
    start = int(draws.between("start", 0, last_start))
    piece_S = pcm_N[start : start + int(np.ceil(window_samples * factor))]
    return effects.change_speed(piece_S, factor)[:window_samples]


def _placed(share: float, places_P2: npt.NDArray[np.float64]) -> float:
    """What an even share of 0 to 1 is of these places together."""
    widths_P = places_P2[:, 1] - places_P2[:, 0]
    ends_P = np.cumsum(widths_P)
    place = min(int(np.searchsorted(ends_P, share * ends_P[-1], side="right")), len(ends_P) - 1)
    return float(places_P2[place, 1] - (ends_P[place] - share * ends_P[-1]))


class _Draws:
    """All that `random_window` leaves to chance, drawn at once."""

    def __init__(self, rng: np.random.Generator, places: npt.NDArray[np.float64] | None) -> None:
        self._shares = dict(zip(_DRAWS, rng.random(len(_DRAWS)).tolist(), strict=True))
        if places is not None:
            self._shares["start"] = _placed(self._shares["start"], places)
        self._seeds = dict(zip(_SEEDS, rng.integers(2**63, size=len(_SEEDS)).tolist(), strict=True))

    def happens(self, name: str, probability: float) -> bool:
        return bool(self._shares[f"{name}_if"] < probability)

    def between(self, name: str, low: float, high: float) -> float:
        return float(low + (high - low) * self._shares[name])

    def generator(self, name: str) -> np.random.Generator:
        return np.random.default_rng(self._seeds[name])


def change_tempo(mel_FT: Tensor, settings: AugmentSettings, rng: np.random.Generator) -> None:
    """Stretch a log-mel over time or squeeze it, in place, by chance."""
    happens, share = rng.random(2).tolist()
    if happens < settings.tempo_probability:
        stretch(mel_FT, (1 + settings.tempo) ** (2 * share - 1))


def stretch(mel_FT: Tensor, tempo: float) -> None:
    """Play a log-mel at another tempo, in place: frames between frames; what is free after it is silent.

    Args:
        mel_FT: at tempo 1.
        tempo: above 1: faster.
    """
    num_frames = mel_FT.shape[1]
    num_used, num_played = (max(1, round(num_frames * min(1.0, part))) for part in (tempo, 1 / tempo))
    stretched_FT = interpolate(mel_FT[None, :, :num_used], num_played, mode="linear", align_corners=True)[0]
    mel_FT[:, num_played:] = mel_FT.min()
    mel_FT[:, :num_played] = stretched_FT


def change_mels(mel_BFT: Tensor, settings: AugmentSettings, draws: Sequence[Draw]) -> None:
    """All that happens to normalised log-mels, in place, each by its own random numbers."""
    if not settings.changes_mel:
        return
    for mel_FT, draw in zip(mel_BFT, draws, strict=True):
        if settings.tempo:
            change_tempo(mel_FT, settings, draw("tempo"))
        mask_bands(mel_FT, settings, draw("mel"))


def mask_bands(mel_FT: Tensor, settings: AugmentSettings, rng: np.random.Generator) -> None:
    """Blank random bands and random spans of time of a normalised log-mel, in place, with its mean."""
    shares = rng.random(4 * settings.num_masks).tolist()
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
    happens, partner = rng.random(2).tolist()
    share = float(rng.beta(settings.mixup_alpha, settings.mixup_alpha))
    if happens >= settings.mixup_probability or num_samples < 2:
        return sample, 1.0
    return (sample + 1 + int(partner * (num_samples - 1))) % num_samples, max(share, 1 - share)
