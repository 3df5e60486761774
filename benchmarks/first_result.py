"""Seconds until the first result of `ser score` is committed, from the start of the command.

    python -m benchmarks.first_result [--data FOLDER] [--models compact] [--engines local ray] [--files 1000]
        [--commit-seconds 1] [--rounds 3]

A result is committed when an entry of the files table's log names a part; the time is that entry's. One line for each
model and engine: the seconds of every round, the least first, and those of the whole command.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.clips import find_clips, lay_out
from benchmarks.measuring import SER, run


def first_commit(output: Path) -> float:
    """When the files of the first part were committed, in seconds since the epoch.

    Raises:
        FileNotFoundError: nothing was.
    """
    for entry in sorted((output / "files" / "_delta_log").glob("*.json")):
        if any("add" in json.loads(action) for action in entry.read_text(encoding="utf-8").splitlines()):
            return entry.stat().st_mtime
    raise FileNotFoundError(f"{output}: no part was committed")


def measure(source: Path, output: Path, model: str, engine: str, commit_seconds: float) -> tuple[float, float]:
    """Seconds to the first commit, and to the end."""
    shutil.rmtree(output, ignore_errors=True)
    options = ["--model", model, "--engine", engine, "--commit-seconds", f"{commit_seconds:g}"]
    began = time.time()
    ended = run([*SER, "score", str(source), str(output), *options, "--output-mode", "json", "--quiet"])
    return first_commit(output) - began, ended.seconds


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--models", nargs="+", default=["compact"])
    parser.add_argument("--engines", nargs="+", choices=["local", "ray"], default=["local", "ray"])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--commit-seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        source = lay_out(find_clips(options.data and options.data.resolve(), work), options.files, work / "clips")
        for model in options.models:
            for engine in options.engines:
                rounds = sorted(
                    measure(source, work / "output", model, engine, options.commit_seconds)
                    for _ in range(options.rounds)
                )
                first = ", ".join(f"{seconds:.2f}" for seconds, _ in rounds)
                whole = ", ".join(f"{seconds:.2f}" for _, seconds in rounds)
                print(f"{model}, {engine}: first result after {first} s, all {options.files} files after {whole} s")


if __name__ == "__main__":
    main()
