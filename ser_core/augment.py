"""What training does to a clip so that a model does not learn it by heart; never used in scoring.

Shape letters: N samples of a clip, S samples of a window, F mel bands, T frames.

All randomness comes from the generator given, so that it can be keyed by epoch and clip.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
import soxr
from torch import Tensor

from ser_core.config import Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentSettings(Settings):
    """How strongly; 0 switches one off."""

    #: Speed (and with it pitch) is changed by up to this share, either way.
    speed: float = 0.1
    #: A window may hang over the end of its clip by up to this share of itself, as a file's last window does.
    overhang: float = 0.15
    #: SpecAugment (Park et al. 2019, arXiv 1904.08779): number of masks of each kind, and the widest of each.
    num_masks: int = 2
    max_masked_mels: int = 12
    max_masked_frames: int = 16


def random_window(
    pcm_N: npt.NDArray[np.float32], window_samples: int, settings: AugmentSettings, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """A window (S,) from a random place of the clip, at a random speed; zero padded at its end."""
    factor = rng.uniform(1 - settings.speed, 1 + settings.speed)
    if settings.speed:
        pcm_N = soxr.resample(pcm_N, in_rate=factor, out_rate=1.0, quality="LQ")
    last_start = max(0.0, len(pcm_N) - (1 - settings.overhang) * window_samples)
    start = int(rng.uniform(0, last_start))
    window_S = np.zeros(window_samples, dtype=np.float32)
    piece = pcm_N[start : start + window_samples]
    window_S[: len(piece)] = piece
    return window_S


def mask_bands(mel_FT: Tensor, settings: AugmentSettings, rng: np.random.Generator) -> None:
    """Blank random bands and random spans of time of a normalised log-mel, in place, with its mean."""
    for _ in range(settings.num_masks):
        for axis, widest in ((0, settings.max_masked_mels), (1, settings.max_masked_frames)):
            width = min(int(rng.integers(0, widest + 1)), mel_FT.shape[axis])
            start = int(rng.integers(0, mel_FT.shape[axis] - width + 1))
            mel_FT.narrow(axis, start, width).fill_(mel_FT.mean())
