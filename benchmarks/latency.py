"""How long a person waits: `ser --help`, `ser predict` of one clip, `ser score` of ten, best of three.

    python benchmarks/latency.py [--clips FOLDER]

Whole processes, wall time; FOLDER holds at least ten audio files (default: the examples, repeated).
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"
LIMITS_SECONDS = {"ser --help": 0.4, "ser predict, one clip": 3.0, "ser score, ten clips": 8.0}
SER = str(Path(sys.executable).with_name("ser"))


def best_of_three(command: list[str], output: Path | None = None) -> float:
    """The shortest of three runs, in seconds; `output` is removed before each."""
    seconds = []
    for _ in range(3):
        if output is not None:
            shutil.rmtree(output, ignore_errors=True)
        began = time.perf_counter()
        subprocess.run([SER, *command], check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def ten_clips(folder: Path, to: Path) -> list[Path]:
    """Ten copies of the first audio files of `folder`, repeated if there are fewer."""
    found = sorted(file for file in folder.rglob("*") if file.suffix in {".wav", ".flac"})[:10]
    chosen = [found[index % len(found)] for index in range(10)]
    return [Path(shutil.copy(file, to / f"{index}{file.suffix}")) for index, file in enumerate(chosen)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, default=EXAMPLES)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        source, output = Path(name) / "in", Path(name) / "out"
        source.mkdir()
        clips = ten_clips(arguments.clips, source)
        measured = {
            "ser --help": best_of_three(["--help"]),
            "ser predict, one clip": best_of_three(["predict", str(clips[0])]),
            "ser score, ten clips": best_of_three(["score", str(source), str(output)], output),
        }
    for what, seconds in measured.items():
        print(f"{what:<24}{seconds:6.2f} s  (limit {LIMITS_SECONDS[what]:g} s)")


if __name__ == "__main__":
    main()
