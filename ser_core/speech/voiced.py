"""Voices without words: how long a window has a pitch that glides, as it does in laughter, cries and shouts.

Shape letters: T samples of a window, N frames or the changes from one to the next, L lags.
"""

import numpy as np
from numpy.typing import NDArray

_FRAME_SAMPLES = 1024
_HOP_SAMPLES = 512
_N_FFT = 2048
_LEAST_HZ, _MOST_HZ = 60.0, 1000.0
#: What is below is not looked at: mains hum is voiced too.
_HIGH_PASS_HZ = 80.0
#: A frame is voiced if its autocorrelation comes to so much of its power, and it is not so far below the loudest.
_LEAST_PERIODICITY = 0.6
_RANGE_DB = 25.0
#: Semitones from one frame to the next: less is a note that is held, more is another note.
_GLIDE_SEMITONES = (0.25, 3.0)
_LEAST_GLIDE_SECONDS = 0.2
#: It must glide for so much of the time that it is held.
_GLIDING_TO_HELD = 0.8
#: Hops from one turn of the pitch to the next in vibrato of 4 to 8 Hz, which turns so most of the time; a voice without
#: words does not. Fewer turns than these say nothing.
_VIBRATO_HOPS = (2, 4)
_VIBRATO_SHARE, _LEAST_TURNS = 0.7, 8


def gliding_seconds(pcm_T: NDArray[np.float32], rate_hz: int) -> float:
    """Seconds that are voiced, where the pitch glides for 0.2 s and for four fifths of the time it is held; or 0.0.

    Most instruments hold their notes and step from one to the next, a voice that does not sing does neither. Bowed
    strings glide as it does, but for their vibrato, which is looked for. The pitch is the first high maximum of each
    frame's autocorrelation, divided by its window's (Boersma 1993, "Accurate short-term analysis of the fundamental
    frequency").

    Args:
        pcm_T: the samples of a window, without their mean.
        rate_hz: their rate.
    """
    if len(pcm_T) < _FRAME_SAMPLES:
        return 0.0
    frames_NS = np.lib.stride_tricks.sliding_window_view(pcm_T, _FRAME_SAMPLES)[::_HOP_SAMPLES]
    periodicity_N, pitch_N = _pitch(frames_NS, rate_hz)
    power_N = np.square(frames_NS).mean(axis=1)
    is_voiced_N = (periodicity_N > _LEAST_PERIODICITY) & (power_N > power_N.max() * 10 ** (-_RANGE_DB / 10))
    change_N = 12 * np.diff(np.log2(pitch_N))
    held, step = _GLIDE_SEMITONES
    is_smooth_N = is_voiced_N[1:] & is_voiced_N[:-1] & (np.abs(change_N) < step)
    hop_seconds = _HOP_SAMPLES / rate_hz
    num_gliding = int((np.abs(change_N[is_smooth_N]) > held).sum())
    num_held = int(is_smooth_N.sum()) - num_gliding
    if num_gliding <= _GLIDING_TO_HELD * num_held or num_gliding * hop_seconds < _LEAST_GLIDE_SECONDS:
        return 0.0
    return 0.0 if _is_vibrato(change_N, is_smooth_N) else float(is_voiced_N.sum()) * hop_seconds


def _is_vibrato(change_N: NDArray[np.float64], is_smooth_N: NDArray[np.bool_]) -> bool:
    """Whether the pitch, of which the changes are given, turns as regularly as a finger on a string."""
    is_rise_N = change_N > 0
    turns = np.flatnonzero(is_smooth_N[1:] & is_smooth_N[:-1] & (is_rise_N[1:] != is_rise_N[:-1]))
    run_of_turns = np.cumsum(~is_smooth_N)[turns]
    hops = np.diff(turns)[run_of_turns[1:] == run_of_turns[:-1]]
    low, high = _VIBRATO_HOPS
    return len(hops) >= _LEAST_TURNS and float(((hops >= low) & (hops <= high)).mean()) > _VIBRATO_SHARE


def _pitch(frames_NS: NDArray[np.float32], rate_hz: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How periodic each frame is, (N,), at most some 1, and at which frequency, (N,), in Hz."""
    window_S = np.hanning(_FRAME_SAMPLES)
    power_NK = np.square(np.abs(np.fft.rfft(frames_NS * window_S, _N_FFT)))
    power_NK[:, np.fft.rfftfreq(_N_FFT, 1 / rate_hz) <= _HIGH_PASS_HZ] = 0
    of_window_L = np.fft.irfft(np.square(np.abs(np.fft.rfft(window_S, _N_FFT))))
    first, last = int(rate_hz / _MOST_HZ), int(rate_hz / _LEAST_HZ) + 1
    all_NL = np.fft.irfft(power_NK)
    scale_L = of_window_L[first - 1 : last + 1] / of_window_L[0]
    correlation_NL = all_NL[:, first - 1 : last + 1] / np.maximum(all_NL[:, :1], 1e-12) / scale_L
    before_NL, middle_NL, after_NL = correlation_NL[:, :-2], correlation_NL[:, 1:-1], correlation_NL[:, 2:]
    periodicity_N = middle_NL.max(axis=1)
    is_peak_NL = (middle_NL >= 0.9 * periodicity_N[:, None]) & (middle_NL >= before_NL) & (middle_NL >= after_NL)
    lag_N = is_peak_NL.argmax(axis=1)
    rows = np.arange(len(lag_N))
    before, middle, after = before_NL[rows, lag_N], middle_NL[rows, lag_N], after_NL[rows, lag_N]
    bend = before - 2 * middle + after
    # The top of the parabola through a maximum and its neighbours.
    offset_N = np.clip((before - after) / np.where(bend < 0, 2 * bend, -1), -0.5, 0.5)
    return periodicity_N, rate_hz / (lag_N + first + offset_N)
