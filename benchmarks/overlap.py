"""What windows that overlap cost, against the same windows as files of their own.

    python -m benchmarks.overlap [--data FOLDER] [--models compact whisper-bilstm] [--windows 60 360] [--rounds 3]

Clips are joined to one recording, which is scored with a hop of a third of the window; the samples of each of its
windows are a file too, and these are scored. Each is done with few and with many windows: the difference is what a
window costs, in processor time, and the ratio of both comes out, the median of the rounds, with least and most.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.clips import find_clips
from benchmarks.measuring import SER, Spread, run
from ser_core.models import Artifact, bundled_names

RATE_HZ = 48_000


def write_sources(clips: list[Path], num_windows: int, window_seconds: float, folder: Path) -> tuple[Path, Path]:
    """Folders with one recording of so many windows a third of a window apart, and with a file for each of them."""
    hop, length = round(window_seconds / 3 * RATE_HZ), round(window_seconds * RATE_HZ)
    # Those at the end are shorter, as they are in every recording.
    num_samples, parts = hop * num_windows, []
    while sum(map(len, parts)) < num_samples:
        pcm_TC, rate_hz = soundfile.read(clips[len(parts) % len(clips)], dtype="int16", always_2d=True)
        if rate_hz == RATE_HZ:
            parts.append(pcm_TC[:, 0])
    pcm_T = np.concatenate(parts)[:num_samples]
    whole, apart = folder / f"whole {num_windows}", folder / f"apart {num_windows}"
    for place in (whole, apart):
        place.mkdir(parents=True)
    soundfile.write(whole / "recording.flac", pcm_T, RATE_HZ)
    for window in range(num_windows):
        soundfile.write(apart / f"{window:05}.flac", pcm_T[window * hop : window * hop + length], RATE_HZ)
    return whole, apart


def cpu_seconds(source: Path, output: Path, model: str, num_windows: int, *options: str) -> float:
    """Processor time of scoring; the number of windows is looked at."""
    shared = ["--engine", "local", "--speech", "all", "--adapt", "none", "--output-mode", "json", "--quiet"]
    ended = run([*SER, "score", str(source), str(output), "--model", model, *shared, *options])
    if ended.answer["windows"] != num_windows:
        raise RuntimeError(f"{source} has {ended.answer['windows']} windows instead of {num_windows}")
    return ended.cpu_seconds


def measure(model: str, clips: list[Path], sizes: tuple[int, int], rounds: int, work: Path) -> None:
    """Print what came out of one model."""
    seconds = Artifact.load(model).windows().window_seconds
    sources = {size: write_sources(clips, size, seconds, work / model) for size in sizes}
    cost_ms: dict[str, list[float]] = {"overlapping": [], "apart": []}
    for number in range(rounds):
        for row, (name, options) in enumerate(
            [("overlapping", ["--hop-seconds", f"{seconds / 3:.6f}"]), ("apart", [])]
        ):
            few, many = (
                cpu_seconds(sources[size][row], work / f"{model} {name} {number} {size}", model, size, *options)
                for size in sizes
            )
            cost_ms[name].append(1e3 * (many - few) / (sizes[1] - sizes[0]))
            print(f"{model}, {name}: {cost_ms[name][-1]:.1f} ms a window", file=sys.stderr, flush=True)
    ratio = Spread.of([one / other for one, other in zip(cost_ms["overlapping"], cost_ms["apart"], strict=True)])
    costs = ", ".join(f"{name} {Spread.of(values).median:.1f} ms" for name, values in cost_ms.items())
    print(f"{model}: a window {costs} of processor time; {ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--models", nargs="+", default=[*bundled_names()])
    parser.add_argument("--windows", type=int, nargs=2, default=(60, 360))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        clips = find_clips(options.data and options.data.resolve(), work)
        for model in options.models:
            measure(model, clips, tuple(options.windows), options.rounds, work)


if __name__ == "__main__":
    main()
