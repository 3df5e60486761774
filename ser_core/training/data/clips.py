"""The clips that a training is given: their labels, and the windows that are cut from them.

Shape letters: G clips, C labels, W windows, N windows of some clips.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ser_core.audio import WindowSettings, count_windows
from ser_core.corpora import Manifest
from ser_core.errors import UsageError
from ser_core.training.data.waveform_cache import WaveformCache
from ser_core.vocabulary import LABELS

Numbers = npt.NDArray[np.int64]


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


class ClipLabels:
    """What is right for each clip, in a model's labels."""

    def __init__(self, manifest: Manifest, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        place_of = np.full(len(LABELS), -1)
        for place, label in enumerate(labels):
            place_of[LABELS.index(label)] = place
        self.label_G: Numbers = place_of[manifest.label_N]
        _, corpus_G = np.unique(manifest.corpora.astype(str), return_inverse=True)
        #: An emotion of a corpus.
        self.stratum_G: Numbers = corpus_G * len(labels) + self.label_G


@dataclass(frozen=True)
class TrainingWindows:
    """Every window that is kept of every clip, each once, in the order of clips and time.

    Two sorts, which share what they have in common: those that scoring cuts, and those that are learned from, evenly
    spread over the clip, the last one hanging over its end.
    """

    settings: WindowSettings
    clip_W: Numbers
    #: In samples.
    start_W: Numbers
    #: Of audio, padding left out.
    seconds_W: npt.NDArray[np.float64]
    #: Of each clip, its windows' numbers.
    scored: tuple[Numbers, ...]
    learned: tuple[Numbers, ...]

    @classmethod
    def of(
        cls, waveforms: WaveformCache, settings: WindowSettings, windows_per_clip: int, overhang: float
    ) -> "TrainingWindows":
        """Of all clips of a cache.

        Args:
            waveforms: the clips.
            settings: how scoring cuts them.
            windows_per_clip: that are learned from; fewer where they would be the same.
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
        return cls(settings, clip_W, start_W, seconds_W, tuple(scored), tuple(learned))

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
