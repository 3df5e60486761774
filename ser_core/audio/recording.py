"""An audio file as a stream of float32 blocks, read once, forwards, in bounded memory, through libsndfile.

Shape letters: T frames of a block, C channels.
"""

import os
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from ser_core.audio import containers
from ser_core.audio.containers import KNOWN_CODECS, WavHeader, read_wav_header
from ser_core.errors import SerError
from ser_core.faults import Fault

MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000
#: Samples (of all channels) read at a time: 4 MiB as float32, 11 s of stereo at 48 kHz.
_BLOCK_SAMPLES = 2**20
#: libsndfile reports a length of about 2^63 where it does not know it.
_UNKNOWN_FRAMES = 2**62
_UNCOMPRESSED_FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF"})
_FOREIGN_STARTS = {
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "WMA",
    b"\x1a\x45\xdf\xa3": "Matroska or WebM",
    b"#!AMR": "AMR",
    b"\xff\xf1": "AAC",
    b"\xff\xf9": "AAC",
    b"wvpk": "WavPack",
    b"MAC ": "Monkey's Audio",
    b".RMF": "RealAudio",
    b"DSD ": "DSD",
}
_FAMILIAR_STARTS = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"fLaC", b"OggS", b"FORM", b".snd", b"ID3", b"riff", b"caff")


class Recording:
    """An open audio file; a context manager that closes it.

    Raises (when made):
        Fault: the file holds nothing that can be decoded.
        MemoryError: there is not enough memory to decode it.
        SerError: as the file itself raises it (storage failed as a whole).
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._num_bytes = file.seek(0, os.SEEK_END)
        if self._num_bytes == 0:
            raise Fault("empty", "the file has no bytes")
        wav = read_wav_header(file, self._num_bytes)
        if wav is None or wav.is_honest:
            self._view = ByteView(file, self._num_bytes)
        else:
            end = wav.data_offset + wav.data_bytes
            self._view = ByteView(file, end, head=wav.honest_head(), offset=wav.data_offset)
        try:
            self._sound = self._open_sound()
        except soundfile.LibsndfileError as error:
            file.seek(0)
            raise _fault_of_opening(error, file.read(16), wav) from error
        self.sample_rate_hz: int = self._sound.samplerate
        self.num_channels: int = self._sound.channels
        #: Length according to the header; None where it does not say. Nothing is allocated or planned by it.
        self.promised_seconds = self._promised_by_libsndfile() if wav is None or wav.is_honest else wav.promised_seconds
        #: Why the blocks ended before the audio did; None while they go on, or where all is well.
        self.fault: Fault | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sound.close()

    @property
    def length_tolerance_seconds(self) -> float:
        """How far a sound file's promise may be off: MP3 encoders add frames and disagree which ones to count."""
        return 0.1 if self._sound.format == "MP3" else 0.0

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """The audio, (T, C) float32 at full scale 1.0, until it ends or cannot be decoded further (see `fault`)."""
        while True:
            yield from self._blocks_of_part()
            if self.fault is not None or not self._open_next_part():
                break
        if self.fault is None and self._sound.format == "OGG":
            self.fault = containers.fault_of_ogg_end(self._file, self._num_bytes)

    def _blocks_of_part(self) -> Iterator[NDArray[np.float32]]:
        num_left = self._sound.frames
        while num_left > 0 and self.fault is None:
            block_TC = self._read_block(min(num_left, max(1, _BLOCK_SAMPLES // self.num_channels)))
            if len(block_TC) == 0:
                return
            num_left -= len(block_TC)
            yield block_TC

    def _read_block(self, num_frames: int) -> NDArray[np.float32]:
        if self._is_int16:
            samples_TC: NDArray[np.int16] = self._sound.read(num_frames, dtype="int16", always_2d=True)
            self._raise_read_error()
            return np.multiply(samples_TC, np.float32(2**-15), dtype=np.float32)
        # libsndfile does not say how far it came before an error; what it did not decode stays NaN.
        block_TC: NDArray[np.float32] = np.full((num_frames, self.num_channels), np.nan, np.float32)
        try:
            block_TC = self._sound.read(out=block_TC)
        except soundfile.LibsndfileError as error:
            self.fault = _fault_of_decoding(error, is_at_end=self._view.num_left <= 0)
            block_TC = block_TC[: _num_decoded(block_TC)]
        self._raise_read_error()
        return block_TC

    def _raise_read_error(self) -> None:
        if isinstance(self._view.error, SerError | MemoryError):
            raise self._view.error
        if self._view.error is not None:
            raise Fault.of(self._view.error) from self._view.error

    def _open_sound(self) -> "_ForwardSoundFile":
        try:
            sound = _ForwardSoundFile(self._view)
        finally:
            self._raise_read_error()
        if not MIN_RATE_HZ <= sound.samplerate <= MAX_RATE_HZ:
            message = f"a sample rate of {sound.samplerate} Hz is outside {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz"
            raise Fault("unsupported", message)
        # Five times faster than letting libsndfile make floats, and the same numbers.
        self._is_int16 = sound.subtype == "PCM_16" and sound.format in _UNCOMPRESSED_FORMATS
        return sound

    def _open_next_part(self) -> bool:
        """Go on behind the end of an MP3 that libsndfile took for shorter than it is."""
        position = self._view.file_position
        if self._sound.format != "MP3" or not containers.mp3_goes_on_at(self._file, position):
            return False
        self._sound.close()
        self._view = ByteView(self._file, self._num_bytes, offset=position)
        try:
            self._sound = self._open_sound()
        except soundfile.LibsndfileError:
            return False
        if (self._sound.samplerate, self._sound.channels) != (self.sample_rate_hz, self.num_channels):
            self.fault = Fault("unsupported", "the sample rate or the number of channels changes")
        return self.fault is None

    def _promised_by_libsndfile(self) -> float | None:
        frames: int = self._sound.frames
        is_guess = self._sound.format == "MP3" and not containers.mp3_has_length_tag(self._file)
        if is_guess or frames >= _UNKNOWN_FRAMES:
            return None
        num_bytes = containers.data_bytes(self._file, self._num_bytes, self._sound.format)
        if num_bytes and frames and num_bytes[0] > num_bytes[1]:
            frames = num_bytes[0] // max(1, num_bytes[1] // frames)
        return frames / self.sample_rate_hz


class ByteView:
    """A part of a file with other bytes in front, for libsndfile: `head`, then the bytes from `offset` to `end`.

    An error cannot pass through libsndfile: the first is kept in `error`, and libsndfile sees the end of the file.
    """

    def __init__(self, file: BinaryIO, end: int, *, head: bytes = b"", offset: int = 0) -> None:
        self._file = file
        self._head = head
        self._shift = offset - len(head)
        self._size = end - self._shift
        self._position = 0
        self.error: Exception | None = None

    @property
    def num_left(self) -> int:
        """Bytes from the position to the end."""
        return self._size - self._position

    @property
    def file_position(self) -> int:
        """The position, in the file itself."""
        return self._position + self._shift

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position, as a file does."""
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only at the end, as libsndfile takes a short read for it."""
        data = b""
        while size > 0 and (more := self._read_some(size)):
            data = data + more if data else more
            size -= len(more)
            self._position += len(more)
        return data

    def _read_some(self, size: int) -> bytes:
        if self.error is not None:
            return b""
        if self._position < len(self._head):
            return self._head[self._position : self._position + size]
        try:
            # Others read the file too.
            self._file.seek(self.file_position)
            return self._file.read(max(0, min(size, self.num_left)))
        except Exception as error:
            self.error = error
            return b""


class _ForwardSoundFile(soundfile.SoundFile):  # type: ignore[misc]
    """Reads forwards only: after every read soundfile seeks to where it is, which a FLAC without a length refuses."""

    def seekable(self) -> bool:
        return False


def _num_decoded(block_TC: NDArray[np.float32]) -> int:
    decoded = np.flatnonzero(~np.isnan(block_TC).all(axis=1))
    return int(decoded[-1]) + 1 if len(decoded) else 0


def _fault_of_opening(
    error: soundfile.LibsndfileError, first_bytes: bytes, wav: WavHeader | None
) -> Fault | MemoryError:
    words = _words(error)
    if "malloc" in words:
        return MemoryError(words)
    mp4 = "MP4 (M4A, AAC)" if first_bytes[4:8] == b"ftyp" else None
    if foreign := next((name for start, name in _FOREIGN_STARTS.items() if first_bytes.startswith(start)), mp4):
        return Fault("unsupported", f"the file is {foreign}, which cannot be read here; convert it to FLAC")
    if wav is not None and wav.codec is not None and wav.codec not in KNOWN_CODECS:
        return Fault("unsupported", f"the WAV holds audio of codec 0x{wav.codec:04x}, which cannot be read")
    if "unimplemented" in words or "not supported" in words:
        return Fault("unsupported", f"the audio is of a kind that cannot be read ({words})")
    if first_bytes.startswith(_FAMILIAR_STARTS):
        return Fault("unreadable", f"the header is broken or cut off ({words})")
    return Fault("unreadable", "this is no audio file of a known format")


def _fault_of_decoding(error: soundfile.LibsndfileError, *, is_at_end: bool) -> Fault:
    words = _words(error)
    if "malloc" in words:
        raise MemoryError(words) from error
    if is_at_end:
        return Fault("truncated", "the file breaks off")
    return Fault("unreadable", f"the audio is damaged ({words})")


def _words(error: soundfile.LibsndfileError) -> str:
    return str(error.error_string).rpartition("Error in WAV file. ")[2].removeprefix("Error : ").rstrip(". ")
