"""What `ser search` costs: seconds, processor time and memory of the command, on outputs of few and of many windows.

    python -m benchmarks.search [--models compact whisper-bilstm] [--windows 100000] [--rounds 3]

The outputs are made of random embeddings, as no archive of that size is at hand: random values are the least that
compression can do with. What both outputs take (Python, torch, the model, the recording) is the command's start-up; the
difference is the search.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.measuring import SER
from ser_core.models import Artifact
from ser_core.storage import Location
from ser_core.tables import Fingerprint, Output

_RECORDING = Path(__file__).parent.parent / "examples" / "sad-woman.flac"
_FEW_WINDOWS = 1_000
_WINDOWS_PER_FILE, _FILES_PER_COMMIT = 20, 250
#: Runs a command; the last line of standard error is what it took: the child of a process that has little memory
#: itself, which a child is charged with while it begins.
_MEASURE = """
import resource, subprocess, sys, time
began = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
seconds, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
print(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
sys.exit(done.returncode)
"""


@dataclass(frozen=True)
class Cost:
    """What one command took."""

    seconds: float
    cpu_seconds: float
    megabytes: float


def write_output(folder: Path, model: str, num_windows: int) -> Path:
    """An output of a model with random embeddings, in files of twenty windows."""
    artifact = Artifact.load(model)
    seconds = artifact.config.window_seconds
    made_with = Fingerprint(
        source="/archive", glob=None, model=artifact.identity, channels="mix", window_seconds=seconds,
        hop_seconds=seconds, precision="bf16", speech="on", min_speech_seconds=0.3,
        embeddings=artifact.encoder.identity,
    )  # fmt: skip
    labels = artifact.config.labels
    run = Output(Location(str(folder))).open().begin(made_with, labels, on_event=lambda _: None)
    num_files = num_windows // _WINDOWS_PER_FILE
    for first in range(0, num_files, _FILES_PER_COMMIT):
        files = np.arange(first, min(num_files, first + _FILES_PER_COMMIT))
        run.commit(*_rows(files, labels, seconds, artifact.encoder.num_values))
    run.finish({})
    return folder


def _rows(
    files: np.ndarray, labels: tuple[str, ...], window_seconds: float, num_values: int
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Predictions, files and embeddings of these files."""
    generator = np.random.default_rng(int(files[0]))
    index_W = np.tile(np.arange(_WINDOWS_PER_FILE), len(files))
    paths = [f"{number // 1000:04}/{number:08}.wav" for number in files.tolist()]

    def rows(paths: list[str], more: dict[str, object]) -> pa.Table:
        num_rows = len(paths)
        said = {
            f"{prefix}{label}": np.full(num_rows, 1 / len(labels), np.float32)
            for label in labels
            for prefix in ("p_", "share_")
        }
        key = {"path": paths, "channel": np.full(num_rows, -1, np.int32), "file_version": ["1"] * num_rows}
        best = {"emotion": [labels[0]] * num_rows, "confidence": said[f"p_{labels[0]}"]}
        return pa.table(key | said | best | more)

    of_windows = [path for path in paths for _ in range(_WINDOWS_PER_FILE)]
    num_rows = len(of_windows)
    starts = index_W * window_seconds
    predictions = rows(
        of_windows,
        {
            "window_index": index_W, "start_seconds": starts, "end_seconds": starts + window_seconds,
            "level_dbfs": np.full(num_rows, -20, np.float32), "speech_share": np.ones(num_rows, np.float32),
            "model": ["random"] * num_rows,
        },
    )  # fmt: skip
    seconds = np.full(len(paths), _WINDOWS_PER_FILE * window_seconds)
    of_files = rows(
        paths,
        {
            "modified": pa.nulls(len(paths), pa.timestamp("us", "UTC")), "status": ["scored"] * len(paths),
            "num_windows": np.full(len(paths), _WINDOWS_PER_FILE), "audio_seconds": seconds, "speech_seconds": seconds,
            "gaps": [[]] * len(paths), "reason": pa.nulls(len(paths), pa.string()),
            "detail": pa.nulls(len(paths), pa.string()), "retryable": [False] * len(paths),
            "run": np.ones(len(paths), np.int64),
        },
    )  # fmt: skip
    values = generator.standard_normal(num_rows * num_values, np.float32).astype(np.float16)
    offsets = pa.array(np.arange(num_rows + 1) * num_values, pa.int32())
    embeddings = predictions.select(["path", "channel", "window_index", "file_version"])
    return predictions, of_files, embeddings.append_column("embedding", pa.ListArray.from_arrays(offsets, values))


def search(output: Path, model: str) -> Cost:
    """One search, in a process of its own."""
    command = [*SER, "search", str(output), str(_RECORDING), "--model", model]
    done = subprocess.run([sys.executable, "-c", _MEASURE, *command], check=True, capture_output=True, text=True)
    seconds, cpu_seconds, kilobytes = map(float, done.stderr.splitlines()[-1].split())
    return Cost(seconds, cpu_seconds, kilobytes * 1024 / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["compact", "whisper-bilstm"])
    parser.add_argument("--windows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, help="a folder for the outputs, which stay there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        for model in arguments.models:
            sizes = (_FEW_WINDOWS, arguments.windows)
            outputs = [work / f"{Path(model).name}-{size}" for size in sizes]
            for output, size in zip(outputs, sizes, strict=True):
                if not output.exists():
                    write_output(output, model, size)
            rounds = [[search(output, model) for output in outputs] for _ in range(arguments.rounds)]
            for size, costs in zip(sizes, zip(*rounds, strict=True), strict=True):
                medians = [statistics.median(getattr(cost, name) for cost in costs) for name in Cost.__annotations__]
                print(
                    f"{model:<16}{size:>9} windows: {medians[0]:6.2f} s, {medians[1]:6.2f} s of processor time, "
                    f"{medians[2]:5.0f} MB of memory"
                )


if __name__ == "__main__":
    main()
