"""The clips that a training is given: their labels, their windows, and in which order and steps an epoch uses them.

Shape letters: G clips, E examples of an epoch, C labels, W windows, N windows of some clips.

An epoch follows from (seed, epoch, example): which worker computes an example changes nothing.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ser_core.audio import WindowSettings, count_windows
from ser_core.corpora import Manifest
from ser_core.errors import UsageError
from ser_core.training.config import TrainConfig
from ser_core.training.data import augment
from ser_core.training.data.splits import ClipSets
from ser_core.training.data.waveform_cache import WaveformCache
from ser_core.training.data_config import AugmentSettings, Sampling

Numbers = npt.NDArray[np.int64]
#: Number of a stratum's examples in an epoch: proportional to this power of the number of its clips.
_POWERS = {"square_root": 0.5, "balanced": 0.0}


def check_emotions(manifest: Manifest) -> None:
    """Raises UsageError where a model could not learn the emotions of these clips."""
    emotions = Counter(manifest.table["emotion"].to_pylist())
    for emotion, count in sorted(emotions.items()):
        if count == 1:
            raise UsageError(f"the emotion '{emotion}' has a single clip; add more, or leave it out of the manifest")
    by_corpus: dict[str, set[str]] = {}
    for corpus, emotion in zip(manifest.corpora, manifest.table["emotion"].to_pylist(), strict=True):
        by_corpus.setdefault(corpus, set()).add(emotion)
    for corpus, mine in by_corpus.items():
        others = [labels for other, labels in by_corpus.items() if other != corpus]
        if others and not mine & set().union(*others):
            raise UsageError(
                f"corpus {corpus} shares no emotion with the others ({', '.join(sorted(mine))}): a model would learn "
                "to tell corpora; train on it alone, or leave it out"
            )


def check_sets(sets: ClipSets, manifest: Manifest, config: TrainConfig, num_workers: int) -> None:
    """Whether a fold can be trained on at all.

    Raises:
        UsageError: it has no clip, fewer in a step than there are workers, or a single emotion.
    """
    if not len(sets.training_N):
        raise UsageError("no clip to learn from has speech in it; speech: all learns from all of them")
    smallest = min(len(step) for step in split_steps(len(sets.training_N), config.batch_size))
    if smallest < num_workers:
        raise UsageError(f"steps of {smallest} clips are too few for {num_workers} workers; use a larger batch_size")
    labels = np.unique(manifest.label_N[sets.training_N])
    if len(labels) < 2:
        raise UsageError(
            f"all clips to learn from are '{manifest.known_labels[labels[0]]}'; a model needs two emotions"
        )


class ClipLabels:
    """The label of each clip, as its index among a model's."""

    def __init__(self, manifest: Manifest, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        index_of = {label: index for index, label in enumerate(labels)}
        indices = np.array([index_of.get(label, -1) for label in manifest.known_labels])
        self.label_G: Numbers = indices[manifest.label_N]
        corpora, speakers = manifest.corpora.astype(str), manifest.speakers.astype(str)
        corpus_G: Numbers = np.unique(corpora, return_inverse=True)[1]
        names = [f"{corpus}/{speaker}" for corpus, speaker in zip(corpora, speakers, strict=True)]
        #: Numbers of each clip's label, speaker and corpus; a name in two corpora is that of two speakers.
        self.groups: tuple[Numbers, ...] = (self.label_G, np.unique(names, return_inverse=True)[1], corpus_G)
        #: Number of each clip's stratum: an emotion of a corpus.
        self.stratum_G: Numbers = corpus_G * len(labels) + self.label_G


@dataclass(frozen=True)
class TrainingWindows:
    """Every window of every clip whose features may be cached, each once, in the order of clips and time.

    There are two sorts, which share what they have in common: those that scoring cuts, and those that are learned from,
    evenly spread over the clip, the last one hanging over its end.
    """

    settings: WindowSettings
    clip_W: Numbers
    #: First sample in its clip.
    start_W: Numbers
    #: What each one counts: the length of its audio, without padding, or of the speech in it.
    seconds_W: npt.NDArray[np.float64]
    #: Numbers of each clip's windows.
    scored: tuple[Numbers, ...]
    learned: tuple[Numbers, ...]
    #: The share of a window that may hang over its clip's end, where it is learned from.
    overhang: float = 0.0
    #: Of clips that have windows without speech, where those with speech may begin: shares of the last start.
    places: dict[int, npt.NDArray[np.float64]] = field(default_factory=dict)

    def last_start(self, num_samples: int) -> float:
        """Where the last window of so long a clip begins that is learned from."""
        return max(0.0, num_samples - (1 - self.overhang) * self.settings.window_samples)

    @classmethod
    def of(
        cls, waveforms: WaveformCache, settings: WindowSettings, windows_per_clip: int, overhang: float
    ) -> "TrainingWindows":
        """The windows of all clips of a cache.

        Args:
            waveforms: the clips.
            settings: how scoring cuts them.
            windows_per_clip: number that are learned from; fewer where they would be the same.
            overhang: the share of a window that may hang over the clip's end.
        """
        clips, starts, scored, learned = [], [], [], []
        num_windows = 0
        for clip in range(len(waveforms)):
            num_samples = waveforms.num_samples(clip)
            scored_N = np.arange(count_windows(num_samples, settings)) * settings.hop_samples
            last_start = max(0.0, num_samples - (1 - overhang) * settings.window_samples)
            learned_N = np.unique(np.linspace(0, last_start, windows_per_clip).astype(np.int64))
            start_N = np.union1d(scored_N, learned_N)
            scored.append(num_windows + np.searchsorted(start_N, scored_N))
            learned.append(num_windows + np.searchsorted(start_N, learned_N))
            clips.append(np.full(len(start_N), clip))
            starts.append(start_N)
            num_windows += len(start_N)
        clip_W, start_W = np.concatenate(clips), np.concatenate(starts)
        end_W = np.array([waveforms.num_samples(clip) for clip in range(len(waveforms))])[clip_W]
        seconds_W = np.minimum(end_W - start_W, settings.window_samples) / settings.sample_rate_hz
        return cls(settings, clip_W, start_W, seconds_W, tuple(scored), tuple(learned), overhang)

    def __len__(self) -> int:
        return len(self.clip_W)

    def read(self, waveforms: WaveformCache, window_N: Numbers) -> npt.NDArray[np.float32]:
        """The samples (N, S) of windows by their numbers, zero padded."""
        pcm_NS = np.zeros((len(window_N), self.settings.window_samples), np.float32)
        for row, window in enumerate(window_N):
            start = self.start_W[window]
            piece = waveforms.waveform(int(self.clip_W[window]))[start : start + self.settings.window_samples]
            pcm_NS[row, : len(piece)] = piece
        return pcm_NS


@dataclass(frozen=True)
class Epoch:
    """One pass over the training set. An example is one use of a clip; a clip may be used several times, or never."""

    seed: int
    number: int
    clip_E: Numbers
    #: The example that each one is mixed with, and the share of its own clip; itself and 1 where nothing is mixed.
    partner_E: Numbers
    share_E: npt.NDArray[np.float64]
    #: The examples of each step, which differ in number by one at most.
    steps: tuple[Numbers, ...]


def plan_epoch(
    seed: int, number: int, strata_G: Numbers, sampling: Sampling, batch_size: int,
    settings: AugmentSettings,
) -> Epoch:  # fmt: skip
    """An epoch over G clips, of as many examples.

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
    clip_E = rng.permutation(num_clips) if sampling == "natural" else _sampled(strata_G, _POWERS[sampling], rng)
    pairs = [
        augment.mixup_pair(example, num_clips, settings, augment.generator(seed, number, example, "mixup"))
        for example in range(num_clips if settings.mixup_probability else 0)
    ] or [(example, 1.0) for example in range(num_clips)]
    partner_E, share_E = (np.array(column) for column in zip(*pairs, strict=True))
    return Epoch(seed, number, clip_E, partner_E, share_E, split_steps(num_clips, batch_size))


def split_steps(num_examples: int, batch_size: int) -> tuple[Numbers, ...]:
    """Examples in steps of nearly equal size: a small last step would be noise, or too small to share."""
    return tuple(np.array_split(np.arange(num_examples), -(-num_examples // batch_size)))


def _sampled(strata_G: Numbers, power: float, rng: np.random.Generator) -> Numbers:
    """As many examples as clips; a stratum of n has its part of n ** power, and none of its clips comes twice more."""
    strata, sizes = np.unique(strata_G, return_counts=True)
    order = rng.permutation(len(strata))
    strata, wanted = strata[order], _num_examples(sizes[order], power)
    counts = np.floor(wanted).astype(np.int64)
    counts[np.argsort(counts - wanted, kind="stable")[: len(strata_G) - counts.sum()]] += 1
    chosen = []
    for stratum, count in zip(strata, counts, strict=True):
        clips = np.flatnonzero(strata_G == stratum)
        rounds = [rng.permutation(clips) for _ in range(-(-count // len(clips)))]
        chosen.append(np.concatenate(rounds)[:count])
    return rng.permutation(np.concatenate(chosen))


def _num_examples(sizes: Numbers, power: float) -> npt.NDArray[np.float64]:
    """Number of examples of an epoch for strata of so many clips, before rounding."""
    parts = sizes**power
    examples: npt.NDArray[np.float64] = sizes.sum() * parts / parts.sum()
    return examples


def sampling_weights(strata_G: Numbers, sampling: Sampling) -> npt.NDArray[np.float64]:
    """How often an epoch uses each clip, on average; see `plan_epoch`."""
    if sampling == "natural":
        return np.ones(len(strata_G))
    _, stratum_G, sizes = np.unique(strata_G, return_inverse=True, return_counts=True)
    weight_G: npt.NDArray[np.float64] = (_num_examples(sizes, _POWERS[sampling]) / sizes)[stratum_G]
    return weight_G
