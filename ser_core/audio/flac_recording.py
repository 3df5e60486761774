"""A FLAC as a stream of float32 blocks: through libsndfile, and through FFmpeg where that stops before the audio ends.

libsndfile reads as many samples as the header promises, and none behind the first damage.
Format: RFC 9639 (section 8: metadata, section 9.1: the header of a frame).
"""

import re
from collections.abc import Iterator
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from ser_core.audio.byte_view import ByteView
from ser_core.audio.soundfile_recording import SoundfileRecording
from ser_core.faults import Fault

#: The mark, the head of the first block of metadata, and that block: how the samples are coded.
_HEAD_BYTES = 4 + 4 + 34
_IS_LAST_BLOCK = 0x80
#: How far libsndfile may have read ahead, and how far behind a frame begins at the latest, unless it is a giant.
_AHEAD_BYTES, _BEHIND_BYTES = 2**16, 2**17
#: FFmpeg needs the frames before a place to find its way.
_RUN_UP_BYTES = 2**20
_SYNC = re.compile(rb"\xff[\xf8\xf9](?=[^\x00-\x0f])")
_MAX_FRAME_HEAD_BYTES = 16
#: A frame's samples, by four bits of its header; the codes 6 and 7: counted in one and two bytes behind the number.
_BLOCK_SAMPLES = {
    1: 192,
    **{code: 576 << code - 2 for code in range(2, 6)},
    **{code: 1 << code for code in range(8, 16)},
}
_COUNTED_CODES = (6, 7)
#: Bytes of a rate behind them, by four other bits.
_RATE_BYTES = {12: 1, 13: 2, 14: 2}
#: Bytes of a frame's number behind its first one.
_MAX_MORE_BYTES = 6
#: Left, right or middle, and the side.
_STEREO, _STEREO_CODES = 2, (8, 9, 10)
_LEAST_LOST_SECONDS = 0.05


class FlacRecording(SoundfileRecording):
    """An open FLAC; see `soundfile_recording.SoundfileRecording`, also for what it raises."""

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """The audio, (T, C) float32 at full scale 1.0, until it ends or cannot be decoded further (see `fault`)."""
        num_frames = 0
        for block_TC in super().blocks():
            num_frames += len(block_TC)
            yield block_TC
        if self.is_damaged or (self.fault is None and self._goes_on(num_frames)):
            yield from self._rest(num_frames)

    def _goes_on(self, num_read: int) -> bool:
        """Whether the header promises no more than was read, and a frame near the end of it ends behind it."""
        if self.promised_seconds is None or num_read < round(self.promised_seconds * self.sample_rate_hz):
            return False
        return any(self._frames(self._view.file_position - _AHEAD_BYTES, beyond=num_read))

    def _frames(self, begin: int, *, beyond: int = 0) -> Iterator[tuple[int, int]]:
        """Where frames begin in the file, from a place in it on, and where they end, in samples from the first one.

        Those that end beyond so many samples alone: most files have none behind what was read.
        """
        fixed_samples = int.from_bytes(self._head()[10:12], "big")
        begin = max(self._start + _HEAD_BYTES, begin)
        self._file.seek(begin)
        look = self._file.read(_AHEAD_BYTES + _BEHIND_BYTES)
        for found in _SYNC.finditer(look):
            head = look[found.start() : found.start() + _MAX_FRAME_HEAD_BYTES].ljust(_MAX_FRAME_HEAD_BYTES, b"\0")
            end, head_bytes = _end_of_frame(head, fixed_samples, self.num_channels)
            # The checksum takes longer than all else that is looked at.
            if end > beyond and _crc8(head[:head_bytes]) == head[head_bytes]:
                yield begin + found.start(), end

    def _head(self) -> bytes:
        self._file.seek(self._start)
        return self._file.read(_HEAD_BYTES)

    def _rest(self, num_read: int) -> Iterator[NDArray[np.float32]]:
        """What FFmpeg finds behind so many samples; `fault` says what it leaves out."""
        # Half of all archives need none of it, and it takes 50 ms and 40 MB.
        from ser_core.audio.ffmpeg.recording import FfmpegRecording

        head = bytearray(self._head())
        head[4] |= _IS_LAST_BLOCK
        run_up = max(self._start, self._view.file_position - _RUN_UP_BYTES)
        offset, _ = next(self._frames(run_up), (self._start + _HEAD_BYTES, 0))
        view = ByteView(self._file, self._num_bytes, head=bytes(head), offset=offset)
        try:
            recording = FfmpegRecording(cast(BinaryIO, view), self._num_bytes - view.shift)
        except Fault:
            view.raise_error()
            # It is no more than FFmpeg can read, and what was wrong with it is known.
            return
        with recording:
            if (recording.sample_rate_hz, recording.num_channels) != (self.sample_rate_hz, self.num_channels):
                return
            begin = round(recording.progress.begin_seconds * self.sample_rate_hz)
            num_skipped, num_more = max(0, num_read - begin), 0
            for block_TC in recording.blocks():
                rest_TC = block_TC[num_skipped:]
                num_skipped -= len(block_TC) - len(rest_TC)
                num_more += len(rest_TC)
                yield rest_TC
            view.raise_error()
            lost_seconds = recording.progress.lost_seconds + max(0, begin - num_read) / self.sample_rate_hz
            if (missing_seconds := (self.promised_seconds or 0) - (num_read + num_more) / self.sample_rate_hz) > 0:
                lost_seconds = min(lost_seconds, missing_seconds)
            if num_more:
                self.fault = self._fault_of_rest(recording.fault, lost_seconds)
            elif recording.fault is None and self.promised_seconds is None:
                # Only tags follow.
                self.fault = None

    def _fault_of_rest(self, fault: Fault | None, lost_seconds: float) -> Fault | None:
        if lost_seconds > _LEAST_LOST_SECONDS:
            return Fault("unreadable", f"{lost_seconds:.1f} s are damaged and left out")
        return Fault("unreadable", "the audio is damaged in places") if self.is_damaged else fault


def _end_of_frame(head: bytes, fixed_samples: int, num_channels: int) -> tuple[int, int]:
    """Where a frame ends, in samples from the beginning of the stream, and how long its header is without its checksum.

    Both are 0 where this cannot be a frame's header.

    Args:
        head: `_MAX_FRAME_HEAD_BYTES`, from its mark on.
        fixed_samples: samples of each frame but the last, where frames are numbered.
        num_channels: channels that it must have.
    """
    block_code, rate_code, channel_code = head[2] >> 4, head[2] & 15, head[3] >> 4
    is_stereo = num_channels == _STEREO and channel_code in _STEREO_CODES
    if channel_code + 1 != num_channels and not is_stereo:
        return 0, 0
    # As UTF-8 codes a letter, in up to seven bytes.
    num_more = max(0, 7 - (head[4] ^ 0xFF).bit_length())
    if num_more > _MAX_MORE_BYTES:
        return 0, 0
    number = head[4] & (0x3F >> num_more if num_more else 0x7F)
    end = 5 + num_more
    for byte in head[5:end]:
        number = number << 6 | byte & 0x3F
    samples = _BLOCK_SAMPLES.get(block_code, 0)
    if block_code in _COUNTED_CODES:
        num_count_bytes = block_code - _COUNTED_CODES[0] + 1
        samples = int.from_bytes(head[end : end + num_count_bytes], "big") + 1
        end += num_count_bytes
    end += _RATE_BYTES.get(rate_code, 0)
    if not samples:
        return 0, 0
    begins_at_sample = head[1] & 1
    return (number if begins_at_sample else number * fixed_samples) + samples, end


def _crc8(data: bytes) -> int:
    """The checksum of a frame's header: the polynomial x^8 + x^2 + x + 1, from 0."""
    checksum = 0
    for byte in data:
        checksum ^= byte
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x07 if checksum & 0x80 else 0)) & 0xFF
    return checksum
