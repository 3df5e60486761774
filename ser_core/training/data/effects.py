"""What rooms, microphones and lines do to speech: small pure functions of samples, in float32.

Shape letters: S samples, K frequency bins, R samples of a room's response.

A signal keeps its length. Full scale is 1; a silent signal stays silent.
"""

import functools

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal
import soxr

Samples = npt.NDArray[np.float32]

TELEPHONE_RATE_HZ = 8_000
#: The band of a telephone line (ITU-T G.712).
TELEPHONE_BAND_HZ = (300.0, 3_400.0)
_TELEPHONE_ORDER = 4
#: The parameter mu of mu-law companding (ITU-T G.711).
_MU = 255
#: Below this, noise has no more power, or it would be all inaudible rumble.
_LEAST_NOISE_HZ = 50.0
#: Frequency at which a tilt leaves the level as it is.
_PIVOT_HZ = 1_000.0
#: Time between the direct sound and the first reverberation.
_FIRST_REFLECTION_SECONDS = 0.002


def rms(pcm_S: Samples) -> float:
    """The root mean square; 0 of no samples."""
    return float(np.sqrt(np.mean(np.square(pcm_S), dtype=np.float64))) if len(pcm_S) else 0.0


def change_speed(pcm_S: Samples, factor: float) -> Samples:
    """The signal faster and higher by a factor, or slower and lower below 1; about S / factor samples."""
    return _resample(pcm_S, factor, 1.0)


def reverberate(
    pcm_S: Samples, rt60_seconds: float, direct_db: float, rate_hz: int, rng: np.random.Generator
) -> Samples:
    """The signal in a room (see `room_response`), at the level it had."""
    response_R = room_response(rt60_seconds, direct_db, rate_hz, rng)
    wet_S = scipy.signal.fftconvolve(pcm_S, response_R)[: len(pcm_S)].astype(np.float32)
    level = rms(wet_S)
    return wet_S * np.float32(rms(pcm_S) / level) if level else pcm_S


def room_response(rt60_seconds: float, direct_db: float, rate_hz: int, rng: np.random.Generator) -> Samples:
    """A room's impulse response (R,): the direct sound, then noise that decays by 60 dB in `rt60_seconds`.

    The statistical model of late reverberation (Polack 1988). `direct_db` is the energy of the direct sound relative to
    all that follows.
    """
    num_samples = max(1, round(rt60_seconds * rate_hz))
    first = round(_FIRST_REFLECTION_SECONDS * rate_hz)
    decay_R = np.exp(np.arange(num_samples, dtype=np.float32) * np.float32(-3 * np.log(10) / num_samples))
    tail_R = rng.standard_normal(num_samples, dtype=np.float32) * decay_R
    tail_R *= np.float32(10 ** (-direct_db / 20) / np.sqrt(np.sum(np.square(tail_R))))
    return np.concatenate([np.ones(1, np.float32), np.zeros(first, np.float32), tail_R])


def add_noise(pcm_S: Samples, snr_db: float, colour: float, rate_hz: int, rng: np.random.Generator) -> Samples:
    """The signal with noise of its own (see `coloured_noise`) that much below it, both by power over all of it."""
    return mix_at_snr(pcm_S, coloured_noise(len(pcm_S), colour, rate_hz, rng), snr_db)


def mix_at_snr(pcm_S: Samples, noise_S: Samples, snr_db: float) -> Samples:
    """The signal as it is, and another one scaled to be `snr_db` below it, both by power over all of it."""
    level = rms(noise_S)
    return pcm_S + noise_S * np.float32(rms(pcm_S) / level * 10 ** (-snr_db / 20)) if level else pcm_S


def coloured_noise(num_samples: int, colour: float, rate_hz: int, rng: np.random.Generator) -> Samples:
    """Gaussian noise with a power of 1 / frequency ** colour: 0 white, 1 pink, 2 brown."""
    length = scipy.fft.next_fast_len(max(1, num_samples), real=True)
    frequency_K = np.fft.rfftfreq(length, 1 / rate_hz).astype(np.float32)
    spectrum_K = rng.standard_normal(2 * len(frequency_K), dtype=np.float32).view(np.complex64)
    spectrum_K *= np.maximum(frequency_K, np.float32(_LEAST_NOISE_HZ)) ** np.float32(-colour / 2)
    spectrum_K[0] = 0
    noise_S: Samples = scipy.fft.irfft(spectrum_K, length)[:num_samples]
    return noise_S


def tilt(pcm_S: Samples, difference_db: float, rate_hz: int) -> Samples:
    """A first-order equalizer: high frequencies `difference_db` above low ones, and 1 kHz as it was.

    H(s) = (a s + w) / (s + a w) with a ** 2 the difference and w the pivot, by the bilinear transform.
    """
    a = 10 ** (difference_db / 40)
    k = np.tan(np.pi * _PIVOT_HZ / rate_hz)
    numerator = np.array([a + k, k - a], np.float32)
    denominator = np.array([1 + a * k, a * k - 1], np.float32)
    return scipy.signal.lfilter(numerator, denominator, pcm_S).astype(np.float32, copy=False)


def lower_rate(pcm_S: Samples, low_rate_hz: float, rate_hz: int) -> Samples:
    """The signal as recorded at a lower sample rate: nothing is left above half of it."""
    low_S = _resample(pcm_S, rate_hz, low_rate_hz)
    return _fitted(_resample(low_S, low_rate_hz, rate_hz), len(pcm_S))


def telephone(pcm_S: Samples, rate_hz: int) -> Samples:
    """The signal over a telephone line: 300 to 3,400 Hz, 8 kHz, 8-bit mu-law."""
    line_S = _resample(pcm_S, rate_hz, TELEPHONE_RATE_HZ)
    if not len(line_S):
        return np.zeros_like(pcm_S)
    line_S = mu_law(scipy.signal.sosfilt(_telephone_filter(), line_S).astype(np.float32))
    return _fitted(_resample(line_S, TELEPHONE_RATE_HZ, rate_hz), len(pcm_S))


def mu_law(pcm_S: Samples) -> Samples:
    """Coded with 8 bits a sample and decoded (ITU-T G.711, its continuous formula), its peak at full scale."""
    peak = np.abs(pcm_S).max(initial=0)
    if peak == 0:
        return pcm_S
    code_S = np.rint(np.log1p(np.abs(pcm_S) * np.float32(_MU / peak)) * np.float32(127 / np.log1p(_MU)))
    decoded_S = np.expm1(code_S * np.float32(np.log1p(_MU) / 127)) * np.float32(peak / _MU)
    return np.copysign(decoded_S, pcm_S)


@functools.cache
def _telephone_filter() -> npt.NDArray[np.float32]:
    sections = scipy.signal.butter(_TELEPHONE_ORDER, TELEPHONE_BAND_HZ, "bandpass", fs=TELEPHONE_RATE_HZ, output="sos")
    return np.asarray(sections, np.float32)


def _resample(pcm_S: Samples, from_hz: float, to_hz: float) -> Samples:
    if from_hz == to_hz or not len(pcm_S):
        return pcm_S
    resampled_S: Samples = soxr.resample(pcm_S, from_hz, to_hz, quality="LQ")
    return resampled_S


def _fitted(pcm_S: Samples, num_samples: int) -> Samples:
    """Cut or zero padded at its end."""
    return np.pad(pcm_S[:num_samples], (0, max(0, num_samples - len(pcm_S))))
