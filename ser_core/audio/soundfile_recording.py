"""An audio file as a stream of float32 blocks through libsndfile: samples as they are, and FLAC.

Shape letters: T frames of a block, C channels.
"""

from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from ser_core.audio import containers, endings
from ser_core.audio.byte_view import ByteView
from ser_core.audio.endings import LEAST_AUDIO_BYTES
from ser_core.audio.wav_header import WavHeader
from ser_core.faults import Fault

#: Samples (of all channels) read at a time: 4 MiB as float32, 11 s of stereo at 48 kHz.
_BLOCK_SAMPLES = 2**20
#: libsndfile reports a length of about 2^63 where it does not know it.
_UNKNOWN_FRAMES = 2**62
_UNCOMPRESSED_FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF"})
#: libsndfile reads less of these than FFmpeg does.
_COMPRESSED_FORMATS = frozenset({"MP3", "OGG"})
#: libsndfile 1.2 forgets at each block what the one before ended with: 13 dB of noise in the place of 31.
_WRONGLY_DECODED = ("AIFF", "IMA_ADPCM")
_FAMILIAR_STARTS = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"fLaC", b"FORM", b".snd", b"riff", b"caff")


class SoundfileRecording:
    """An open audio file; see `recording.Recording`.

    Args:
        file: seekable.
        num_bytes: its size.
        wav: its header, if it is a WAV.
        start: where the audio file begins in `file`, behind tags.

    Raises (when made):
        Fault: the file holds nothing that libsndfile can decode.
        MemoryError: there is not enough memory to decode it.
        SerError: as the file itself raises it (storage failed as a whole).
    """

    length_tolerance_seconds = 0.0
    note: str | None = None

    def __init__(self, file: BinaryIO, num_bytes: int, wav: WavHeader | None, *, start: int = 0) -> None:
        self._file, self._start, self._num_bytes = file, start, num_bytes
        self._wav = wav
        if wav is None or wav.is_honest:
            head = containers.honest_head(file, start, num_bytes)
            end = containers.end_of_svx(file, start, num_bytes)
            self._view = ByteView(file, end, head=head, offset=start + len(head))
        else:
            self._view = wav.honest_view(file)
        try:
            self._sound = self._open_sound()
        except soundfile.LibsndfileError as error:
            file.seek(start)
            raise _fault_of_opening(error, file.read(16)) from error
        self.sample_rate_hz: int = self._sound.samplerate
        self.num_channels: int = self._sound.channels
        self.promised_seconds = self._promised_seconds()
        self.fault: Fault | None = None
        #: Whether the audio ended where it could not be decoded.
        self.is_damaged = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sound.close()

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """The audio, (T, C) float32 at full scale 1.0, until it ends or cannot be decoded further (see `fault`)."""
        num_left = self._sound.frames
        if self._sound.format == "SDS":
            num_left = min(num_left, containers.held_sds_frames(self._file, self._start, self._num_bytes))
        while num_left > 0 and self.fault is None:
            block_TC = self._read_block(min(num_left, max(1, _BLOCK_SAMPLES // self.num_channels)))
            if len(block_TC) == 0:
                break
            num_left -= len(block_TC)
            yield block_TC
        if self.fault is None and self._another_follows():
            self.fault = Fault("unsupported", "another recording is joined to the first, and is not read")

    def _another_follows(self) -> bool:
        position = self._view.file_position
        if self._sound.format == "FLAC" and endings.flac_follows(self._file, self._start, position):
            return True
        return endings.another_follows(self._file, position)

    def _read_block(self, num_frames: int) -> NDArray[np.float32]:
        if self._is_int16:
            samples_TC: NDArray[np.int16] = self._sound.read(num_frames, dtype="int16", always_2d=True)
            self._note_error()
            return np.multiply(samples_TC, np.float32(2**-15), dtype=np.float32)
        # libsndfile does not say how far it came before an error; what it did not decode stays NaN.
        block_TC: NDArray[np.float32] = np.full((num_frames, self.num_channels), np.nan, np.float32)
        try:
            block_TC = self._sound.read(out=block_TC)
        except soundfile.LibsndfileError as error:
            self.fault = _fault_of_decoding(error, is_at_end=self._view.num_left <= 0)
            self.is_damaged = self._view.error is None
            block_TC = block_TC[: _num_decoded(block_TC)]
        self._note_error()
        return block_TC

    def _note_error(self) -> None:
        """Keep why reading failed, if it did: what was read before is heard."""
        try:
            self._view.raise_error()
        except Fault as fault:
            self.fault = fault

    def _open_sound(self) -> "_ForwardSoundFile":
        try:
            sound = _ForwardSoundFile(self._view)
        finally:
            self._view.raise_error()
        if sound.format in _COMPRESSED_FORMATS or (sound.format, sound.subtype) == _WRONGLY_DECODED:
            sound.close()
            raise Fault("unsupported", f"this {sound.format} is for FFmpeg")
        # Five times faster than letting libsndfile make floats, and the same numbers.
        self._is_int16 = sound.subtype == "PCM_16" and sound.format in _UNCOMPRESSED_FORMATS
        return sound

    def _promised_seconds(self) -> float | None:
        wav, frames = self._wav, self._sound.frames
        counted = containers.promised_frames(self._file, self._start, self._sound.format)
        if counted is not None:
            return float(counted / self.sample_rate_hz)
        if wav is not None and not wav.is_honest and (wav.promised_bytes is None or wav.promised_seconds is not None):
            return wav.promised_seconds
        if frames >= _UNKNOWN_FRAMES:
            return None
        if wav is not None and wav.promised_bytes is not None:
            promised, held = wav.promised_bytes, wav.data_bytes
        else:
            lengths = containers.data_bytes(self._file, self._start, self._num_bytes, self._sound.format)
            promised, held = lengths or (0, 0)
        if promised - held >= LEAST_AUDIO_BYTES and held > 0:
            frames = frames * promised // held
        return float(frames / self.sample_rate_hz)


class _ForwardSoundFile(soundfile.SoundFile):  # type: ignore[misc]
    """Reads forwards only: after every read soundfile seeks to where it is, which a FLAC without a length refuses."""

    def seekable(self) -> bool:
        return False


def _num_decoded(block_TC: NDArray[np.float32]) -> int:
    decoded = np.flatnonzero(~np.isnan(block_TC).all(axis=1))
    return int(decoded[-1]) + 1 if len(decoded) else 0


def _fault_of_opening(error: soundfile.LibsndfileError, first_bytes: bytes) -> Fault | MemoryError:
    words = _words(error)
    if "malloc" in words:
        return MemoryError(words)
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
