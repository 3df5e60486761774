"""The clips of a manifest -> a model's predictions, by the code of scoring; and the table in which they are written.

Shape letters: G clips, N windows that wait, S samples of a window, C labels.

Clips are fetched and decoded (in a child process, so that a clip may crash it) while the model works, and their windows
are batched over clips; memory does not grow with the audio.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ser_core.aggregation import aggregate, log_probability_sums
from ser_core.audio import CLIP_SOURCE, Decoder, WindowSettings, load_segments, look_at_clips
from ser_core.corpora import Manifest
from ser_core.errors import SourceError
from ser_core.evaluation.calibration import at_temperature
from ser_core.models import Predictor
from ser_core.storage import Location

if TYPE_CHECKING:
    from ser_core.audio import Segment

_DECODE_SECONDS = 300.0


def predict_manifest(
    predictor: Predictor,
    manifest: Manifest,
    windows: WindowSettings,
    on_clip: Callable[[int], None] | None = None,
) -> npt.NDArray[np.float64]:
    """The prediction (G, C) for each clip at temperature 1, all channels mixed.

    Args:
        predictor: one with features on its device.
        manifest: the clips.
        windows: how clips are cut, as for scoring.
        on_clip: called with the number of clips that are done.

    Raises:
        SourceError: a clip is missing or cannot be decoded to its end; it is named.
        ServiceError: the bucket failed as a whole, or no decoding process can be started.
        ArtifactError: the model gave something that is no number.
    """
    sums = _Sums(predictor, windows, len(manifest))
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
    - `prediction`, `confidence`: the most likely label, and its probability at that temperature, as scoring has them;
    - `p_<label>`: the probabilities at temperature 1, over all labels of the model whatever labels a corpus has.

    Args:
        manifest: the clips.
        probabilities_GC: the predictions at temperature 1.
        labels: those of the columns.
        temperature: the model's.
    """
    calibrated_GC = at_temperature(probabilities_GC, temperature)
    columns = {
        "temperature": np.full(len(manifest), temperature),
        "prediction": np.array(labels, dtype=object)[calibrated_GC.argmax(axis=1)],
        "confidence": calibrated_GC.max(axis=1),
        **{f"p_{label}": probabilities_GC[:, index] for index, label in enumerate(labels)},
    }
    table = manifest.table
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return table


def probabilities_in(table: pa.Table, labels: Sequence[str]) -> npt.NDArray[np.float64]:
    """The predictions (G, C) at temperature 1 of what `predictions_table` made."""
    return np.stack([table[f"p_{label}"].to_numpy() for label in labels], axis=1)


class _Sums:
    """What the clips' windows add up to; windows wait until a batch is full, of whatever clips."""

    def __init__(self, predictor: Predictor, windows: WindowSettings, num_clips: int) -> None:
        self._predictor = predictor
        self._hop_seconds = windows.hop_seconds
        self._sums_GX = np.zeros((num_clips, len(predictor.artifact.config.labels) + 1))
        self._pcm: list[npt.NDArray[np.float32]] = []
        self._seconds: list[npt.NDArray[np.float64]] = []
        self._clips: list[npt.NDArray[np.int64]] = []
        self._num_waiting = 0

    def add(self, clip: int, segment: "Segment") -> None:
        """Take a clip's next windows."""
        self._pcm.append(segment.pcm_NS)
        self._seconds.append(np.array(segment.end_seconds) - np.array(segment.window_index) * self._hop_seconds)
        self._clips.append(np.full(len(segment.pcm_NS), clip))
        self._num_waiting += len(segment.pcm_NS)
        if self._num_waiting >= self._predictor.batch_size:
            # Whole batches: what is left over would be padded.
            self._predict(self._num_waiting - self._num_waiting % self._predictor.batch_size)

    def predictions(self) -> npt.NDArray[np.float64]:
        """(G, C), when all windows are in."""
        self._predict(self._num_waiting)
        return aggregate(self._sums_GX)

    def _predict(self, num_windows: int) -> None:
        if not num_windows:
            return
        pcm_NS, seconds_N = np.concatenate(self._pcm), np.concatenate(self._seconds)
        clip_N = np.concatenate(self._clips)
        probabilities_NC = self._predictor.predict(pcm_NS[:num_windows])
        # Clips come in their order.
        first, end = clip_N[0], clip_N[num_windows - 1] + 1
        self._sums_GX[first:end] += log_probability_sums(
            probabilities_NC, seconds_N[:num_windows], clip_N[:num_windows] - first, end - first
        )
        self._pcm, self._seconds = [pcm_NS[num_windows:].copy()], [seconds_N[num_windows:]]
        self._clips, self._num_waiting = [clip_N[num_windows:]], len(pcm_NS) - num_windows
