"""What the speech detector loses of speech, what it keeps of everything else, and what it costs.

    python benchmarks/speech_detection.py --speech 'ravdess=DIR/*/*.flac' 'nemo=DIR/*.opus' [--sound 'music=DIR/*.ogg']
        [--window-seconds 3 5] [--recordings 200] [--max-seconds 300] [--conditions REGEX] [--min-speech-seconds 0.3]

What is given as speech is tried as it is and in what `conditions` makes of it: noise, levels, bands, a made whisper.
Its windows with speech are those in which at least half a second is within 30 dB of the loudest 20 ms of the recording
as it is. What is given as sound is all music, or all laughter, ...: the share that is kept is said. Beside it stand the
sounds that are made here, `made`, and babble, which is speech: voices of the first corpus, eight at a time.
"""

import argparse
import glob
import re
import time
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import soundfile
import sounds
import soxr
import torch
from numpy.typing import NDArray

from ser_core.models import Artifact, Predictor, bundled_names, has_bf16
from ser_core.speech import SpeechDetector

DETECTOR = SpeechDetector()
SNRS_DB = (30, 20, 10, 5, 0)
ROUNDS = 5


def recordings(pattern: str, most: int, max_seconds: int) -> list[sounds.Samples]:
    """Up to `most` recordings, evenly out of those that fit a pattern: mono at 16 kHz, so many seconds of each."""
    files = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
    clips = []
    for index in sorted({round(place) for place in np.linspace(0, len(files) - 1, min(most, len(files)))}):
        with soundfile.SoundFile(files[index]) as file:
            pcm_TC = file.read(max_seconds * file.samplerate, dtype="float32", always_2d=True)
            clips.append(soxr.resample(pcm_TC.mean(axis=1), file.samplerate, sounds.RATE_HZ))
    return [clip for clip in clips if len(clip)]


def repeated(clips: Sequence[sounds.Samples]) -> list[sounds.Samples]:
    """Each again and again, with 0.2 s between, for 15 s: what is short but would go on."""
    pause = np.zeros(sounds.RATE_HZ // 5, np.float32)
    return [np.resize(np.concatenate([clip, pause]), 15 * sounds.RATE_HZ) for clip in clips]


def cut(pcm_T: sounds.Samples, window_seconds: float) -> tuple[sounds.Samples, NDArray[np.int64]]:
    """Windows (B, T), padded with zeros, and their lengths; a tail under half a second is dropped, as in scoring."""
    size = round(window_seconds * sounds.RATE_HZ)
    starts = [start for start in range(0, len(pcm_T), size) if start == 0 or len(pcm_T) - start >= sounds.RATE_HZ // 2]
    windows_BT = np.zeros((len(starts), size), np.float32)
    for row, start in zip(windows_BT, starts, strict=True):
        row[: len(pcm_T[start : start + size])] = pcm_T[start : start + size]
    return windows_BT, np.array([min(size, len(pcm_T) - start) for start in starts], np.int64)


def has_speech(pcm_T: sounds.Samples, window_seconds: float) -> NDArray[np.bool_]:
    """Which windows of a clean recording of speech have half a second within 30 dB of its loudest frame."""
    frame = sounds.RATE_HZ // 50
    windows_BT, _ = cut(pcm_T, window_seconds)
    power_BF = np.square(
        windows_BT[:, : windows_BT.shape[1] // frame * frame].reshape(len(windows_BT), -1, frame)
    ).mean(2)
    is_loud_BF = power_BF > 1e-3 * power_BF.max()
    many: NDArray[np.bool_] = is_loud_BF.sum(axis=1) * 0.02 >= 0.5
    return many


def conditions(
    noises: dict[str, sounds.Samples], rng: np.random.Generator
) -> dict[str, Callable[[sounds.Samples], sounds.Samples]]:
    """What is made of a recording of speech, by name."""

    def with_noise(noise_T: sounds.Samples, snr_db: float) -> Callable[[sounds.Samples], sounds.Samples]:
        return lambda pcm_T: sounds.mixed(pcm_T, noise_T[rng.integers(0, len(noise_T) - len(pcm_T)) :], snr_db)

    changes: dict[str, Callable[[sounds.Samples], sounds.Samples]] = {
        "as it is": lambda pcm_T: pcm_T,
        "telephone": sounds.telephone,
        "16 bits at -40 dBFS": lambda pcm_T: sounds.rounded(sounds.level(pcm_T, -40)),
        "16 bits at -60 dBFS": lambda pcm_T: sounds.rounded(sounds.level(pcm_T, -60)),
        "offset 0.01": lambda pcm_T: pcm_T + np.float32(0.01),
        "made whisper": lambda pcm_T: sounds.whispered(pcm_T, rng),
    }
    for gain_db in (-30, 12):
        changes[f"{gain_db:+} dB"] = lambda pcm_T, gain_db=gain_db: pcm_T * np.float32(10 ** (gain_db / 20))
    for name, noise_T in noises.items():
        changes |= {f"{name}, {snr_db} dB": with_noise(noise_T, snr_db) for snr_db in SNRS_DB}
    return changes


def table(title: str, columns: Sequence[str], rows: dict[str, list[str]]) -> None:
    print(f"\n| {title} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def is_kept(clips: Sequence[sounds.Samples], window_seconds: float, least: float) -> NDArray[np.bool_]:
    """Which windows have speech enough to be judged, all recordings one after the other."""
    windows, lengths = zip(*(cut(clip, window_seconds) for clip in clips), strict=True)
    lengths_B = np.concatenate(lengths)
    seconds_B = DETECTOR.speech_seconds(np.concatenate(windows), lengths_B)
    kept: NDArray[np.bool_] = seconds_B >= np.minimum(least, lengths_B / sounds.RATE_HZ / 2)
    return kept


def lost(
    clips: Sequence[sounds.Samples],
    change: Callable[[sounds.Samples], sounds.Samples],
    window_seconds: float,
    least: float,
) -> str:
    has = np.concatenate([has_speech(clip, window_seconds) for clip in clips])
    kept = is_kept([change(clip) for clip in clips], window_seconds, least)
    return f"{100 * (has & ~kept).sum() / has.sum():.1f} of {has.sum()}"


def rate(num_windows: int, work: Callable[[], object]) -> float:
    """Windows a second of one core, of the fastest round after one that does not count."""
    work()
    seconds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return num_windows / min(seconds)


def costs(window_seconds: float, rng: np.random.Generator) -> dict[str, list[str]]:
    """Windows a second of one core: the detector, and log-mel and network of the bundled models."""
    rows = {}
    for num_windows in (1, 16, 64):
        pcm_BT = sounds.level(
            rng.standard_normal((num_windows, round(window_seconds * sounds.RATE_HZ)), np.float32), -20
        )
        lengths_B = np.full(num_windows, pcm_BT.shape[1])
        detector = rate(num_windows, lambda: DETECTOR.speech_seconds(pcm_BT, lengths_B))  # noqa: B023
        rows[f"detector, {num_windows} a call"] = [f"{detector:.0f}"]
    pcm_BT = pcm_BT[:16]
    for name in bundled_names():
        artifact = Artifact.load(name)
        log_mel, predictor = artifact.log_mel(), Predictor(artifact, device="cpu", precision=resolve(), batch_size=16)
        with torch.inference_mode():
            mel_BFT = log_mel(torch.from_numpy(pcm_BT)).numpy()
            features = rate(16, lambda: log_mel(torch.from_numpy(pcm_BT)))  # noqa: B023
        network = rate(16, lambda: predictor.predict(mel_BFT))  # noqa: B023
        rows[f"{name}, log-mel"], rows[f"{name}, network"] = [f"{features:.0f}"], [f"{network:.0f}"]
    return rows


def resolve() -> Literal["bf16", "fp32"]:
    return "bf16" if has_bf16("cpu") else "fp32"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", nargs="+", default=[], metavar="NAME=PATTERN")
    parser.add_argument("--sound", nargs="+", default=[], metavar="NAME=PATTERN")
    parser.add_argument("--short-sound", nargs="+", default=[], metavar="NAME=PATTERN", help="repeated for 15 s")
    parser.add_argument("--window-seconds", type=float, nargs="+", default=[3.0, 5.0])
    parser.add_argument("--recordings", type=int, default=200)
    parser.add_argument("--max-seconds", type=int, default=300, help="of each recording")
    parser.add_argument("--conditions", default="", metavar="REGEX", help="what is made of speech, by name")
    parser.add_argument("--min-speech-seconds", type=float, default=0.3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    least = options.min_speech_seconds
    sizes = [f"{seconds:g} s" for seconds in options.window_seconds]

    def found(patterns: list[str]) -> dict[str, list[sounds.Samples]]:
        most = options.recordings, options.max_seconds
        return {name: recordings(pattern, *most) for name, pattern in map(_split, patterns)}

    speech = found(options.speech)
    others = {name: [pcm_T] for name, pcm_T in sounds.made(120, rng).items()}
    others |= found(options.sound)
    for name, clips in found(options.short_sound).items():
        others |= {name: clips, f"{name}, repeated": repeated(clips)}
    if speech:
        others["babble (speech)"] = [sounds.babble(next(iter(speech.values())), 120 * sounds.RATE_HZ, rng)]
    kept = {
        name: [
            f"{100 * is_kept(list(map(change, clips)), seconds, least).mean():.1f}"
            for change in (np.asarray, sounds.telephone)
            for seconds in options.window_seconds
        ]
        for name, clips in others.items()
    }
    table("% of windows kept", [*sizes, *(f"telephone, {size}" for size in sizes)], kept)
    num_samples = 2 * options.max_seconds * sounds.RATE_HZ
    noises = {
        "white noise": sounds.coloured(num_samples, 0.0, rng),
        "pink noise": sounds.coloured(num_samples, 1.0, rng),
        "hum": sounds.tones(num_samples, {50: 1.0, 100: 0.5, 150: 0.25}),
        "music": sounds.music(num_samples, rng, parts="mcd"),
    }
    for name, clips in speech.items():
        rows = {
            what: [lost(clips, change, seconds, least) for seconds in options.window_seconds]
            for what, change in conditions(noises, rng).items()
            if re.search(options.conditions, what)
        }
        table(f"{name}: % of windows with speech lost", sizes, rows)
    for seconds in options.window_seconds:
        table(f"windows of {seconds:g} s", ["a second of one core"], costs(seconds, rng))


def _split(name_and_pattern: str) -> tuple[str, str]:
    name, _, pattern = name_and_pattern.partition("=")
    return name, pattern


if __name__ == "__main__":
    main()
