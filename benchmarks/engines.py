"""How long `ser score` takes in this process and on Ray, best of some fresh processes each.

    python benchmarks/engines.py FOLDER [--clips 10 1200] [--models compact whisper-bilstm] [--rounds 3] [--options ...]

FOLDER holds audio files; a run scores the first so many of them, in the order of their paths. Rounds alternate between
the engines, so that what else the machine does strikes both.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SER = str(Path(sys.executable).with_name("ser"))
SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus"}
ENGINES = ("local", "ray")


def score(source: Path, output: Path, *options: str) -> tuple[float, int]:
    """Seconds of wall time of a whole process, and the windows that it scored."""
    shutil.rmtree(output, ignore_errors=True)
    began = time.perf_counter()
    done = subprocess.run(
        [SER, "score", str(source), str(output), "--output-mode", "json", "--quiet", *options],
        check=True,
        capture_output=True,
        text=True,
    )
    return time.perf_counter() - began, json.loads(done.stdout)["windows"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, nargs="+", default=[10, 1200])
    parser.add_argument("--models", nargs="+", default=["compact", "whisper-bilstm"])
    parser.add_argument("--rounds", type=int, default=3)
    arguments, options = parser.parse_known_args()
    found = sorted(file.resolve() for file in arguments.folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    print(f"| model | clips | windows | {' | '.join(f'{engine}, s' for engine in ENGINES)} | ray / local |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        source, output = Path(name) / "clips.txt", Path(name) / "out"
        for model in arguments.models:
            for num_clips in arguments.clips:
                source.write_text("".join(f"{file}\n" for file in found[:num_clips]), encoding="utf-8")
                seconds: dict[str, list[float]] = {engine: [] for engine in ENGINES}
                for _ in range(arguments.rounds):
                    for engine in ENGINES:
                        took, num_windows = score(source, output, "--model", model, "--engine", engine, *options)
                        seconds[engine].append(took)
                best = [min(seconds[engine]) for engine in ENGINES]
                figures = " | ".join(f"{one:.1f}" for one in best)
                num_scored = min(num_clips, len(found))
                print(f"| {model} | {num_scored} | {num_windows} | {figures} | {best[1] / best[0]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
