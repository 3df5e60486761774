"""An audio file -> segments of windows at one sample rate: decode, channels, resample, windows.

Shape letters: T samples, C channels.
"""

import base64
import contextlib
import hashlib
import io
import itertools
import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from os import PathLike
from typing import BinaryIO, NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

from ser_core.audio.mixing import Mixer
from ser_core.audio.recording import Recording, open_recording
from ser_core.audio.segments import Cutter, Segment, WindowSettings, closing_segment
from ser_core.errors import SerError
from ser_core.faults import Fault, open_file
from ser_core.vocabulary import MIXED_CHANNEL, Channels

#: A float sample beyond this (full scale is 1, or 2^31 in files that scale like integers) is no sound, and its
#: power would overflow in float32.
_MAX_SAMPLE = 1e12
#: Of ten thousand clips beside a million others one is taken for another once in 28,000 times.
_HASH_BYTES = 6


#: A file: its contents, its path (as `os.fsdecode` gives it), or a call that opens it.
Source = bytes | str | PathLike[str] | Callable[[], BinaryIO]


class Named(NamedTuple):
    """A file and its name's suffix, which alone tells the format of audio without a header."""

    source: Source
    suffix: str


def iter_segments(
    source: Source | BinaryIO,
    *,
    channels: Channels,
    windows: WindowSettings,
    audio_stream: int = 0,
    suffix: str = "",
    hashes_audio: bool = False,
) -> Iterator[Segment]:
    """Decode a file and cut it into segments, in memory that does not grow with its length.

    A file without a window gives one segment of channel -1 that says why.

    Args:
        source: the file; a seekable one that is open already is left open.
        channels: `mix` for the mean of all channels, `each` for one set of windows per channel.
        windows: how to cut, and the sample rate.
        audio_stream: which audio stream to read of a file that has several.
        suffix: of the file's name, which alone tells the format of audio without a header.
        hashes_audio: whether the last segment says the hash of the file's samples.

    Raises:
        MemoryError: there is not enough memory to decode it.
        SerError: as `source` itself raises it (storage failed as a whole).
    """
    try:
        with _opened(source) as reader, open_recording(reader, audio_stream=audio_stream, suffix=suffix) as recording:
            hashing = _Hash(recording) if hashes_audio else None
            yield from _Cut(recording, channels, windows, hashing).segments()
    except (SerError, MemoryError):
        raise
    except Exception as error:
        yield closing_segment(Fault.of(error), window_samples=windows.window_samples)


def _opened(source: Source | BinaryIO) -> contextlib.AbstractContextManager[BinaryIO]:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if isinstance(source, str | PathLike):
        return open_file(source)
    return source() if callable(source) else contextlib.nullcontext(source)


class _Cut:
    """Cuts one recording, in one pass."""

    def __init__(
        self, recording: Recording, channels: Channels, windows: WindowSettings, hashing: "_Hash | None"
    ) -> None:
        self._recording = recording
        self._windows = windows
        self._hash = hashing
        rate_hz, num_channels = recording.sample_rate_hz, recording.num_channels
        self._mixer = Mixer(rate_hz, num_channels) if channels == "mix" else None
        numbers = [MIXED_CHANNEL] if self._mixer else range(num_channels)
        self._lanes = [_Lane(rate_hz, windows, number, len(numbers)) for number in numbers]
        self._indices = itertools.count()
        self._num_frames = 0
        max_seconds, self._bound = windows.limit(len(numbers))
        self._max_frames = max_seconds * rate_hz
        self._fault: Fault | None = None

    def segments(self) -> Iterator[Segment]:
        """All segments of all channels.

        Raises:
            Fault: before the first segment, when there is nothing to score.
        """
        for segment in self._full_segments():
            yield self._numbered(segment)
        if self._mixer:
            for segment in self._lanes[0].push(self._mixer.finish()):
                yield self._numbered(segment)
        self._judge_end()
        for lane in self._lanes:
            *segments, last = lane.finish()
            for segment in segments:
                yield self._numbered(segment)
            yield self._closed(self._numbered(last), is_last=lane is self._lanes[-1])

    def _full_segments(self) -> Iterator[Segment]:
        try:
            for whole_TC in self._recording.blocks():
                block_TC = whole_TC[: math.ceil(max(0.0, min(self._max_frames - self._num_frames, len(whole_TC))))]
                self._num_frames += len(block_TC)
                if self._hash is not None:
                    self._hash.add(block_TC)
                pcm_CT = [self._mixer.push(block_TC)] if self._mixer else np.ascontiguousarray(block_TC.T)
                for lane, pcm_T in zip(self._lanes, pcm_CT, strict=True):
                    yield from lane.push(pcm_T)
                if len(block_TC) < len(whole_TC):
                    self._fault = Fault("too_long", f"what follows is beyond {self._bound}")
                    return
        except (SerError, MemoryError):
            raise
        except Exception as error:
            self._fault = Fault.of(error)

    @property
    def _seconds(self) -> float:
        return self._num_frames / self._recording.sample_rate_hz

    def _judge_end(self) -> None:
        """Decide what is wrong with the end of the file, if anything."""
        promised = self._recording.promised_seconds
        is_short = promised is not None and promised - self._seconds > self._recording.length_tolerance_seconds
        fault = self._fault or self._recording.fault
        if promised is not None and is_short and (fault is None or fault.reason == "truncated"):
            digits = 1 if round(promised, 1) > round(self._seconds, 1) else 4
            detail = f"the header promises {promised:.{digits}f} s but the audio ends at {self._seconds:.{digits}f} s"
            fault = Fault("truncated", detail)
        elif fault is not None:
            fault = Fault(fault.reason, f"{fault.detail}, at {self._seconds:.1f} s")
        self._fault = fault
        if self._seconds < self._windows.min_file_seconds and (fault is None or fault.reason == "truncated"):
            self._raise_too_little(f"; {fault.detail}" if fault else "")
        if self._num_frames == 0 and fault is not None:
            raise fault

    def _raise_too_little(self, why: str) -> None:
        if self._num_frames == 0:
            raise Fault("empty", "the file holds no audio" + why)
        least = self._windows.min_file_seconds
        held = f"the file holds {self._num_frames} frames of audio, {1000 * self._seconds:.1f} ms"
        raise Fault("too_short", f"{held}; the least is {1000 * least:g} ms{why}")

    def _numbered(self, segment: Segment) -> Segment:
        return replace(
            segment,
            segment_index=next(self._indices),
            promised_seconds=self._recording.promised_seconds,
            num_channels=len(self._lanes),
        )

    def _closed(self, segment: Segment, *, is_last: bool) -> Segment:
        notes = [self._recording.note, self._mixer.note if self._mixer else None]
        audio_hash = self._hash.text() if self._hash is not None and is_last else None
        segment = replace(segment, note="; ".join(filter(None, notes)) or None, audio_hash=audio_hash)
        if self._fault is None:
            return replace(segment, is_last=is_last)
        gap = (self._seconds, max(self._seconds, self._recording.promised_seconds or 0.0))
        return replace(
            segment,
            is_last=is_last,
            gaps=[*segment.gaps, gap],
            fault=segment.fault or self._fault,
        )


class _Hash:
    """The hash of a recording's samples as they are in the file: of another container it is the same."""

    def __init__(self, recording: Recording) -> None:
        self._digest = hashlib.blake2b(digest_size=_HASH_BYTES)
        self._digest.update(struct.pack("<II", recording.sample_rate_hz, recording.num_channels))

    def add(self, block_TC: NDArray[np.float32]) -> None:
        self._digest.update(np.ascontiguousarray(block_TC).data)

    def text(self) -> str:
        return base64.urlsafe_b64encode(self._digest.digest()).decode()


class _Lane:
    """Resamples and cuts one channel."""

    def __init__(self, rate_hz: int, windows: WindowSettings, channel: int, num_channels: int) -> None:
        self._cutter = Cutter(windows, channel=channel, num_channels=num_channels)
        self._ratio = windows.sample_rate_hz / rate_hz
        self._num_read = 0
        self._resampler = None
        if rate_hz != windows.sample_rate_hz:
            self._resampler = soxr.ResampleStream(rate_hz, windows.sample_rate_hz, 1, dtype="float32", quality="HQ")

    def push(self, pcm_T: NDArray[np.float32]) -> Iterator[Segment]:
        """Take samples at the file's rate; yield full segments."""
        # One product shows for nearly every block that all is well.
        with np.errstate(over="ignore", invalid="ignore"):
            is_sound = float(pcm_T @ pcm_T) < _MAX_SAMPLE**2
        if not is_sound:
            pcm_T = self._silence_not_finite(pcm_T)
        self._num_read += len(pcm_T)
        return self._cutter.push(self._resampler.resample_chunk(pcm_T) if self._resampler else pcm_T)

    def finish(self) -> Iterator[Segment]:
        """Yield the segments that are left."""
        if self._resampler:
            yield from self._cutter.push(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        yield from self._cutter.finish()

    def _silence_not_finite(self, pcm_T: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mark samples that are no sound, and put zeros in their place: they would stay in the resampler for ever."""
        is_sound = np.abs(pcm_T) <= _MAX_SAMPLE
        index = self._num_read + np.flatnonzero(~is_sound)
        first = np.floor(index * self._ratio).astype(np.int64)
        last = np.ceil((index + 1) * self._ratio).astype(np.int64) - 1
        self._cutter.mark_not_finite(np.unique(np.concatenate([first, last])))
        return np.where(is_sound, pcm_T, np.float32(0))
