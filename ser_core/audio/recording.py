"""Opens an audio file with the decoder that is right for it: libsndfile reads samples as they are, FFmpeg the rest.

Shape letters: T samples, C channels.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import BinaryIO, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ser_core.audio.containers import end_of_tags
from ser_core.audio.endings import MAX_JUNK_BYTES, find_head, is_collection
from ser_core.audio.flac_recording import FlacRecording
from ser_core.audio.soundfile_recording import SoundfileRecording
from ser_core.audio.sync_frames import find_frames
from ser_core.audio.wav_header import KNOWN_CODECS, WavHeader, read_wav_header
from ser_core.faults import Fault

MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000
#: What libsndfile reads exactly, and faster than FFmpeg: WAV, W64, FLAC, AIFF, AU, CAF and AVR.
_EXACT_STARTS = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"fLaC", b"FORM", b".snd", b"dns.", b"caff", b"2BIT")
#: By how much the count of a WAV's frames may differ from what its bytes last at their mean rate.
_MAX_COUNT_ERROR = 4.0
#: Kinds of recordings that no free decoder reads, that are encrypted, or that do not say what they are.
_UNREAD_SUFFIXES = frozenset({"aax", "ds2", "vox"})


class Recording(Protocol):
    """An open audio file, read once, forwards, in bounded memory; a context manager that closes it."""

    sample_rate_hz: int
    num_channels: int
    #: Length according to the header; None where it does not say. Nothing is allocated or planned by it.
    promised_seconds: float | None
    #: Why the blocks ended before the audio did; None while they go on, or where all is well.
    fault: Fault | None

    @property
    def length_tolerance_seconds(self) -> float:
        """How far a sound file's promise may be off."""

    #: What the file holds besides that is not read; None if nothing.
    note: str | None

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """The audio, (T, C) float32 at full scale 1.0, until it ends or cannot be decoded further (see `fault`)."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_recording(file: BinaryIO, *, audio_stream: int = 0, suffix: str = "") -> Recording:
    """Open an audio file, whatever its name says, but for audio without a header.

    Args:
        file: seekable; it is left open.
        audio_stream: which audio stream to read of a file that has several.
        suffix: of the file's name, as `iter_segments` takes it.

    Raises:
        Fault: the file holds nothing that can be decoded.
        MemoryError: there is not enough memory to decode it.
        SerError: as the file itself raises it (storage failed as a whole).
    """
    num_bytes = file.seek(0, os.SEEK_END)
    if num_bytes == 0:
        raise Fault("empty", "the file has no bytes")
    # Taggers put theirs in front of WAV and FLAC too.
    start = end_of_tags(file, 0)
    try:
        recording = _open(file, num_bytes, start, audio_stream, suffix)
    except Fault as fault:
        found = _open_behind(file, num_bytes, start, audio_stream, suffix) if fault.reason == "unreadable" else None
        if found is None:
            raise
        recording = found
    if not MIN_RATE_HZ <= recording.sample_rate_hz <= MAX_RATE_HZ:
        recording.__exit__(None, None, None)
        message = f"a sample rate of {recording.sample_rate_hz} Hz is outside {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz"
        raise Fault("unsupported", message)
    return recording


def _open_behind(file: BinaryIO, num_bytes: int, start: int, audio_stream: int, suffix: str) -> Recording | None:
    """The first recording behind other bytes at `start`, and a note of how many they are; None if there is none."""
    if is_collection(file, start):
        return None
    head = find_head(file, start)
    # Frames behind a recording's head are those of a container that is broken: how many are missing, nobody knows.
    end = min(num_bytes, start + MAX_JUNK_BYTES) if head is None else head
    places = {head, find_frames(file, start, end)} - {None, start}
    for place in sorted(filter(None, places)):
        try:
            recording = _open(file, num_bytes, place, audio_stream, suffix)
        except Fault as fault:
            if fault.reason != "unreadable":
                raise
            continue
        words = f"the first {place - start:,} bytes are no audio"
        recording.note = f"{words}, {recording.note}" if recording.note else words
        return recording
    return None


def _open(file: BinaryIO, num_bytes: int, start: int, audio_stream: int, suffix: str) -> Recording:
    """Try the decoder that the file's first bytes speak for, then the other one; the first refusal is the answer."""
    file.seek(start)
    head = file.read(16)
    wav = read_wav_header(file, start, num_bytes)
    is_foreign = wav is not None and wav.codec is not None and wav.codec not in KNOWN_CODECS
    kind = FlacRecording if head.startswith(b"fLaC") else SoundfileRecording
    with_libsndfile = partial(kind, file, num_bytes, wav, start=start)
    with_ffmpeg = partial(
        _open_with_ffmpeg, file, num_bytes, wav, start=start, audio_stream=audio_stream, suffix=suffix
    )
    order: list[Callable[[], Recording]] = [with_ffmpeg]
    if audio_stream == 0:
        order.insert(0 if head[:4] in _EXACT_STARTS and not is_foreign else 1, with_libsndfile)
    refusals = []
    for open_recording in order:
        try:
            recording = open_recording()
        except Fault as fault:
            if fault.reason not in ("unreadable", "unsupported"):
                raise
            refusals.append(fault)
            continue
        if wav is not None and is_foreign:
            recording.promised_seconds = _promised_by(wav, recording.promised_seconds)
        return recording
    if wav is not None and is_foreign:
        raise Fault("unsupported", f"the WAV holds audio of codec 0x{wav.codec:04x}, which cannot be read")
    if suffix in _UNREAD_SUFFIXES:
        raise Fault("unsupported", f"'.{suffix}' is a kind of recording that cannot be read here; convert it to FLAC")
    raise refusals[0]


def _open_with_ffmpeg(
    file: BinaryIO, num_bytes: int, wav: WavHeader | None, *, start: int, audio_stream: int, suffix: str
) -> Recording:
    # Half of all archives need none of it, and it takes 50 ms and 40 MB.
    from ser_core.audio.ffmpeg.recording import FfmpegRecording

    return FfmpegRecording(file, num_bytes, wav, start=start, audio_stream=audio_stream, suffix=suffix)


def _promised_by(wav: WavHeader, seconds: float | None) -> float | None:
    """What a WAV of a codec of FFmpeg's promises, of which FFmpeg says that it is so long.

    FFmpeg goes by the header's count of frames, which is not known where the size is not, or by the bytes there are.
    """
    if seconds is None or wav.promised_bytes is None:
        return None
    is_counted = abs(seconds - wav.num_frames / max(1, wav.sample_rate_hz)) < 0.1
    if not is_counted:
        return seconds * wav.promised_bytes / max(1, wav.data_bytes)
    by_bytes = wav.promised_bytes / max(1, wav.bytes_per_second)
    if by_bytes / _MAX_COUNT_ERROR <= seconds <= by_bytes * _MAX_COUNT_ERROR:
        return seconds
    # The count is that of a stream, or was never written.
    return by_bytes if wav.promised_bytes > wav.data_bytes else None
