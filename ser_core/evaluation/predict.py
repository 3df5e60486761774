"""The clips of a manifest -> a model's predictions, by the code of scoring.

Shape letters: G clips, N windows, S samples of a window, C labels, R components.

Clips are fetched and decoded (in a child process, so that a clip may crash it) while the model works, and their windows
are batched over clips; memory does not grow with the audio.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ser_core.aggregation import aggregate, log_probability_sums
from ser_core.audio import CLIP_SOURCE, Decoder, WindowSettings, load_segments, look_at_clips
from ser_core.corpora import Manifest
from ser_core.errors import SourceError
from ser_core.evaluation.predictions import at_temperature
from ser_core.models import Predictor
from ser_core.speech import SpeechListener, SpeechSettings
from ser_core.storage import Location

if TYPE_CHECKING:
    from ser_core.audio import Segment

_DECODE_SECONDS = 300.0
#: Windows that are listened to together: the detector takes several times as long for one alone.
_HEARD_WINDOWS = 48
#: Is called with the number of clips that are done.
OnClip = Callable[[int], None]


@dataclass(frozen=True)
class ClipPredictions:
    """What a model says of clips."""

    #: With how long each is, and the hash of its samples.
    clips: Manifest
    #: At temperature 1, all channels mixed; NaN for a clip without speech.
    probabilities_GC: npt.NDArray[np.float64]


@dataclass(frozen=True)
class WindowStatistics:
    """What a model says of all windows that are judged, in the order of the clips; an adaptation is estimated of it."""

    #: Without temperature.
    logits_NC: npt.NDArray[np.float32]
    components_NR: npt.NDArray[np.float32]
    #: The clip of each window, as a row of the manifest.
    clip_N: npt.NDArray[np.int64]


def predict_manifest(
    predictor: Predictor,
    manifest: Manifest,
    windows: WindowSettings,
    speech: SpeechSettings,
    on_clip: OnClip | None = None,
) -> ClipPredictions:
    """Fetch, decode and predict clips.

    Args:
        predictor: one with features on its device.
        manifest: the clips.
        windows: how clips are cut, as for scoring.
        speech: which of their windows are judged.
        on_clip: called after each clip.

    Raises:
        SourceError: a clip is missing or cannot be decoded to its end; it is named.
        ServiceError: the bucket failed as a whole, or no decoding process can be started.
        ArtifactError: the model gave something that is no number.
    """
    sums = _Sums(predictor, lambda pcm_NS: predictor.predict(pcm_NS).probabilities_NC, windows, speech, len(manifest))
    clips = _add_clips(sums, manifest, windows, on_clip)
    return ClipPredictions(clips, sums.predictions())


def predict_with_statistics(
    predictor: Predictor,
    manifest: Manifest,
    windows: WindowSettings,
    speech: SpeechSettings,
    on_clip: OnClip | None = None,
) -> tuple[ClipPredictions, WindowStatistics]:
    """What `predict_manifest` gives, and the statistics of the windows, by the same passes through the network.

    Args: as for `predict_manifest`, but the predictor gives components, too.

    Raises:
        SourceError, ServiceError: as `predict_manifest`.
    """
    artifact = predictor.artifact
    num_components = artifact.require_adaptable().components_PR.shape[1]
    logits = [np.zeros((0, len(artifact.config.labels)), np.float32)]
    components = [np.zeros((0, num_components), np.float32)]

    def predict(pcm_NS: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        output = predictor.predict(pcm_NS)
        assert output.components_NR is not None
        logits.append(output.logits_NC)
        components.append(output.components_NR)
        return output.probabilities_NC

    sums = _Sums(predictor, predict, windows, speech, len(manifest))
    predictions = ClipPredictions(_add_clips(sums, manifest, windows, on_clip), sums.predictions())
    return predictions, WindowStatistics(np.concatenate(logits), np.concatenate(components), sums.window_clips())


def _add_clips(sums: "_Sums", manifest: Manifest, windows: WindowSettings, on_clip: OnClip | None) -> Manifest:
    """Decode all clips; returns them with how long each is, and the hash of its samples."""
    seconds_G, hashes = np.zeros(len(manifest)), [""] * len(manifest)
    with (
        Decoder(channels="mix", windows=windows, timeout_seconds=_DECODE_SECONDS, hashes_audio=True) as decoder,
        closing(load_segments(decoder, CLIP_SOURCE, look_at_clips(manifest.paths))) as segments,
    ):
        for clip, segment in segments:
            if segment.fault is not None:
                where = Location(manifest.paths[clip])
                raise SourceError(f"{where}: {segment.fault}; repair it or take it out of the manifest")
            sums.add(clip, segment)
            seconds_G[clip] = max([seconds_G[clip], *segment.end_seconds])
            if segment.is_last:
                hashes[clip] = segment.audio_hash or ""
                if on_clip is not None:
                    on_clip(clip + 1)
    return manifest.decoded(seconds_G, hashes)


class _Sums:
    """What the clips' windows add up to; windows wait until enough are there to listen to, and then to fill a batch."""

    def __init__(
        self,
        predictor: Predictor,
        predict: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]],
        windows: WindowSettings,
        speech: SpeechSettings,
        num_clips: int,
    ) -> None:
        """
        Args:
            predictor: whose predictions they are.
            predict: samples (N, S) of some windows -> its probabilities (N, C).
            windows: how clips are cut.
            speech: which windows are judged.
            num_clips: number of clips.
        """
        self._config, self._batch_size, self._predictions = predictor.artifact.config, predictor.batch_size, predict
        self._windows, self._listener = windows, SpeechListener(speech, windows.sample_rate_hz)
        self._sums_GX = np.zeros((num_clips, len(self._config.labels) + 1))
        self._done: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
        self._unheard: list[tuple[int, Segment]] = []
        self._num_unheard = 0
        self._pcm_NS = np.zeros((0, windows.window_samples), np.float32)
        self._seconds_N = np.zeros(0)
        self._clip_N = np.zeros(0, np.int64)

    def add(self, clip: int, segment: "Segment") -> None:
        """Take a clip's next windows."""
        if not segment.window_index:
            return
        self._unheard.append((clip, segment))
        self._num_unheard += len(segment.window_index)
        if self._num_unheard >= _HEARD_WINDOWS:
            self._hear()
            # Whole batches: what is left over would be padded.
            self._predict(len(self._clip_N) - len(self._clip_N) % self._batch_size)

    def predictions(self) -> npt.NDArray[np.float64]:
        """(G, C) at temperature 1, when all windows are in."""
        self._hear()
        self._predict(len(self._clip_N))
        predictions_GC = aggregate(self._sums_GX)
        predictions_GC[self._sums_GX[:, -1] == 0] = np.nan
        return at_temperature(predictions_GC, 1 / self._config.temperature)

    def window_clips(self) -> npt.NDArray[np.int64]:
        """(N,) The clip of each window that was predicted, in their order."""
        return np.concatenate(self._done)

    def _hear(self) -> None:
        """Let the windows that are judged wait for their batch."""
        if not self._unheard:
            return
        pcm_NS = np.concatenate([segment.pcm_NS for _, segment in self._unheard])
        length_N = np.concatenate([self._windows.lengths(segment) for _, segment in self._unheard])
        clip_N = np.repeat([clip for clip, _ in self._unheard], [len(one.window_index) for _, one in self._unheard])
        heard = self._listener.listen(pcm_NS, length_N)
        judged_N = heard.is_judged_N
        self._pcm_NS = np.concatenate([self._pcm_NS, pcm_NS[judged_N]])
        self._seconds_N = np.concatenate([self._seconds_N, heard.seconds_N[judged_N]])
        self._clip_N = np.concatenate([self._clip_N, clip_N[judged_N]])
        self._unheard, self._num_unheard = [], 0

    def _predict(self, num_windows: int) -> None:
        if not num_windows:
            return
        probabilities_NC = self._predictions(self._pcm_NS[:num_windows])
        self._done.append(self._clip_N[:num_windows])
        # Clips come in their order.
        first, end = self._clip_N[0], self._clip_N[num_windows - 1] + 1
        self._sums_GX[first:end] += log_probability_sums(
            probabilities_NC, self._seconds_N[:num_windows], self._clip_N[:num_windows] - first, end - first
        )
        self._pcm_NS = self._pcm_NS[num_windows:].copy()
        self._seconds_N, self._clip_N = self._seconds_N[num_windows:], self._clip_N[num_windows:]
