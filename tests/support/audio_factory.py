"""Writes audio files of every kind the tests need: ordinary ones, odd ones, and speech that was never spoken.

Shape letters: T samples, C channels.
"""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import lfilter

RATE_HZ = 16_000
#: Emotion -> (pitch Hz, pitch range Hz, syllables per second, level): caricatures, told apart by eye in a spectrogram.
VOICES = {
    "calm": (110.0, 8.0, 2.5, 0.05),
    "happy": (230.0, 70.0, 5.0, 0.15),
    "sad": (100.0, 4.0, 1.8, 0.03),
    "angry": (190.0, 40.0, 5.5, 0.35),
}
_WAV_SUBTYPES = (
    "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610",
)  # fmt: skip
_FORMANTS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480))


def noise(seconds: float, *, rate_hz: int = RATE_HZ, num_channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    """White noise (T, C) at -20 dBFS, every channel its own."""
    generator = np.random.default_rng(seed)
    return (0.1 * generator.standard_normal((round(seconds * rate_hz), num_channels))).astype(np.float32)


def speech(seconds: float, voice: str = "calm", *, rate_hz: int = RATE_HZ, seed: int = 0) -> NDArray[np.float32]:
    """Something like speech, (T,): glottal pulses with vibrato through vowels' formants, in syllables."""
    pitch_hz, range_hz, syllables_per_second, level = VOICES[voice]
    generator = np.random.default_rng(seed)
    time_T = np.arange(round(seconds * rate_hz)) / rate_hz
    wobble_T = np.sin(2 * np.pi * 0.7 * time_T + generator.uniform(0, 6)) + 0.3 * np.sin(2 * np.pi * 5 * time_T)
    phase_T = np.cumsum((pitch_hz + range_hz * wobble_T) / rate_hz)
    pulses_T = np.diff(np.floor(phase_T), prepend=0.0) + 0.01 * generator.standard_normal(len(time_T))
    syllable_T = np.floor(syllables_per_second * time_T).astype(int)
    voiced_T = np.zeros(len(time_T))
    for vowel, formants in enumerate(_FORMANTS_HZ):
        filtered_T = pulses_T
        for formant_hz in formants:
            radius = np.exp(-np.pi * 90 / rate_hz)
            angle = 2 * np.pi * formant_hz / rate_hz
            filtered_T = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], filtered_T)
        voiced_T += np.where(syllable_T % len(_FORMANTS_HZ) == vowel, filtered_T, 0)
    voiced_T *= np.sin(np.pi * (syllables_per_second * time_T % 1)) ** 0.5
    return (level * voiced_T / max(1e-9, float(np.sqrt(np.mean(voiced_T**2))))).clip(-1, 1).astype(np.float32)


def encode(
    pcm_TC: NDArray[np.float32], *, rate_hz: int = RATE_HZ, format: str = "WAV", subtype: str | None = None
) -> bytes:
    """A file's bytes in one of libsndfile's formats."""
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm_TC, rate_hz, format=format, subtype=subtype)
    return buffer.getvalue()


def with_data_size(wav: bytes, num_bytes: int) -> bytes:
    """A RIFF WAV whose header gives another size of the data."""
    start = wav.index(b"data") + 4
    return wav[:start] + struct.pack("<I", num_bytes) + wav[start + 4 :]


def with_rf64_size(rf64: bytes, num_bytes: int) -> bytes:
    """An RF64 file whose header gives another size of the data."""
    start = rf64.index(b"ds64") + 16
    return rf64[:start] + struct.pack("<Q", num_bytes) + rf64[start + 8 :]


def with_flac_frames(flac: bytes, num_frames: int) -> bytes:
    """A FLAC file whose header gives another number of frames (36 bits; 0: not known)."""
    return flac[:21] + bytes([flac[21] & 0xF0 | num_frames >> 32]) + struct.pack(">I", num_frames % 2**32) + flac[26:]


def write_sparse_rf64(
    path: Path, seconds: float, *, rate_hz: int = 48_000, num_channels: int = 2, spoken_seconds: float = 1.0
) -> None:
    """A 16-bit recording of any length that takes no room on the disk: a moment of noise, then zeros."""
    data_bytes = round(seconds * rate_hz) * 2 * num_channels
    head = _rf64_head(data_bytes, rate_hz, num_channels)
    spoken = noise(spoken_seconds, rate_hz=rate_hz, num_channels=num_channels)
    with path.open("wb") as file:
        file.write(head + (spoken * 32767).astype("<i2").tobytes())
        file.truncate(len(head) + data_bytes)


def write_spoken_rf64(path: Path, minutes: int, voice: str, *, rate_hz: int = 24_000) -> None:
    """A 16-bit recording with one channel in which somebody speaks all the time: a minute, again and again."""
    minute = (speech(60.0, voice, rate_hz=rate_hz) * 32767).astype("<i2").tobytes()
    with path.open("wb") as file:
        file.write(_rf64_head(minutes * len(minute), rate_hz, num_channels=1))
        for _ in range(minutes):
            file.write(minute)


def _rf64_head(data_bytes: int, rate_hz: int, num_channels: int) -> bytes:
    block_align = 2 * num_channels
    fmt = struct.pack("<HHIIHH", 1, num_channels, rate_hz, rate_hz * block_align, block_align, 16)
    ds64 = struct.pack("<QQQI", 72 + data_bytes, data_bytes, data_bytes // block_align, 0)
    unknown = b"\xff" * 4
    head = b"RF64" + unknown + b"WAVEds64" + struct.pack("<I", len(ds64)) + ds64
    return head + b"fmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + unknown


def _with_samples(*values: float, at_seconds: float = 4.0, seconds: float = 9.0) -> bytes:
    pcm_TC = noise(seconds)
    start = round(at_seconds * RATE_HZ)
    pcm_TC[start : start + len(values), 0] = values
    return encode(pcm_TC, subtype="FLOAT")


def _coded(format: str, subtype: str, *, seconds: float = 2.0, rate_hz: int = RATE_HZ) -> bytes:
    return encode(noise(seconds, rate_hz=rate_hz), rate_hz=rate_hz, format=format, subtype=subtype)


#: Name -> (contents, the reason it must be given; None: scored without a word).
ODD_FILES: dict[str, tuple[Callable[[], bytes], str | None]] = {
    "empty.wav": (lambda: b"", "empty"),
    "no_frames.wav": (lambda: encode(noise(0)), "empty"),
    "one_sample.wav": (lambda: encode(noise(1 / RATE_HZ)), "too_short"),
    "text.wav": (lambda: b"these are words, not sound\n" * 50, "unreadable"),
    "header_cut.wav": (lambda: encode(noise(2))[:30], "unreadable"),
    "data_cut.wav": (lambda: encode(noise(9))[: 44 + 2 * RATE_HZ * 4], "truncated"),
    "lying_2_to_40.rf64": (lambda: with_rf64_size(encode(noise(4), format="RF64"), 2**41), "truncated"),
    "lying_2_to_31.wav": (lambda: with_data_size(encode(noise(4)), 2**31 - 2**20), "truncated"),
    "lying.flac": (lambda: with_flac_frames(encode(noise(4), format="FLAC"), 2**36 - 1), "truncated"),
    "cut.flac": (lambda: _half(_coded("FLAC", "PCM_16", seconds=9)), "truncated"),
    "cut.mp3": (lambda: _half(_coded("MP3", "MPEG_LAYER_III", seconds=9)), "truncated"),
    "cut.ogg": (lambda: _half(_coded("OGG", "VORBIS", seconds=9)), "truncated"),
    "cut.opus": (lambda: _half(_coded("OGG", "OPUS", seconds=9)), "truncated"),
    "cut.aiff": (lambda: _half(_coded("AIFF", "PCM_16", seconds=9)), "truncated"),
    "cut.au": (lambda: _half(_coded("AU", "PCM_16", seconds=9)), "truncated"),
    "cut.w64": (lambda: _half(_coded("W64", "PCM_16", seconds=9)), "truncated"),
    "damaged.flac": (lambda: _damaged(_coded("FLAC", "PCM_16", seconds=9)), "unreadable"),
    "nan.wav": (lambda: _with_samples(np.nan), "not_finite"),
    "infinite.wav": (lambda: _with_samples(np.inf, -np.inf), "not_finite"),
    "huge.wav": (lambda: _with_samples(3e38, -3e38), "not_finite"),
    "all_nan.wav": (lambda: encode(np.full((2 * RATE_HZ, 1), np.nan, np.float32), subtype="FLOAT"), "not_finite"),
    "silence.wav": (lambda: encode(np.zeros((2 * RATE_HZ, 1), np.float32)), None),
    "streamed_unknown.wav": (lambda: with_data_size(encode(noise(2)), 2**32 - 1), None),
    "streamed_zero.wav": (lambda: with_data_size(encode(noise(2)), 0), None),
    "streamed_sox.wav": (lambda: with_data_size(encode(noise(2)), 0x7FFFF000), None),
    "streamed.flac": (lambda: with_flac_frames(encode(noise(2), format="FLAC"), 0), None),
    "mp3_named.wav": (lambda: _coded("MP3", "MPEG_LAYER_III"), None),
    "m4a_named.wav": (lambda: b"\0\0\0\x20ftypM4A " + bytes(2000), "unreadable"),
    "codec_7777.wav": (lambda: _with_codec(encode(noise(2)), 0x7777), "unsupported"),
    "sample_rate_of_1.wav": (lambda: encode(noise(2), rate_hz=1), "unsupported"),
    "trailing_chunk.wav": (lambda: encode(noise(2)) + b"LIST" + struct.pack("<I", 4) + b"INFO", None),
    "odd_without_pad.wav": (lambda: encode(noise(2 + 1 / RATE_HZ), subtype="PCM_U8"), None),
    "rf64.wav": (lambda: _coded("RF64", "PCM_16"), None),
    "bw64.wav": (lambda: b"BW64" + _coded("RF64", "PCM_16")[4:], None),
    **{
        f"{subtype.lower()}.wav": (lambda subtype=subtype: _coded("WAV", subtype), None)
        for subtype in _WAV_SUBTYPES
    },
    **{
        f"{num_channels}_channels.wav": (lambda n=num_channels: encode(noise(2, num_channels=n)), None)
        for num_channels in range(1, 9)
    },
    **{
        f"{rate_hz}_hz.wav": (lambda rate_hz=rate_hz: _coded("WAV", "PCM_16", rate_hz=rate_hz), None)
        for rate_hz in (4_000, 8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000)
    },
    **{
        f"{subtype.lower()}.{suffix}": (lambda f=format, s=subtype: _coded(f, s), None)
        for suffix, format, subtype in (
            ("flac", "FLAC", "PCM_24"),
            ("ogg", "OGG", "VORBIS"),
            ("opus", "OGG", "OPUS"),
            ("mp3", "MP3", "MPEG_LAYER_III"),
            ("aiff", "AIFF", "PCM_16"),
            ("au", "AU", "PCM_16"),
            ("w64", "W64", "PCM_16"),
        )
    },
}  # fmt: skip


def write_odd_files(folder: Path) -> dict[str, str | None]:
    """Write all of `ODD_FILES` to `folder`; what each must be called in the files table (None: scored)."""
    for name, (contents, _) in ODD_FILES.items():
        (folder / name).write_bytes(contents())
    return {name: reason for name, (_, reason) in ODD_FILES.items()}


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2 + 1]


def _damaged(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + b"\x55" * 2000 + data[middle + 2000 :]


def _with_codec(wav: bytes, codec: int) -> bytes:
    start = wav.index(b"fmt ") + 8
    return wav[:start] + struct.pack("<H", codec) + wav[start + 2 :]


def write_ravdess(folder: Path, *, num_actors: int = 8) -> None:
    """Clips named as RAVDESS names them: of each emotion a tone, told by its pitch and by whether it rises.

    Actors differ in pitch by less than emotions do, so that who learns from some knows the others.
    """
    generator = np.random.default_rng(0)
    for actor in range(1, num_actors + 1):
        place = folder / f"Actor_{actor:02d}"
        place.mkdir(parents=True)
        for emotion in range(8):
            first_hz = 200 * 2 ** (emotion // 2) * generator.uniform(0.9, 1.1)
            num_samples = round(generator.uniform(1.0, 1.4) * RATE_HZ)
            pitch_T = np.geomspace(first_hz, first_hz * (1 + emotion % 2), num_samples)
            tone_T = 0.3 * np.sin(2 * np.pi * np.cumsum(pitch_T) / RATE_HZ)
            tone_T += 0.01 * generator.standard_normal(num_samples)
            soundfile.write(place / f"03-01-{emotion + 1:02d}-01-01-01-{actor:02d}.wav", tone_T, RATE_HZ)
