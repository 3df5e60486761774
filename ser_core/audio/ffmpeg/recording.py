"""An audio file as a stream of float32 blocks through FFmpeg: compressed audio, and the sound of video files.

FFmpeg takes out what an encoder put before and behind the audio (LAME tags, edit lists, Opus pre-skip, end trimming).
Shape letters: T frames of a block, C channels.
"""

import itertools
from collections.abc import Iterator
from types import TracebackType
from typing import Any, BinaryIO, Self

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.stream import Discard
from numpy.typing import NDArray

from ser_core.audio import containers, endings, sync_frames
from ser_core.audio.byte_view import ByteView
from ser_core.audio.ffmpeg.ending import LENGTH_TOLERANCE_SECONDS, Ending
from ser_core.audio.ffmpeg.formats import (
    GUESSED_LENGTH,
    HEADLESS,
    JOINT_LENGTH,
    OPTIONS,
    TIMED,
    UNFRAMED,
    end_of_frames,
    is_familiar,
    sox_seconds,
    words_of_opening,
)
from ser_core.audio.ffmpeg.frames import Converter, Progress, decoder_of, joined
from ser_core.audio.ffmpeg.ogg import is_ogg, undo_false_trim
from ser_core.audio.wav_header import WavHeader
from ser_core.faults import Fault

_READ_BYTES = 2**18
#: How often FFmpeg may find nothing in what it has read already before it is taken for stuck.
_MAX_IDLE = 64


class FfmpegRecording:
    """An open audio file; see `recording.Recording`.

    Args:
        file: seekable.
        num_bytes: its size.
        wav: its header, if it is a WAV.
        start: where the audio file begins in `file`, behind tags.
        audio_stream: which of the file's audio streams to read.
        suffix: of the file's name, which alone tells the format of audio without a header.

    Raises (when made):
        Fault: the file holds nothing that can be decoded.
        MemoryError: there is not enough memory to decode it.
        SerError: as the file itself raises it (storage failed as a whole).
    """

    length_tolerance_seconds = LENGTH_TOLERANCE_SECONDS

    def __init__(
        self,
        file: BinaryIO,
        num_bytes: int,
        wav: WavHeader | None = None,
        *,
        start: int = 0,
        audio_stream: int = 0,
        suffix: str = "",
    ) -> None:
        if is_ogg(file, start):
            # FFmpeg looks for its length in the last page.
            num_bytes = endings.end_of_content(file, num_bytes)
        headless, options = (None, {}) if is_familiar(file, start) else HEADLESS.get(suffix, (None, {}))
        num_bytes = end_of_frames(file, start, num_bytes, headless)
        if headless is not None:
            options = options | {"format_whitelist": headless}
        self._file, self._start, self._num_bytes = file, start, num_bytes
        # FFmpeg, too, loses its way behind a chunk that is not padded as it must be.
        is_misleading = wav is not None and (wav.promised_bytes is None or not wav.is_padded_right)
        self._view = wav.honest_view(file) if wav and is_misleading else ByteView(file, num_bytes, offset=start)
        self.fault: Fault | None = None
        try:
            self._container = av.open(
                self._view,
                "r",
                format=headless,
                options={**OPTIONS, **options},
                metadata_errors="replace",
                buffer_size=_READ_BYTES,
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            self._view.raise_error()
            if isinstance(error, MemoryError):
                raise
            raise Fault("unreadable", words_of_opening(file, start)) from error
        try:
            self._stream = self._chosen(audio_stream)
            is_timed = self._container.format.name in TIMED
            self.progress = Progress(self._view.shift, is_timed=is_timed, has_all_streams=self._has_joint_length)
            self._decoder = decoder_of(self._stream)
            self._frames = self._iter_frames()
            self._first = next(self._frames, None)
            if self._first is None:
                raise self.fault or self._fault_of_nothing()
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
        num_frames = 0
        for block_TC in joined(self._converted()):
            num_frames += len(block_TC)
            yield block_TC
        ending = Ending(
            file=self._file,
            start=self._start,
            num_bytes=self._num_bytes,
            container=self._container,
            stream=self._stream,
            progress=self.progress,
            promised_seconds=self.promised_seconds,
            fault=self.fault,
            note=self.note,
        )
        ending.judge(num_frames / self.sample_rate_hz)
        self.promised_seconds, self.fault, self.note = ending.promised_seconds, ending.fault, ending.note

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
        return self._container.format.name in JOINT_LENGTH

    @property
    def _is_unframed(self) -> bool:
        return self._container.format.name in UNFRAMED

    def _iter_frames(self) -> Iterator[AudioFrame]:
        try:
            for packet in self._packets():
                is_heard = packet.stream_index == self._stream.index
                self.progress.note_packet(packet, is_heard=is_heard)
                if is_heard:
                    if self._container.format.name == "ogg" and packet.pos is not None:
                        undo_false_trim(packet, self._file, self._start + packet.pos, self._start)
                    yield from self._decoded(packet)
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            self.fault = Fault("unreadable", f"the audio is damaged ({error.strerror})")
        self._view.raise_error()

    def _packets(self) -> Iterator["av.Packet[Any]"]:
        position, num_idle = 0, 0
        while num_idle < _MAX_IDLE:
            try:
                yield from self._container.demux() if self._has_joint_length else self._container.demux(self._stream)
            except av.BlockingIOError:
                # A transport stream's reader says so where it finds no packet for 64 KiB.
                num_idle = num_idle + 1 if position == self._view.file_position else 0
                position = self._view.file_position
                continue
            return

    def _decoded(self, packet: "av.Packet[Any]") -> Iterator[AudioFrame]:
        if packet.has_sidedata("encryption_info"):
            # It would be decoded into noise here and there.
            raise Fault("unsupported", "the audio is encrypted")
        try:
            frames = self._decoder.decode(packet)
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            self.progress.note_failure(packet)
            return
        for frame in frames:
            assert isinstance(frame, AudioFrame)
            self.progress.note_frame(frame)
            yield frame

    def _converted(self) -> Iterator[NDArray[np.float32]]:
        """Every frame as (T, C); one of another rate or other channels than the first is converted to the first's."""
        first, self._first = self._first, None
        assert first is not None
        converter = Converter(first)
        for frame in itertools.chain([first], self._frames):
            yield from converter.push(frame)
        yield from converter.finish()

    def _promised_seconds(self) -> float | None:
        container, stream, name = self._container, self._stream, self._container.format.name
        total = None if container.duration is None else container.duration / av.time_base
        if name in GUESSED_LENGTH:
            return sox_seconds(self._file, self._start) if name == "sox" else None
        if self._is_unframed:
            tagged = sync_frames.tag_seconds(self._file) if name == "mp3" else None
            # FFmpeg knows what the encoder added, and takes a guess where MP3s are joined.
            return tagged and total and min(total, tagged)
        if self._has_joint_length:
            # It is the time at which the last stream ends.
            begin = max(0, container.start_time or 0) / av.time_base
            return total - begin if total and total > begin and len(container.streams) == 1 else None
        if stream.duration is None or stream.time_base is None:
            return None
        is_end_time = name == "ogg" and stream.codec_context.name.endswith("opus")
        begin_ticks = max(0, stream.start_time or 0) if is_end_time else 0
        seconds = float((stream.duration - begin_ticks) * stream.time_base)
        if name == "caf":
            return containers.caf_seconds(self._file, self._start, self._num_bytes, held_seconds=seconds)
        return seconds

    def _fault_of_nothing(self) -> Fault:
        if self.progress.num_failed:
            return Fault("unreadable", "none of the audio can be decoded: it is damaged, or encrypted")
        return Fault("empty", "the file holds no audio")
