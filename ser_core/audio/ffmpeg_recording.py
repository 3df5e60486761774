"""An audio file as a stream of float32 blocks through FFmpeg: compressed audio, and the sound of video files.

FFmpeg takes out what an encoder put before and behind the audio (LAME tags, edit lists, Opus pre-skip, end trimming).
Shape letters: T frames of a block, C channels.
"""

from collections.abc import Iterator
from types import TracebackType
from typing import Any, BinaryIO, Self

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.stream import Discard
from numpy.typing import NDArray

from ser_core.audio import containers
from ser_core.audio.byte_view import ByteView
from ser_core.faults import Fault

#: Formats without a length (an MP3 may have a tag that tells it), whose frames are found by their sync words: what
#: cannot be decoded between or behind them is no audio.
_UNFRAMED = (
    "mp3",
    "aac",
    "loas",
    "ac3",
    "eac3",
    "dts",
    "amr",
    "amrnb",
    "amrwb",
    "mpeg",
    "mpegts",
    "g722",
    "gsm",
    "sbc",
)
#: Formats that say how long all streams are together, and not each.
_JOINT_LENGTH = frozenset({"matroska,webm", "flv"})
#: FFmpeg may open these alone: others (HLS, concat and their like) open further files and addresses, or take any text.
_FORMATS = (
    *_UNFRAMED, "aiff", "ape", "asf", "au", "avi", "avr", "caf", "dsf", "dss", "flac", "flv", "iff", "ircam",
    "matroska", "webm", "mov", "mp4", "mpc", "mpc8", "mxf", "nistsphere", "nut", "ogg", "paf", "pvf", "qcp", "rm",
    "shn", "sox", "tak", "truehd", "tta", "voc", "w64", "wav", "wsd", "wtv", "wv", "xwma",
)  # fmt: skip
_OPTIONS = {"format_whitelist": ",".join(_FORMATS), "protocol_whitelist": "none"}
#: What shows of these alone that they are cut off.
_BREAKS_OFF = {"ogg": containers.ogg_breaks_off, "avi": containers.riff_breaks_off}
#: Audio without a header, as telephony keeps it, by suffix; (FFmpeg's format, its options).
_HEADLESS: dict[str, tuple[str, dict[str, str]]] = {
    "g722": ("g722", {}),
    "g729": ("g729", {}),
    "gsm": ("gsm", {}),
    **dict.fromkeys(("ul", "ulaw", "mulaw", "pcmu"), ("mulaw", {"sample_rate": "8000"})),
    **dict.fromkeys(("al", "alaw", "pcma"), ("alaw", {"sample_rate": "8000"})),
    "sln": ("s16le", {"sample_rate": "8000"}),
    "sln16": ("s16le", {"sample_rate": "16000"}),
}
_FAMILIAR_STARTS = (
    b"RIFF",
    b"OggS",
    b"ID3",
    b"\x1a\x45\xdf\xa3",
    b"\x30\x26\xb2\x75",
    b"caff",
    b"wvpk",
    b"#!AMR",
    b"MAC ",
    b".RMF",
)
_READ_BYTES = 2**18
#: Samples (of all channels) of a block.
_BLOCK_SAMPLES = 2**18
#: Encoders count what they added at the ends in different ways.
_LENGTH_TOLERANCE_SECONDS = 0.1
#: In a video file the streams seldom end together.
_JOINT_TOLERANCE_SECONDS = 1.0
_FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63}


class FfmpegRecording:
    """An open audio file; see `recording.Recording`.

    Args:
        file: seekable.
        num_bytes: its size.
        audio_stream: which of the file's audio streams to read.
        suffix: of the file's name, which alone tells the format of audio without a header.

    Raises (when made):
        Fault: the file holds nothing that can be decoded.
        MemoryError: there is not enough memory to decode it.
        SerError: as the file itself raises it (storage failed as a whole).
    """

    length_tolerance_seconds = _LENGTH_TOLERANCE_SECONDS

    def __init__(self, file: BinaryIO, num_bytes: int, *, audio_stream: int = 0, suffix: str = "") -> None:
        self._file, self._num_bytes = file, num_bytes
        self._view = ByteView(file, num_bytes)
        self.fault: Fault | None = None
        self._num_decoded = 0
        #: Packets that could not be decoded since the last one that could, and those before it, in seconds.
        self._num_pending_errors, self._pending_seconds, self._lost_seconds = 0, 0.0, 0.0
        #: End of the last packet of any stream.
        self._end_seconds = 0.0
        self._resampler: av.AudioResampler | None = None
        headless, options = _HEADLESS.get(suffix, (None, {}))
        try:
            self._container = av.open(
                self._view,
                "r",
                format=None if _is_familiar(file) else headless,
                options={**_OPTIONS, **options},
                metadata_errors="replace",
                buffer_size=_READ_BYTES,
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            self._view.raise_error()
            if isinstance(error, MemoryError):
                raise
            raise _fault_of_opening(file) from error
        try:
            self._stream = self._chosen(audio_stream)
            self._frames = self._iter_frames()
            self._first = next(self._frames, None)
            if self._first is None:
                raise self.fault or Fault("empty", "the file holds no audio")
        except BaseException:
            self._container.close()
            raise
        self.sample_rate_hz: int = self._first.sample_rate
        self.num_channels: int = self._first.layout.nb_channels
        self.promised_seconds = self._promised_seconds()
        num_others = len(self._container.streams.audio) - 1
        self.note = f"{num_others} more audio stream{'s' * (num_others > 1)}" if num_others else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """The audio, (T, C) float32 at full scale 1.0, until it ends or cannot be decoded further (see `fault`)."""
        held: list[NDArray[np.float32]] = []
        num_held = 0
        for block_TC in self._converted():
            held.append(block_TC)
            num_held += block_TC.size
            if num_held >= _BLOCK_SAMPLES:
                yield np.concatenate(held)
                held, num_held = [], 0
        if held:
            yield np.concatenate(held)
        if self.fault is None:
            self.fault = self._fault_of_end()

    def _chosen(self, number: int) -> AudioStream:
        streams = self._container.streams.audio
        if not streams:
            raise Fault("empty", f"the file ({self._container.format.long_name}) holds no audio stream")
        if number >= len(streams):
            held = "one audio stream" if len(streams) == 1 else f"{len(streams)} audio streams"
            raise Fault("unsupported", f"the file holds {held}, so there is none of number {number}")
        stream = streams[number]
        # A stream of an unknown codec has no decoder.
        if stream.codec_context is None:
            raise Fault("unsupported", "the audio is of a codec that cannot be read")
        for other in self._container.streams:
            # What is not wanted is not even read, where the format has an index.
            if other is not stream and not self._has_joint_length:
                other.discard = Discard.all
        stream.codec_context.thread_count = 1
        return stream

    @property
    def _has_joint_length(self) -> bool:
        return self._container.format.name in _JOINT_LENGTH

    @property
    def _is_unframed(self) -> bool:
        return self._container.format.name in _UNFRAMED

    def _iter_frames(self) -> Iterator[AudioFrame]:
        packets = self._container.demux() if self._has_joint_length else self._container.demux(self._stream)
        try:
            for packet in packets:
                self._view.raise_error()
                if packet.pts is not None and packet.time_base is not None:
                    end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                    self._end_seconds = max(self._end_seconds, end)
                if packet.stream_index == self._stream.index:
                    yield from self._decoded(packet)
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            self.fault = Fault("unreadable", f"the audio is damaged ({error.strerror})")
        self._view.raise_error()

    def _decoded(self, packet: "av.Packet[Any]") -> Iterator[AudioFrame]:
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            self._pending_seconds += float((packet.duration or 0) * (packet.time_base or 0))
            return
        for frame in frames:
            assert isinstance(frame, AudioFrame)
            self._lost_seconds += self._pending_seconds
            self._pending_seconds = 0.0
            self._num_decoded += frame.samples
            yield frame

    def _converted(self) -> Iterator[NDArray[np.float32]]:
        """Every frame as (T, C); one of another rate or other channels than the first is converted to the first's."""
        first, self._first = self._first, None
        assert first is not None
        kind, layout = _kind(first), first.layout
        yield _samples_TC(first)
        for frame in self._frames:
            if _kind(frame) == kind:
                yield from map(_samples_TC, self._flushed())
                yield _samples_TC(frame)
                continue
            if self._resampler is None:
                self._resampler = av.AudioResampler("fltp", layout, self.sample_rate_hz)
            yield from map(_samples_TC, self._resampler.resample(frame))
        yield from map(_samples_TC, self._flushed())

    def _flushed(self) -> list[AudioFrame]:
        resampler, self._resampler = self._resampler, None
        return resampler.resample(None) if resampler else []

    def _promised_seconds(self) -> float | None:
        container, stream = self._container, self._stream
        total = None if container.duration is None else container.duration / av.time_base
        if self._is_unframed:
            tagged = containers.mp3_tag_seconds(self._file) if container.format.name == "mp3" else None
            # FFmpeg knows what the encoder added, and takes a guess where MP3s are joined.
            return tagged and total and min(total, tagged)
        if self._has_joint_length:
            return total if len(container.streams) == 1 else None
        if stream.duration is None or stream.time_base is None:
            return None
        return float(stream.duration * stream.time_base)

    def _fault_of_end(self) -> Fault | None:
        breaks_off = _BREAKS_OFF.get(self._container.format.name)
        if breaks_off and breaks_off(self._file, self._num_bytes):
            return Fault("truncated", "the file breaks off")
        if self._has_joint_length and self._container.duration is not None:
            total = self._container.duration / av.time_base
            if total - self._end_seconds > _JOINT_TOLERANCE_SECONDS:
                words = f"the header promises {total:.1f} s but the file ends at {self._end_seconds:.1f} s"
                return Fault("truncated", words)
        if not self._is_unframed and self._lost_seconds > _LENGTH_TOLERANCE_SECONDS:
            return Fault("unreadable", f"{self._lost_seconds:.1f} s in between are damaged and left out")
        return None


def _is_familiar(file: BinaryIO) -> bool:
    file.seek(0)
    head = file.read(16)
    return head.startswith(_FAMILIAR_STARTS) or head[4:8] == b"ftyp"


def _fault_of_opening(file: BinaryIO) -> Fault:
    if _is_familiar(file):
        return Fault("unreadable", "the header is broken or cut off")
    return Fault("unreadable", "this is no audio file of a known format")


def _kind(frame: AudioFrame) -> tuple[int, int]:
    return frame.sample_rate, frame.layout.nb_channels


def _samples_TC(frame: AudioFrame) -> NDArray[np.float32]:
    """A frame's samples, (T, C) float32 at full scale 1.0."""
    name, num_channels = frame.format.name, frame.layout.nb_channels
    samples = frame.to_ndarray()
    samples_TC = samples.T if frame.format.is_planar else samples.reshape(-1, num_channels)
    if (scale := _FULL_SCALE.get(name.removesuffix("p"))) is None:
        return samples_TC.astype(np.float32)
    offset = scale if name.startswith("u8") else 0.0
    return ((samples_TC - offset) / scale).astype(np.float32)
