"""FFmpeg's frames: as arrays of samples, and what was lost between them, to damage or in holes.

Shape letters: T frames of a block, C channels.
"""

from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from ser_core.audio.ffmpeg.formats import DECODERS

_FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63}
#: Times are rounded.
_LEAST_GAP_SECONDS = 0.05
#: What lies between two packets is shorter, unless it is damaged.
_HOLE_BYTES = 100
#: Samples (of all channels) of a block.
_BLOCK_SAMPLES = 2**18


class Progress:
    """What has been read; `is_timed` and `has_all_streams` say by what a hole is known.

    Args:
        start: where the audio file begins in its file.
        is_timed: whether each packet has a time of its own, so that a step in it is a loss.
        has_all_streams: whether the packets of all streams are noted, so that bytes between them are a hole.
    """

    def __init__(self, start: int, *, is_timed: bool, has_all_streams: bool) -> None:
        self._start = start
        self._is_timed, self._has_all_streams = is_timed, has_all_streams
        #: Where the last packet of any stream ends, in time and in the file.
        self.end_seconds, self.end_position = 0.0, start
        self.num_failed = 0
        #: Of the packets that are heard.
        self.num_bytes = 0
        #: Lost before the last frame, and since.
        self._lost_seconds, self._pending_seconds = 0.0, 0.0
        #: Times in which there is no packet, and nothing is lost.
        self.pause_seconds = 0.0
        #: The time of the first frame.
        self.begin_seconds = 0.0
        self._frame_end_seconds: float | None = None
        self._has_hole = False

    @property
    def lost_seconds(self) -> float:
        """What could not be decoded, or was not found."""
        return max(0.0, self._lost_seconds) + self._pending_seconds

    def note_packet(self, packet: "av.Packet[Any]", *, is_heard: bool) -> None:
        """A packet was read, of the stream that is heard or of another."""
        if packet.pts is not None and packet.time_base is not None:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            self.end_seconds = max(self.end_seconds, end)
        if packet.pos is not None and packet.pos >= 0:
            position = self._start + packet.pos
            self._has_hole |= position - self.end_position > _HOLE_BYTES
            self.end_position = max(self.end_position, position + packet.size)
        self.num_bytes += packet.size if is_heard else 0

    def note_failure(self, packet: "av.Packet[Any]") -> None:
        """A packet could not be decoded."""
        self.num_failed += 1
        self._pending_seconds += float((packet.duration or 0) * (packet.time_base or 0))

    def note_frame(self, frame: AudioFrame) -> None:
        """A frame came; the time between it and the one before is lost where there is a hole."""
        gap_seconds = 0.0
        if frame.pts is not None and frame.time_base is not None:
            begin = float(frame.pts * frame.time_base)
            if self._frame_end_seconds is None:
                self.begin_seconds = self._frame_end_seconds = begin
            gap_seconds = begin - self._frame_end_seconds
            self._frame_end_seconds = begin + frame.samples / frame.sample_rate
        elif self._frame_end_seconds is not None:
            # FFmpeg gives no time to a frame of a FLAC that does not follow from the one before.
            self._frame_end_seconds += frame.samples / frame.sample_rate
        gap_seconds = gap_seconds if abs(gap_seconds) > _LEAST_GAP_SECONDS else 0.0
        lost_seconds = self._pending_seconds
        if self._is_timed:
            # A damaged time steps forth, and the next one back.
            lost_seconds = gap_seconds or lost_seconds
        elif self._has_all_streams and self._has_hole:
            lost_seconds = max(lost_seconds, gap_seconds)
        self._lost_seconds += lost_seconds
        self.pause_seconds += max(0.0, gap_seconds - lost_seconds)
        self._pending_seconds, self._has_hole = 0.0, False


def decoder_of(stream: AudioStream) -> AudioCodecContext:
    """The stream's own decoder, or the one that is used in its place."""
    context = stream.codec_context
    name = DECODERS.get(context.name, "")
    if name not in av.codecs_available:
        return context
    decoder = AudioCodecContext.create(name, "r")
    assert isinstance(decoder, AudioCodecContext)
    decoder.sample_rate, decoder.layout = context.sample_rate, context.layout
    return decoder


class Converter:
    """Frames as samples of one rate and one layout of channels, those of the first frame: joined files change them."""

    def __init__(self, first: AudioFrame) -> None:
        self._rate_hz, self._layout = first.sample_rate, first.layout
        self._resampler: av.AudioResampler | None = None
        #: What the resampler takes: it takes nothing else.
        self._resampled: tuple[int, str, str] | None = None

    def push(self, frame: AudioFrame) -> Iterator[NDArray[np.float32]]:
        """The samples (T, C) of a frame; in blocks, as some of them were held back."""
        kind = _kind_of(frame)
        num_channels = self._layout.nb_channels
        is_as_the_first = (frame.sample_rate, frame.layout.nb_channels) == (self._rate_hz, num_channels)
        is_as_the_first &= not _is_wide(frame)
        if is_as_the_first or kind != self._resampled:
            yield from self.finish()
        if is_as_the_first:
            yield samples_TC(frame)
            return
        if self._resampler is None:
            self._resampler, self._resampled = av.AudioResampler("flt", self._layout, self._rate_hz), kind
        yield from map(samples_TC, self._resampler.resample(frame))

    def finish(self) -> Iterator[NDArray[np.float32]]:
        """What is held back still."""
        resampler, self._resampler, self._resampled = self._resampler, None, None
        yield from map(samples_TC, resampler.resample(None) if resampler else [])


def joined(pieces: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Pieces (T, C) as fewer, larger ones; what came before an error comes before it here too.

    Raises:
        Exception: as `pieces` does.
    """
    held: list[NDArray[np.float32]] = []
    num_held = 0
    error: Exception | None = None
    try:
        for piece_TC in pieces:
            held.append(piece_TC)
            num_held += piece_TC.size
            if num_held >= _BLOCK_SAMPLES:
                yield np.concatenate(held)
                held, num_held = [], 0
    except Exception as caught:
        error = caught
    if held and not isinstance(error, MemoryError):
        yield np.concatenate(held)
    if error is not None:
        raise error


def _kind_of(frame: AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.layout.name, frame.format.name


def _is_wide(frame: AudioFrame) -> bool:
    """Whether PyAV 18 reads past the end of the frame's list of planes, which ends with a null up to 7 channels."""
    return frame.format.is_planar and frame.layout.nb_channels >= 8


def samples_TC(frame: AudioFrame) -> NDArray[np.float32]:
    """A frame's samples, (T, C) float32 at full scale 1.0."""
    name, num_channels = frame.format.name, frame.layout.nb_channels
    samples = frame.to_ndarray()
    values_TC = samples.T if frame.format.is_planar else samples.reshape(-1, num_channels)
    if (scale := _FULL_SCALE.get(name.removesuffix("p"))) is None:
        return values_TC.astype(np.float32)
    offset = scale if name.startswith("u8") else 0.0
    return ((values_TC - offset) / scale).astype(np.float32)
