"""Windows cut out of a stream of samples, handed on as segments.

Shape letters: N windows, S samples of a window, T samples of a stream.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ser_core.faults import Fault
from ser_core.vocabulary import MIXED_CHANNEL

MAX_SEGMENT_WINDOWS = 512
MAX_SEGMENT_SECONDS = 240.0
#: Most bytes of samples that wait for their segment to fill, over all channels of a file.
MAX_PENDING_BYTES = 64 * 2**20
#: Most windows of a file, over all its channels: their rows wait until the file is whole.
MAX_FILE_WINDOWS = 1_000_000
SILENCE_DBFS = -120.0
AUDIO_HASH_CHARACTERS = 8


@dataclass(frozen=True, kw_only=True)
class WindowSettings:
    """How a file is cut: window i of a channel starts at i x hop. Plain, as it travels to the decoding child."""

    sample_rate_hz: int = 16_000
    window_seconds: float = 3.0
    hop_seconds: float = 3.0
    #: A tail shorter than this is dropped unless it is the only window.
    min_tail_seconds: float = 0.5
    #: A file shorter than this is `too_short`.
    min_file_seconds: float = 0.1
    #: What comes after so much of a file is not read.
    max_file_seconds: float = math.inf
    #: Most windows of a file, over all its channels.
    max_file_windows: int = MAX_FILE_WINDOWS

    @property
    def window_samples(self) -> int:
        return round(self.window_seconds * self.sample_rate_hz)

    @property
    def hop_samples(self) -> int:
        return round(self.hop_seconds * self.sample_rate_hz)

    @property
    def least_samples(self) -> int:
        """Fewest samples of audio that make a window, but for the first one."""
        return min(self.window_samples, round(self.min_tail_seconds * self.sample_rate_hz))

    def lengths(self, segment: "Segment") -> NDArray[np.int64]:
        """Samples of audio in each window of a segment, without padding."""
        ends_N = np.rint(np.array(segment.end_seconds, np.float64) * self.sample_rate_hz).astype(np.int64)
        return ends_N - np.array(segment.window_index, np.int64) * self.hop_samples

    def limit(self, num_channels: int) -> tuple[float, str]:
        """Most seconds of a file with so many channels to be cut, and which bound that is."""
        of_windows = self.max_file_windows // num_channels * self.hop_seconds
        if of_windows < self.max_file_seconds:
            return of_windows, f"{self.max_file_windows:,} windows (--hop-seconds {self.hop_seconds:g})"
        return self.max_file_seconds, f"--max-file-hours {self.max_file_seconds / 3600:g}"


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Up to 512 consecutive windows of one channel, and what is known about the audio they cover.

    A file is whole when segments 0..n with `is_last` at n have come. A channel's segments add up: gaps are joined,
    `audio_seconds` summed, and the first `fault` that is not None is the channel's.
    """

    #: -1: the mix of all channels, or the file as a whole where it has no window at all.
    channel: int
    #: Counts over all channels of the file.
    segment_index: int
    is_last: bool
    #: float32 (num_windows, window_samples), zero padded; may be (0, S).
    pcm_NS: NDArray[np.float32]
    window_index: list[int]
    #: End of the audio in each window, without padding.
    end_seconds: list[float]
    #: RMS level of each window's own samples, before padding; at least -120.
    level_dbfs: list[float]
    #: Seconds of audio that this segment adds to its channel.
    audio_seconds: float
    #: (start, end) of what should have got a prediction and did not; where the end is not known, it equals the start.
    gaps: list[tuple[float, float]]
    #: Why audio is missing (`gaps`), or there is none; None where all is well.
    fault: Fault | None
    #: What else is to be said of the channel, in a channel's last segment.
    note: str | None = None
    #: Length of the file according to its header; None where the header does not say.
    promised_seconds: float | None = None
    #: Number of the file's channels that get segments.
    num_channels: int = 1
    #: AUDIO_HASH_CHARACTERS of a hash of the file's samples, in its last segment; None where it was not asked for.
    audio_hash: str | None = None


def closing_segment(
    fault: Fault | None,
    *,
    window_samples: int = 0,
    channel: int = MIXED_CHANNEL,
    segment_index: int = 0,
    is_last: bool = True,
    gap: tuple[float, float] | None = None,
) -> Segment:
    """A channel's last segment where decoding gave nothing more, or a file's only one: no window, and why."""
    return Segment(
        channel=channel,
        segment_index=segment_index,
        is_last=is_last,
        pcm_NS=np.zeros((0, window_samples), np.float32),
        window_index=[],
        end_seconds=[],
        level_dbfs=[],
        audio_seconds=0.0,
        gaps=[gap] if gap else [],
        fault=fault,
    )


def count_windows(num_samples: int, settings: WindowSettings) -> int:
    """Number of windows in so many samples: each is full, or holds `min_tail_seconds`, or is the first."""
    num_windows = -(-num_samples // settings.hop_samples)
    while num_windows > 1 and num_samples - (num_windows - 1) * settings.hop_samples < settings.least_samples:
        num_windows -= 1
    return num_windows


class Cutter:
    """Cuts the samples of one channel into windows: window i starts at i x hop.

    A window counts if it is full, or holds `min_tail_seconds`, or is the first. Memory: one segment. The segments are
    not numbered, and none has `is_last`: both are known only over all channels.
    """

    def __init__(self, settings: WindowSettings, *, channel: int, num_channels: int) -> None:
        self._settings = settings
        self._channel = channel
        self._windows_per_segment = _windows_per_segment(settings, num_channels)
        self._next_window = 0
        self._num_samples = 0
        self._num_accounted = 0
        self._pending: list[NDArray[np.float32]] = []
        self._num_pending = 0
        self._bad_samples = np.zeros(0, np.int64)

    def mark_not_finite(self, sample_index: NDArray[np.int64]) -> None:
        """Remember samples (ascending, counted from the start of the channel) whose windows cannot be scored."""
        self._bad_samples = np.concatenate([self._bad_samples, sample_index])

    def push(self, pcm_T: NDArray[np.float32]) -> Iterator[Segment]:
        """Take the next samples; yield the segments that they fill, never the channel's last."""
        num_skipped = max(0, self._next_window * self._settings.hop_samples - self._num_samples)
        self._num_samples += len(pcm_T)
        if num_skipped < len(pcm_T):
            self._pending.append(pcm_T[num_skipped:])
            self._num_pending += len(pcm_T) - num_skipped
        while self._num_pending > self._span(self._windows_per_segment):
            yield self._take(self._windows_per_segment, is_end=False)

    def finish(self) -> Iterator[Segment]:
        """Yield the segments that are left: at least one, perhaps without a window."""
        num_left = count_windows(self._num_samples, self._settings) - self._next_window
        while num_left > self._windows_per_segment:
            yield self._take(self._windows_per_segment, is_end=False)
            num_left -= self._windows_per_segment
        yield self._take(num_left, is_end=True)

    def _span(self, num_windows: int) -> int:
        return (num_windows - 1) * self._settings.hop_samples + self._settings.window_samples

    def _take(self, num_windows: int, *, is_end: bool) -> Segment:
        hop, window_samples = self._settings.hop_samples, self._settings.window_samples
        rate_hz = self._settings.sample_rate_hz
        pcm_NS = self._take_windows(num_windows)
        window_index = np.arange(self._next_window, self._next_window + num_windows)
        starts = window_index * hop
        ends = np.minimum(starts + window_samples, self._num_samples)
        is_bad = np.searchsorted(self._bad_samples, starts) < np.searchsorted(self._bad_samples, ends)
        fault = None
        if is_bad.any():
            first_bad = self._bad_samples[np.searchsorted(self._bad_samples, starts[is_bad][0])] / rate_hz
            fault = Fault("not_finite", f"samples are NaN, infinite or absurdly large, first at {first_bad:.3f} s")
        self._next_window += num_windows
        self._bad_samples = self._bad_samples[np.searchsorted(self._bad_samples, self._next_window * hop) :]
        accounted = self._num_samples if is_end else min(self._num_samples, self._next_window * hop)
        num_added, self._num_accounted = accounted - self._num_accounted, accounted
        return Segment(
            channel=self._channel,
            segment_index=0,
            is_last=False,
            pcm_NS=pcm_NS[~is_bad] if fault else pcm_NS,
            window_index=window_index[~is_bad].tolist(),
            end_seconds=(ends[~is_bad] / rate_hz).tolist(),
            level_dbfs=_levels_dbfs(pcm_NS, ends - starts)[~is_bad].tolist(),
            audio_seconds=num_added / rate_hz,
            gaps=_join(zip((starts[is_bad] / rate_hz).tolist(), (ends[is_bad] / rate_hz).tolist(), strict=True)),
            fault=fault,
        )

    def _take_windows(self, num_windows: int) -> NDArray[np.float32]:
        """Return the next windows, (N, S) and contiguous; what later windows need stays pending."""
        hop, window_samples = self._settings.hop_samples, self._settings.window_samples
        if num_windows == 0:
            return np.zeros((0, window_samples), np.float32)
        pcm_T = self._pending[0] if len(self._pending) == 1 else np.concatenate(self._pending)
        rest = pcm_T[num_windows * hop :].copy()
        self._pending, self._num_pending = [rest], len(rest)
        span = self._span(num_windows)
        if len(pcm_T) < span:
            pcm_T = np.concatenate([pcm_T, np.zeros(span - len(pcm_T), np.float32)])
        view_NS = np.lib.stride_tricks.sliding_window_view(pcm_T[:span], window_samples)[::hop]
        return np.ascontiguousarray(view_NS)


def _windows_per_segment(settings: WindowSettings, num_channels: int) -> int:
    by_seconds = int(MAX_SEGMENT_SECONDS / settings.hop_seconds)
    by_bytes = MAX_PENDING_BYTES // (num_channels * settings.window_samples * 4)
    return max(1, min(MAX_SEGMENT_WINDOWS, by_seconds, by_bytes))


def _levels_dbfs(pcm_NS: NDArray[np.float32], num_real: NDArray[np.int64]) -> NDArray[np.float64]:
    # The padding is zero and adds nothing to the sum.
    energies = np.square(pcm_NS).sum(axis=1, dtype=np.float64)
    levels: NDArray[np.float64] = 10 * np.log10(np.maximum(energies / num_real, 10 ** (SILENCE_DBFS / 10)))
    return levels


def _join(gaps: Iterator[tuple[float, float]]) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for start, end in gaps:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
