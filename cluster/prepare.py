"""What the loader does between decoding and the model: it listens, and makes log-mels of windows that have speech.

Shape letters: N windows of a segment, J of them that are judged, S samples, F mel bands, T frames.
"""

from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ser_core.audio import Segment, WindowSettings
from ser_core.errors import SerError
from ser_core.records import record
from ser_core.speech import Heard, SpeechListener, SpeechSettings

if TYPE_CHECKING:
    from ser_core.audio import LogMel

#: Audio whose log-mel is computed at a time: half a MB a second, while it is computed. Of a minute it took a quarter
#: longer, in memory that the system gave anew each time.
_MEL_SECONDS = 20.0
#: Windows, of several files where they are short, and seconds of audio that are worked on together: for a window alone
#: the detector takes several times as long, and a log-mel twice.
_TOGETHER_WINDOWS = 48
_TOGETHER_SECONDS = 240.0


class Preparer:
    """Segments -> records with what the model is given."""

    def __init__(self, windows: WindowSettings, speech: SpeechSettings, log_mel: "LogMel | None") -> None:
        """
        Args:
            windows: how files are cut.
            speech: which windows are judged.
            log_mel: the model's; None: it is given samples.
        """
        self._windows, self._log_mel = windows, log_mel
        self._listener = SpeechListener(speech, windows.sample_rate_hz)

    def records(self, rows: list[dict[str, Any]], segments: Iterable[tuple[int, Segment]]) -> Iterator[dict[str, Any]]:
        """A record of LOADED_SCHEMA for each segment, in order.

        Args:
            rows: the files, of PENDING_SCHEMA.
            segments: each with its file's index.
        """
        import torch

        # Here, not in __init__: the setting belongs to the calling thread.
        torch.set_num_threads(1)
        for gathered in self._gathered(segments):
            heard = list(self._heard([segment for _, segment in gathered]))
            judged = [
                [segment.pcm_NS[window] for window in part.is_judged_N.nonzero()[0]]
                for (_, segment), part in zip(gathered, heard, strict=True)
            ]
            for (index, segment), part, payload in zip(gathered, heard, self._payloads(judged), strict=True):
                yield self._record(rows[index], segment, part, payload)

    def _gathered(self, segments: Iterable[tuple[int, Segment]]) -> Iterator[list[tuple[int, Segment]]]:
        """Segments in groups that are worked on together; each by itself where nothing is done to them here."""
        most_windows = _TOGETHER_WINDOWS if self._listener.is_on or self._log_mel is not None else 0
        most_windows = min(most_windows, int(_TOGETHER_SECONDS / self._windows.window_seconds))
        held: list[tuple[int, Segment]] = []
        num_windows = 0
        fault: SerError | None = None
        try:
            for numbered in segments:
                held.append(numbered)
                num_windows += len(numbered[1].window_index)
                if num_windows >= most_windows:
                    yield held
                    held, num_windows = [], 0
        except SerError as error:
            fault = error
        if held:
            yield held
        if fault is not None:
            raise fault

    def _heard(self, segments: list[Segment]) -> Iterator[Heard]:
        """What there is in the windows of each segment."""
        counts = [len(segment.window_index) for segment in segments]
        parts = [segment.pcm_NS for segment in segments if segment.window_index] or [np.zeros((0, 1), np.float32)]
        # Nobody looks at the samples where nobody listens.
        pcm_NS = np.concatenate(parts) if len(parts) > 1 and self._listener.is_on else parts[0]
        length_N = np.concatenate([self._windows.lengths(segment) for segment in segments])
        heard = self._listener.listen(pcm_NS, length_N)
        for first, end in pairwise(np.cumsum([0, *counts]).tolist()):
            yield heard.part(slice(first, end))

    def _record(self, row: dict[str, Any], segment: Segment, heard: Heard, payload: bytes) -> dict[str, Any]:
        windows, is_on = self._windows, self._listener.is_on
        # Of windows that overlap each counts up to where the next begins.
        length_N = np.minimum(windows.lengths(segment), windows.hop_samples) / windows.sample_rate_hz
        return record(
            row,
            segment,
            speech_share=heard.share_N.tolist() if is_on else [None] * len(heard.share_N),
            is_judged=heard.is_judged_N.tolist(),
            speech_seconds=float(heard.share_N @ length_N) if is_on else None,
            payload=payload,
        )

    def _payloads(self, pcm: list[list[NDArray[np.float32]]]) -> Iterator[bytes]:
        """What the model is given of each segment, of whose windows that are judged these are the samples, (S,) each.

        Log-mels are made of several segments' windows at a time: of one window alone they take longer.
        """
        made = self._log_mels([window_S for windows in pcm for window_S in windows])
        return (b"".join(part.tobytes() for part in islice(made, len(windows))) for windows in pcm)

    def _log_mels(self, windows: list[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """The log-mel (F, T) of each window (S,); the window itself where the model is given samples."""
        if self._log_mel is None:
            yield from windows
            return
        import torch

        step = max(1, int(_MEL_SECONDS / self._windows.window_seconds))
        for first in range(0, len(windows), step):
            with torch.inference_mode():
                mel_BFT = self._log_mel(torch.from_numpy(np.stack(windows[first : first + step])))
            yield from mel_BFT.numpy()
