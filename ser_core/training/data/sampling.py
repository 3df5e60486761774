"""Which clips an epoch hears, in which order and in which steps.

Shape letters: G clips, P places of an epoch.

All of it follows from (seed, epoch, place): which worker hears a clip changes nothing.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ser_core.corpora import Manifest
from ser_core.errors import UsageError
from ser_core.training.config import TrainConfig
from ser_core.training.data import augment
from ser_core.training.data.splits import ClipSets
from ser_core.training.data_config import AugmentSettings, Sampling
from ser_core.vocabulary import LABELS

Numbers = npt.NDArray[np.int64]
#: Of a stratum's clips, what its part of an epoch is proportional to.
_POWERS = {"square_root": 0.5, "balanced": 0.0}


@dataclass(frozen=True)
class Epoch:
    """One pass. A place is a clip's turn in it; a clip may have several, or none."""

    seed: int
    number: int
    clip_P: Numbers
    #: Mixed into the place's own clip: another place, and the share of its own; itself and 1 where nothing is.
    partner_P: Numbers
    share_P: npt.NDArray[np.float64]
    #: The places of each step, which differ in number by one at most.
    steps: tuple[Numbers, ...]


def plan_epoch(
    seed: int, number: int, strata_G: Numbers, sampling: Sampling, batch_size: int,
    settings: AugmentSettings,
) -> Epoch:  # fmt: skip
    """An epoch over G clips, as many places.

    Args:
        seed: of the training.
        number: of the epoch.
        strata_G: what each clip is one of: an emotion of a corpus.
        sampling: natural: each clip once; balanced: each stratum equally often; square_root: as the root of its clips.
        batch_size: of a step, at most.
        settings: mixup's.
    """
    rng = np.random.default_rng((seed, number))
    num_clips = len(strata_G)
    clip_P = rng.permutation(num_clips) if sampling == "natural" else _drawn(strata_G, _POWERS[sampling], rng)
    pairs = [
        augment.mixup_pair(place, num_clips, settings, augment.generator(seed, number, place, "mixup"))
        for place in range(num_clips if settings.mixup_probability else 0)
    ] or [(place, 1.0) for place in range(num_clips)]
    partner_P, share_P = (np.array(column) for column in zip(*pairs, strict=True))
    return Epoch(seed, number, clip_P, partner_P, share_P, split_steps(num_clips, batch_size))


def split_steps(num_places: int, batch_size: int) -> tuple[Numbers, ...]:
    """Places in steps of nearly equal size: a small last step would be noise, or too small to share."""
    return tuple(np.array_split(np.arange(num_places), -(-num_places // batch_size)))


def _drawn(strata_G: Numbers, power: float, rng: np.random.Generator) -> Numbers:
    """As many places as clips; a stratum of n has its part of n ** power, and of its clips none comes twice more."""
    strata, sizes = np.unique(strata_G, return_counts=True)
    order = rng.permutation(len(strata))
    strata, wanted = strata[order], _places(sizes[order], power)
    counts = np.floor(wanted).astype(np.int64)
    counts[np.argsort(counts - wanted, kind="stable")[: len(strata_G) - counts.sum()]] += 1
    chosen = []
    for stratum, count in zip(strata, counts, strict=True):
        clips = np.flatnonzero(strata_G == stratum)
        rounds = [rng.permutation(clips) for _ in range(-(-count // len(clips)))]
        chosen.append(np.concatenate(rounds)[:count])
    return rng.permutation(np.concatenate(chosen))


def _places(sizes: Numbers, power: float) -> npt.NDArray[np.float64]:
    """Of an epoch, for strata of so many clips, before rounding."""
    parts = sizes**power
    places: npt.NDArray[np.float64] = sizes.sum() * parts / parts.sum()
    return places


def sampling_weights(strata_G: Numbers, sampling: Sampling) -> npt.NDArray[np.float64]:
    """How often an epoch hears each clip, on average; see `plan_epoch`."""
    if sampling == "natural":
        return np.ones(len(strata_G))
    _, stratum_G, sizes = np.unique(strata_G, return_inverse=True, return_counts=True)
    weight_G: npt.NDArray[np.float64] = (_places(sizes, _POWERS[sampling]) / sizes)[stratum_G]
    return weight_G


def check_sets(sets: ClipSets, manifest: Manifest, config: TrainConfig, num_workers: int) -> None:
    """Whether a fold can be trained on at all.

    Raises:
        UsageError: it has fewer clips in a step than there are workers, or a single emotion.
    """
    smallest = min(len(step) for step in split_steps(len(sets.training_N), config.batch_size))
    if smallest < num_workers:
        raise UsageError(f"steps of {smallest} clips are too few for {num_workers} workers; use a larger batch_size")
    labels = np.unique(manifest.label_N[sets.training_N])
    if len(labels) < 2:
        raise UsageError(f"all clips to learn from are '{LABELS[labels[0]]}'; a model needs two emotions")
