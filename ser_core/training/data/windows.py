"""Which windows of its clips a training hears.

Shape letters: G clips, W windows, N windows of some clips.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ser_core.audio import WindowSettings, count_windows
from ser_core.training.data.waveform_cache import WaveformCache

Numbers = npt.NDArray[np.int64]


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
