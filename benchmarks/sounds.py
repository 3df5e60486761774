"""Sounds that are made, not recorded, for benchmarks/speech_detection.py: noise, tones, music, bands, whispers."""

from collections.abc import Sequence

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy import signal

Samples = NDArray[np.float32]
RATE_HZ = 16_000


def level(pcm_T: Samples, dbfs: float) -> Samples:
    """The same at this RMS level."""
    rms = np.sqrt(np.square(pcm_T, dtype=np.float64).mean())
    return (pcm_T * (10 ** (dbfs / 20) / max(rms, 1e-12))).astype(np.float32)


def coloured(num_samples: int, exponent: float, rng: np.random.Generator) -> Samples:
    """Noise whose power falls as 1 / f ** exponent: 0 is white, 1 is pink, 2 is brown."""
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    frequency = np.maximum(np.fft.rfftfreq(num_samples, 1 / RATE_HZ), 20.0)
    return np.fft.irfft(spectrum / frequency ** (exponent / 2), num_samples).astype(np.float32)


def tones(num_samples: int, hz_and_gain: dict[float, float]) -> Samples:
    t = np.arange(num_samples) / RATE_HZ
    return sum(gain * np.sin(2 * np.pi * hz * t) for hz, gain in hz_and_gain.items()).astype(np.float32)


def cadence(pcm_T: Samples, on_seconds: float, off_seconds: float) -> Samples:
    t = np.arange(len(pcm_T)) / RATE_HZ
    return (pcm_T * (t % (on_seconds + off_seconds) < on_seconds)).astype(np.float32)


def dtmf(num_samples: int, rng: np.random.Generator) -> Samples:
    rows, columns = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
    keys = [
        np.concatenate([tones(1_600, {rng.choice(rows): 1.0, rng.choice(columns): 1.0}), np.zeros(1_600, np.float32)])
        for _ in range(num_samples // 3_200 + 1)
    ]
    return np.concatenate(keys)[:num_samples]


def siren(num_samples: int) -> Samples:
    """Up and down between 500 and 1,500 Hz in four seconds, with harmonics."""
    t = np.arange(num_samples) / RATE_HZ
    phase = 2 * np.pi * np.cumsum(1_000 - 500 * np.cos(2 * np.pi * t / 4)) / RATE_HZ
    return sum(np.sin(k * phase) / k for k in range(1, 5)).astype(np.float32)


def music(num_samples: int, rng: np.random.Generator, *, parts: str) -> Samples:
    """Synthetic: a melody and chords of decaying harmonics, and drums, at 110 beats a minute; `parts` names which."""
    beat = round(RATE_HZ * 60 / 110)
    out = np.zeros(num_samples + 4 * beat, np.float64)

    def note(start: int, midi: float, length: int, gain: float) -> None:
        t = np.arange(length) / RATE_HZ
        hz = 440 * 2 ** ((midi - 69) / 12) * (1 + 0.004 * np.sin(2 * np.pi * 5.5 * t))
        phase = 2 * np.pi * np.cumsum(hz) / RATE_HZ
        wave = sum(np.sin(k * phase) / k**1.5 for k in range(1, 9))
        out[start : start + length] += gain * wave * np.minimum(1, t / 0.02) * np.exp(-2.0 * t)

    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12])
    for index, start in enumerate(range(0, num_samples, beat)):
        if "m" in parts:
            for half in range(2):
                note(start + half * beat // 2, 64 + rng.choice(scale), beat, 1.0)
        if "c" in parts and index % 4 == 0:
            for step in (0, 4, 7, 12):
                note(start, 48 + rng.choice((0, 5, 7, 9)) + step, 4 * beat, 0.7)
        if "d" in parts:
            t = np.arange(beat // 2) / RATE_HZ
            out[start : start + len(t)] += 3 * np.sin(2 * np.pi * 55 * t + 8 * np.exp(-30 * t)) * np.exp(-12 * t)
            hat = rng.standard_normal(len(t)) * np.exp(-(40 if index % 2 else 15) * t)
            out[start + beat // 2 : start + beat // 2 + len(t)] += hat
    return out[:num_samples].astype(np.float32)


def strings(num_samples: int, rng: np.random.Generator) -> Samples:
    """Bowed: notes that glide into each other, with vibrato of 5 to 6.3 Hz; another instrument every ten seconds."""
    size, out = 10 * RATE_HZ, []
    t = np.arange(size) / RATE_HZ
    for _ in range(0, num_samples, size):
        starts = np.cumsum(rng.uniform(0.15, rng.choice((0.5, 1.0, 1.5)), 100))
        note, glide = np.searchsorted(starts, t), round(rng.uniform(0.03, 0.3) * RATE_HZ)
        midi = np.pad(rng.integers(40, 66) + rng.integers(0, 12, 101)[note], glide, "edge")
        midi = np.convolve(midi, np.ones(glide) / glide, "same")[glide:-glide]
        midi += rng.uniform(0.3, 1.2) * np.sin(2 * np.pi * rng.uniform(5, 6.3) * t)
        hz = 440 * 2 ** ((midi - 69) / 12)
        phase, tilt, harmonics = 2 * np.pi * np.cumsum(hz) / RATE_HZ, rng.uniform(0.5, 2), rng.choice((3, 6, 12, 20))
        wave = sum((k * hz < 7_500) * np.sin(k * phase) / k**tilt for k in range(1, harmonics + 1))
        bow = np.minimum(t - np.concatenate([[0], starts])[note], starts[note] - t)
        out.append(level((wave * np.clip(bow / 0.03, 0, 1)).astype(np.float32), -20))
    return np.concatenate(out)[:num_samples]


def made(seconds: float, rng: np.random.Generator) -> dict[str, Samples]:
    """What is not speech, by name, at -20 dBFS unless it says otherwise."""
    n = round(seconds * RATE_HZ)
    noises = {"white noise": 0.0, "pink noise": 1.0, "brown noise": 2.0}
    sounds = {name: coloured(n, exponent, rng) for name, exponent in noises.items()}
    sounds |= {
        "hum of 50 Hz": tones(n, {50: 1.0, 100: 0.5, 150: 0.25}),
        "hum of 60 Hz": tones(n, {60: 1.0, 120: 0.5, 180: 0.25}),
        "tone of 440 Hz": tones(n, {440: 1.0}),
        "tone of 1 kHz": tones(n, {1000: 1.0}),
        "sweep 100 Hz to 4 kHz": signal.chirp(np.arange(n) / RATE_HZ % 5, 100, 5, 4_000).astype(np.float32),
        "siren": siren(n),
        "DTMF": dtmf(n, rng),
        "dial tone": tones(n, {350: 1.0, 440: 1.0}),
        "ring tone, American": cadence(tones(n, {440: 1.0, 480: 1.0}), 2, 4),
        "ring tone, European": cadence(tones(n, {425: 1.0}), 1, 4),
        "busy tone": cadence(tones(n, {480: 1.0, 620: 1.0}), 0.5, 0.5),
        "chords": music(n, rng, parts="c"),
        "melody": music(n, rng, parts="m"),
        "drums": music(n, rng, parts="d"),
        "melody, chords and drums": music(n, rng, parts="mcd"),
        "strings: vibrato and glides": strings(n, rng),
    }
    sounds = {name: level(pcm_T, -20) for name, pcm_T in sounds.items()}
    sounds["white noise at -60 dBFS"] = level(sounds["white noise"], -60)
    sounds["pink noise at -60 dBFS"] = level(sounds["pink noise"], -60)
    sounds["rounding of 16 bits"] = (rng.integers(-1, 2, n) / 32_768).astype(np.float32)
    sounds["zeros"] = np.zeros(n, np.float32)
    return sounds


def band(pcm_T: Samples, low_hz: float, high_hz: float) -> Samples:
    return signal.sosfiltfilt(signal.butter(4, (low_hz, high_hz), "band", fs=RATE_HZ, output="sos"), pcm_T).astype(
        np.float32
    )


def telephone(pcm_T: Samples) -> Samples:
    """300 to 3400 Hz, 8 kHz, mu-law of 8 bits."""
    narrow = soxr.resample(band(pcm_T, 300, 3_400), RATE_HZ, 8_000)
    narrow *= 0.5 / max(np.abs(narrow).max(), 1e-9)
    code = np.round(np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256) * 127) / 127
    linear = np.sign(code) * (256 ** np.abs(code) - 1) / 255
    return soxr.resample(linear, 8_000, RATE_HZ)[: len(pcm_T)].astype(np.float32)


def whispered(pcm_T: Samples, rng: np.random.Generator) -> Samples:
    """A made whisper: the filter of linear prediction (order 18, frames of 32 ms) of speech, driven by noise."""
    import librosa

    size, hop = 512, 256
    window = signal.windows.hann(size, sym=False)
    padded = np.pad(pcm_T, size).astype(np.float64)
    out = np.zeros(len(padded))
    for start in range(0, len(padded) - size, hop):
        frame = padded[start : start + size] * window
        if np.square(frame).mean() < 1e-12:
            continue
        coefficients = librosa.lpc(frame + 1e-7 * rng.standard_normal(size), order=18)
        gain = np.sqrt(np.square(signal.lfilter(coefficients, [1.0], frame)).mean())
        excitation = signal.lfilter([1.0, -0.7], [1.0], rng.standard_normal(size))
        out[start : start + size] += signal.lfilter([1.0], coefficients, excitation * gain) * window
    return out[size : size + len(pcm_T)].astype(np.float32)


def mixed(pcm_T: Samples, noise_T: Samples, snr_db: float) -> Samples:
    """Speech with noise so far below its own RMS level."""
    rms = np.sqrt(np.square(pcm_T, dtype=np.float64).mean())
    return pcm_T + level(noise_T[: len(pcm_T)], 20 * np.log10(max(rms, 1e-9)) - snr_db)


def babble(clips: Sequence[Samples], num_samples: int, rng: np.random.Generator) -> Samples:
    voices = [np.concatenate([level(clips[i], -20) for i in rng.permutation(len(clips))]) for _ in range(8)]
    return level(sum(np.resize(voice, num_samples) for voice in voices), -20)


def rounded(pcm_T: Samples) -> Samples:
    return (np.round(pcm_T * 32_768) / 32_768).astype(np.float32)
