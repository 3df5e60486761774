"""The clips of a manifest -> a model's predictions, by the code of scoring; their temperature; the table of them.

Shape letters: G clips, N windows that wait, S samples of a window, C labels.

Clips are fetched and decoded (in a child process, so that a clip may crash it) while the model works, and their windows
are batched over clips; memory does not grow with the audio.

A clip's prediction is the softmax of the weighted mean of its windows' log-probabilities, and these are logits
but for a constant: so a temperature that divides a prediction's logarithms divides every window's logits. A probability
of 0 (a label that the clip's corpus lacks) stays 0. Of a clip without speech there is no prediction: its probabilities
are NaN, in tables null.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from ser_core.aggregation import aggregate, log_probability_sums
from ser_core.audio import CLIP_SOURCE, Decoder, WindowSettings, load_segments, look_at_clips
from ser_core.corpora import Manifest
from ser_core.errors import SourceError
from ser_core.models import Predictor
from ser_core.speech import SpeechListener, SpeechSettings
from ser_core.storage import Location
from ser_core.vocabulary import NO_SPEECH

if TYPE_CHECKING:
    from ser_core.audio import Segment

_DECODE_SECONDS = 300.0
#: Windows that are listened to together: the detector takes several times as long for one alone.
_HEARD_WINDOWS = 48
_MIN_TEMPERATURE, _MAX_TEMPERATURE = 0.1, 10.0


def predict_manifest(
    predictor: Predictor,
    manifest: Manifest,
    windows: WindowSettings,
    speech: SpeechSettings,
    on_clip: Callable[[int], None] | None = None,
) -> npt.NDArray[np.float64]:
    """The prediction (G, C) for each clip at temperature 1, all channels mixed; NaN for one without speech.

    Args:
        predictor: one with features on its device.
        manifest: the clips.
        windows: how clips are cut, as for scoring.
        speech: which of their windows are judged.
        on_clip: called with the number of clips that are done.

    Raises:
        SourceError: a clip is missing or cannot be decoded to its end; it is named.
        ServiceError: the bucket failed as a whole, or no decoding process can be started.
        ArtifactError: the model gave something that is no number.
    """
    sums = _Sums(predictor, windows, SpeechListener(speech, windows.sample_rate_hz), len(manifest))
    with (
        Decoder(channels="mix", windows=windows, timeout_seconds=_DECODE_SECONDS) as decoder,
        closing(load_segments(decoder, CLIP_SOURCE, look_at_clips(manifest.paths))) as segments,
    ):
        for clip, segment in segments:
            if segment.fault is not None:
                where = Location(manifest.paths[clip])
                raise SourceError(f"{where}: {segment.fault}; repair it or take it out of the manifest")
            sums.add(clip, segment)
            if segment.is_last and on_clip is not None:
                on_clip(clip + 1)
    return at_temperature(sums.predictions(), 1 / predictor.artifact.config.temperature)


def predictions_table(
    manifest: Manifest, probabilities_GC: npt.NDArray[np.float64], labels: Sequence[str], temperature: float
) -> pa.Table:
    """A row per clip: the columns of the manifest, then

    - `temperature`: what the model divides its logits by, so that confidences mean what they say;
    - `prediction`, `confidence`: the most likely label, and its probability at that temperature, as scoring has them:
      without speech `no_speech` and null;
    - `p_<label>`: the probabilities at temperature 1, over all labels of the model whatever labels a corpus has.

    Args:
        manifest: the clips.
        probabilities_GC: the predictions at temperature 1.
        labels: those of the columns.
        temperature: the model's.
    """
    calibrated_GC = at_temperature(probabilities_GC, temperature)
    predicted_G = np.array(labels, dtype=object)[calibrated_GC.argmax(axis=1)]
    columns = {
        "temperature": np.full(len(manifest), temperature),
        "prediction": np.where(is_silent(probabilities_GC), NO_SPEECH, predicted_G),
        "confidence": calibrated_GC.max(axis=1),
        **{f"p_{label}": probabilities_GC[:, index] for index, label in enumerate(labels)},
    }
    table = manifest.table
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values, from_pandas=True))
    return table


def probabilities_in(table: pa.Table, labels: Sequence[str]) -> npt.NDArray[np.float64]:
    """The predictions (G, C) at temperature 1 of what `predictions_table` made."""
    return np.stack([table[f"p_{label}"].to_numpy() for label in labels], axis=1)


def is_silent(probabilities_GC: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which clips have no prediction, as there is no speech in them."""
    return np.asarray(np.isnan(probabilities_GC).any(axis=1))


def fit_temperature(
    probabilities_GC: npt.NDArray[np.float64], label_G: npt.NDArray[np.int64], group_G: npt.NDArray[Any] | None = None
) -> float:
    """The divisor of the logits, 0.1 to 10, that makes the labels most likely (Guo et al. 2017, arXiv 1706.04599).

    Args:
        probabilities_GC: the clips' predictions at temperature 1; one clip at least has speech, and those alone count.
        label_G: the right labels, none of which has probability 0.
        group_G: the group of each clip, such as its corpus; every group counts the same. None: every clip does.
    """
    has_speech_G = ~is_silent(probabilities_GC)
    log_GC, label_G = _log(probabilities_GC[has_speech_G]), label_G[has_speech_G]
    weight_G = np.ones(len(label_G))
    if group_G is not None:
        _, index_G, count = np.unique(group_G[has_speech_G], return_inverse=True, return_counts=True)
        weight_G = 1.0 / count[index_G]

    def loss(log_temperature: float) -> float:
        scores_GC = log_softmax(log_GC / np.exp(log_temperature), axis=1)
        return -float(np.average(scores_GC[np.arange(len(label_G)), label_G], weights=weight_G))

    bounds = (np.log(_MIN_TEMPERATURE), np.log(_MAX_TEMPERATURE))
    found = minimize_scalar(loss, bounds=bounds, method="bounded")
    return float(np.exp(found.x))


def at_temperature(
    probabilities_GC: npt.NDArray[np.float64], temperature: float | npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Predictions with their logits divided by a temperature: one for all, or (G,) each clip's.

    Predictions that were calibrated with temperature T become uncalibrated ones again at 1 / T.
    """
    divisor = np.asarray(temperature, np.float64).reshape(-1, 1)
    calibrated_GC: npt.NDArray[np.float64] = softmax(_log(probabilities_GC) / divisor, axis=1)
    return calibrated_GC


def _log(probabilities_GC: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        return np.log(probabilities_GC)


class _Sums:
    """What the clips' windows add up to; windows wait until enough are there to listen to, and then to fill a batch."""

    def __init__(self, predictor: Predictor, windows: WindowSettings, listener: SpeechListener, num_clips: int) -> None:
        self._predictor, self._windows, self._listener = predictor, windows, listener
        self._sums_GX = np.zeros((num_clips, len(predictor.artifact.config.labels) + 1))
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
            self._predict(len(self._clip_N) - len(self._clip_N) % self._predictor.batch_size)

    def predictions(self) -> npt.NDArray[np.float64]:
        """(G, C), when all windows are in."""
        self._hear()
        self._predict(len(self._clip_N))
        predictions_GC = aggregate(self._sums_GX)
        predictions_GC[self._sums_GX[:, -1] == 0] = np.nan
        return predictions_GC

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
        probabilities_NC = self._predictor.predict(self._pcm_NS[:num_windows])
        # Clips come in their order.
        first, end = self._clip_N[0], self._clip_N[num_windows - 1] + 1
        self._sums_GX[first:end] += log_probability_sums(
            probabilities_NC, self._seconds_N[:num_windows], self._clip_N[:num_windows] - first, end - first
        )
        self._pcm_NS = self._pcm_NS[num_windows:].copy()
        self._seconds_N, self._clip_N = self._seconds_N[num_windows:], self._clip_N[num_windows:]
