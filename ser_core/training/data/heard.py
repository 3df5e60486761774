"""Which windows of a training have speech: heard once a machine, kept in its cache, and the same for all workers.

Shape letters: W windows, G clips, P places of a clip.
"""

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ser_core.distributed import ProcessGroup
from ser_core.speech import SpeechListener, SpeechSettings
from ser_core.training.data.clips import Numbers, TrainingWindows
from ser_core.training.data.features import Array, FeatureCache
from ser_core.training.data.splits import ClipSets
from ser_core.training.data.waveform_cache import WaveformCache
from ser_core.training.events import Callback, Preparing

#: Number of what is in the cache; another one when the same samples are heard otherwise.
_FORMAT = 2


def with_speech(
    windows: TrainingWindows,
    waveforms: WaveformCache,
    speech: SpeechSettings,
    group: ProcessGroup,
    folder: Path,
    callback: Callback,
) -> TrainingWindows:
    """The windows that have speech enough, and their seconds of it; all workers must call it.

    Args:
        windows: all windows.
        waveforms: their clips.
        speech: what is enough.
        group: who calls it; what rank 0 has heard holds for all.
        folder: of the cache; another one for other windows.
        callback: gets how far it is.
    """
    listener = SpeechListener(speech, windows.settings.sample_rate_hz)
    if not listener.is_on:
        return windows
    place = folder.with_name(f"{folder.name}-speech-{_FORMAT}-{speech.min_speech_seconds:g}")
    cache = FeatureCache(place, len(windows), (2,), np.float64)

    def heard(window_B: Numbers) -> Array:
        length_B = np.rint(windows.seconds_W[window_B] * windows.settings.sample_rate_hz).astype(np.int64)
        found = listener.listen(windows.read(waveforms, window_B), length_B)
        return np.stack([found.seconds_N, found.is_judged_N], axis=1)

    every_W = np.arange(len(windows))
    cache.fill(every_W, heard, group, lambda done, total: callback(Preparing("speech", done, total)))
    seconds_W, is_judged_W = group.broadcast(lambda: cache[every_W]).T
    return _chosen(windows, waveforms, seconds_W, is_judged_W.astype(bool))


def _chosen(
    windows: TrainingWindows,
    waveforms: WaveformCache,
    seconds_W: npt.NDArray[np.float64],
    is_judged_W: npt.NDArray[np.bool_],
) -> TrainingWindows:
    scored = tuple(window_N[is_judged_W[window_N]] for window_N in windows.scored)
    learned = [window_N[is_judged_W[window_N]] for window_N in windows.learned]
    places = {}
    first_G = np.searchsorted(windows.clip_W, np.arange(len(windows.scored) + 1))
    for clip, (first, end) in enumerate(pairwise(first_G.tolist())):
        if not len(learned[clip]):
            learned[clip] = scored[clip]
        if not is_judged_W[first:end].all():
            last_start = windows.last_start(waveforms.num_samples(clip))
            places[clip] = _places(windows.start_W[first:end], is_judged_W[first:end], last_start)
    return dataclasses.replace(windows, seconds_W=seconds_W, scored=scored, learned=tuple(learned), places=places)


def _places(start_N: Numbers, is_judged_N: npt.NDArray[np.bool_], last_start: float) -> npt.NDArray[np.float64]:
    """Where a window may begin, (P, 2) in shares of the last start: nearer to one that has speech than to others."""
    edges = np.concatenate([[0.0], (start_N[1:] + start_N[:-1]) / 2, [np.inf]])
    edges = np.clip(edges / max(last_start, 1.0), 0.0, 1.0)
    return np.stack([edges[:-1], edges[1:]], axis=1)[is_judged_N]


def with_clips_of_speech(sets: ClipSets, windows: TrainingWindows) -> ClipSets:
    """The sets without clips in which nobody speaks, but for the test: there such a clip is a miss."""
    has_speech_G = np.array([len(window_N) > 0 for window_N in windows.scored])
    kept = {
        name: getattr(sets, name)[has_speech_G[getattr(sets, name)]]
        for name in ("training_N", "validation_N", "calibration_N")
    }
    return dataclasses.replace(sets, **kept)
