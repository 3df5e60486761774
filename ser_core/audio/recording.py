"""Opens an audio file with the decoder that is right for it, and mixes its channels.

libsndfile reads samples as they are, FFmpeg the rest.

Shape letters: T samples, C channels, P pieces, S samples of a piece.
"""

import math
import os
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from types import TracebackType
from typing import BinaryIO, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ser_core.audio.containers import end_of_id3
from ser_core.audio.endings import find_head
from ser_core.audio.flac_recording import FlacRecording
from ser_core.audio.soundfile_recording import SoundfileRecording
from ser_core.audio.wav_header import KNOWN_CODECS, WavHeader, read_wav_header
from ser_core.faults import Fault

MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000
#: What libsndfile reads exactly, and faster than FFmpeg: WAV, W64, FLAC, AIFF, AU, CAF and AVR.
_EXACT_STARTS = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"fLaC", b"FORM", b".snd", b"dns.", b"caff", b"2BIT")

#: Kinds of recordings that no free decoder reads, that are encrypted, or that do not say what they are.
_UNREAD_SUFFIXES = frozenset({"aax", "ds2", "vox"})

#: What is decided together, counted from the file's first sample, so that it does not matter how a file is read.
_PIECE_SECONDS = 0.5
#: What is compared of the channels: speech, without the offset, the hum and the rustle that they may share.
_SPEECH_HZ = (250.0, 4_000.0)
#: A piece cancels out where its mix has less than this part of the power that channels unlike each other would give it:
#: for two channels, 20 dB under their own.
_CANCELLED = 0.02
#: A piece is a mix again where it has so much of that power, and so many times what was left of those that cancelled.
_MIXED, _OVER_WHAT_WAS_LEFT = 0.2, 4.0
#: The first channel is taken unless another one has twice its power: which of two alike is louder changes all the time.
_AS_LOUD = 0.5
#: Mean square of what is too faint to cancel out: -80 dBFS.
_FAINT = 1e-8


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
    # Taggers put ID3 in front of WAV and FLAC too.
    start = end_of_id3(file, 0)
    try:
        recording = _open(file, num_bytes, start, audio_stream, suffix)
    except Fault as fault:
        head = find_head(file, start) if fault.reason == "unreadable" else None
        if head is None or head == start:
            raise
        recording = _open(file, num_bytes, head, audio_stream, suffix)
        words = f"the first {head - start:,} bytes are no audio"
        recording.note = f"{words}, {recording.note}" if recording.note else words
    if not MIN_RATE_HZ <= recording.sample_rate_hz <= MAX_RATE_HZ:
        recording.__exit__(None, None, None)
        message = f"a sample rate of {recording.sample_rate_hz} Hz is outside {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz"
        raise Fault("unsupported", message)
    return recording


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
    return seconds if is_counted else seconds * wav.promised_bytes / max(1, wav.data_bytes)


class Mixer:
    """Mixes blocks of one recording in the order in which they come; it holds back less than a piece.

    Where channels cancel out one of them is taken, and from there on until a piece is surely none that does: what is
    faint between words says nothing of it.
    """

    def __init__(self, rate_hz: int, num_channels: int) -> None:
        self._rate_hz, self._num_channels = rate_hz, num_channels
        self._piece_samples = max(1, round(_PIECE_SECONDS * rate_hz))
        self._held_TC = np.zeros((0, num_channels), np.float32)
        self._num_cancelled = 0
        #: The channel that is taken; None: the mix.
        self._taken: int | None = None
        #: Most power that was left of a piece that cancelled out.
        self._left_over = 0.0

    def push(self, block_TC: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next samples; return the mix (T,) of what can be decided."""
        if self._num_channels == 1:
            return block_TC[:, 0]
        joined_TC = np.concatenate([self._held_TC, block_TC]) if len(self._held_TC) else block_TC
        num_whole = len(joined_TC) // self._piece_samples * self._piece_samples
        self._held_TC = joined_TC[num_whole:].copy()
        return self._mixed(joined_TC[:num_whole], self._piece_samples)

    def finish(self) -> NDArray[np.float32]:
        """The mix (T,) of what is left."""
        return self._mixed(self._held_TC, max(1, len(self._held_TC)))

    @property
    def note(self) -> str | None:
        """What is to be said of the mix."""
        if not self._num_cancelled:
            return None
        seconds = self._num_cancelled / self._rate_hz
        return f"the channels cancel out for {seconds:.1f} s, where one of them is taken instead of the mix"

    def _mixed(self, pcm_TC: NDArray[np.float32], piece_samples: int) -> NDArray[np.float32]:
        # Ten times as fast with each channel's samples side by side.
        pcm_CPS = np.ascontiguousarray(pcm_TC.T).reshape(self._num_channels, -1, piece_samples)
        with np.errstate(over="ignore", invalid="ignore"):
            mix_PS: NDArray[np.float32] = pcm_CPS.sum(axis=0) / np.float32(self._num_channels)
            if self._taken is None and (pcm_CPS[1:] == pcm_CPS[0]).all():
                return mix_PS.reshape(-1)
            for piece in range(len(mix_PS)):
                self._decide(*_speech_power(pcm_CPS[:, piece], self._rate_hz))
                if self._taken is not None:
                    mix_PS[piece] = pcm_CPS[self._taken, piece]
                    self._num_cancelled += piece_samples
        return mix_PS.reshape(-1)

    def _decide(self, power_C: NDArray[np.float32], of_mix: float) -> None:
        """Whether the next piece is a mix or a channel, by the power of its channels and of their mix."""
        unlike = float(power_C.sum()) / self._num_channels**2
        if of_mix < _CANCELLED * unlike and power_C.mean() > _FAINT:
            self._left_over = max(self._left_over, of_mix)
            is_loud_C = power_C >= _AS_LOUD * power_C.max()
            if self._taken is None or not is_loud_C[self._taken]:
                self._taken = int(is_loud_C.argmax())
        elif of_mix > max(_MIXED * unlike, _OVER_WHAT_WAS_LEFT * self._left_over, _FAINT):
            self._taken = None


def _speech_power(pcm_CS: NDArray[np.float32], rate_hz: int) -> tuple[NDArray[np.float32], float]:
    """Mean square, in the band of speech, of each of a piece's channels and of their mix."""
    # Means of a few samples at twice the band; what they fold into it adds up as the channels do.
    step = max(1, int(rate_hz / (2 * _SPEECH_HZ[1])))
    num_means = pcm_CS.shape[1] // step
    if not num_means:
        return np.zeros(len(pcm_CS), np.float32), 0.0
    # No product of matrices: the buffers of BLAS and its threads would count against what the decoder may take.
    pcm_CMS = pcm_CS[:, : num_means * step].reshape(-1, num_means, step)
    means_CM = sum((pcm_CMS[:, :, index] for index in range(1, step)), pcm_CMS[:, :, 0]) / np.float32(step)
    window_M = _window(num_means)
    first, last = (math.ceil(hz * num_means * step / rate_hz) for hz in _SPEECH_HZ)
    spectrum_CF = np.fft.rfft(means_CM * window_M)[:, first:last]
    scale = 2 / max(1.0, num_means * float(np.square(window_M).sum()))
    return scale * _power(spectrum_CF), scale * float(_power(spectrum_CF.mean(axis=0)))


@lru_cache(maxsize=4)
def _window(num_samples: int) -> NDArray[np.float32]:
    return np.hanning(num_samples).astype(np.float32)


def _power(spectrum_XF: NDArray[np.complexfloating]) -> NDArray[np.float32]:
    power_X: NDArray[np.float32] = (np.square(spectrum_XF.real) + np.square(spectrum_XF.imag)).sum(axis=-1)
    return power_X
