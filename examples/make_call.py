"""Make `call.flac` and `call.csv` again: `python examples/make_call.py`. Both speakers' clips become one call.

The woman is on the left channel (0), the man on the right (1), and a side is silent while the other speaks. The line
hisses; it rings before anybody speaks, and there is noise on it while the man waits. `call.csv` says who speaks when.
"""

import csv
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

FOLDER = Path(__file__).parent
RATE_HZ = 16_000
SIDES = ("woman", "man")
#: What is heard one after the other: the clip of an emotion on a side, or a sound on both.
TURNS = (
    ("ringing", None), ("neutral", 0), ("surprised", 1), ("angry", 1), ("calm", 0), ("noise", None), ("disgust", 1),
    ("sad", 0), ("happy", 1), ("happy", 0),
)  # fmt: skip
PAUSE_SECONDS = 0.7
HISS_RMS = 0.0001


def ringing() -> NDArray[np.float64]:
    """Two seconds of the North American ringing tone, 440 and 480 Hz, and two of silence; (T,)."""
    time_T = np.arange(4 * RATE_HZ) / RATE_HZ
    return 0.05 * (np.sin(2 * np.pi * 440 * time_T) + np.sin(2 * np.pi * 480 * time_T)) * (time_T < 2)


def noise(generator: np.random.Generator) -> NDArray[np.float64]:
    """Six seconds of noise of -35 dBFS, more of it in the lower frequencies; (T,)."""
    white_T = generator.standard_normal(6 * RATE_HZ)
    dull_T = np.convolve(white_T, 0.8 ** np.arange(40), mode="same")
    return 10 ** (-35 / 20) * dull_T / np.sqrt(np.mean(dull_T**2))


def speech_span(pcm_T: NDArray[np.float64]) -> tuple[float, float]:
    """Seconds at which a clip comes within 40 dB of its loudest 20 ms, and at which it leaves them."""
    frames_FN = pcm_T[: len(pcm_T) // 320 * 320].reshape(-1, 320)
    rms_F = np.sqrt(np.mean(frames_FN**2, axis=1))
    loud = np.flatnonzero(rms_F > 0.01 * rms_F.max())
    return loud[0] * 320 / RATE_HZ, (loud[-1] + 1) * 320 / RATE_HZ


def make_call() -> tuple[NDArray[np.float64], list[tuple[str, str, int, str, str]]]:
    """The call's samples, (T, 2), and a row of `call.csv` for each turn."""
    generator = np.random.default_rng(0)
    pieces, spoken, now_seconds = [], [], 0.0
    for name, side in TURNS:
        if side is None:
            sound_T = ringing() if name == "ringing" else noise(generator)
        else:
            clip_T, rate_hz = soundfile.read(FOLDER / f"{name}-{SIDES[side]}.flac")
            sound_T = soxr.resample(clip_T, rate_hz, RATE_HZ)
            start, end = speech_span(sound_T)
            spoken.append((f"{now_seconds + start:.2f}", f"{now_seconds + end:.2f}", side, SIDES[side], name))
        piece_TC = np.zeros((len(sound_T) + round(PAUSE_SECONDS * RATE_HZ), 2))
        piece_TC[: len(sound_T), slice(None) if side is None else [side]] = sound_T[:, None]
        pieces.append(piece_TC)
        now_seconds += len(piece_TC) / RATE_HZ
    call_TC = np.concatenate(pieces)
    return call_TC + HISS_RMS * generator.standard_normal(call_TC.shape), spoken


def main() -> None:
    call_TC, spoken = make_call()
    soundfile.write(FOLDER / "call.flac", call_TC, RATE_HZ, subtype="PCM_16", compression_level=1.0)
    with (FOLDER / "call.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("start_seconds", "end_seconds", "channel", "speaker", "emotion"))
        writer.writerows(spoken)


if __name__ == "__main__":
    main()
