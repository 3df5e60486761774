"""What millions of files cost the driver: plan, anti-join, rows and commits, compaction; and the same of a 1 % change.

    python -m benchmarks.scale [--files 1000000 10000000] [--records 128] [--work FOLDER]

There is no audio and no model: a listing gives names that are not there, and an engine hands on records of one window
as soon as it is asked; all between is what `ser score` runs. Of each step the table gives seconds, processor time
and the most memory that this process held in it. A JSON line for each number of files goes to --history.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.measuring import add_to_history, others
from cluster.driver import Driver
from cluster.resources import Hardware, Resources, plan_resources
from ser_core.records import PREDICTED_SCHEMA
from ser_core.score_config import ScoreConfig
from ser_core.source import PlannedFile, Skipped, Source, write_plan
from ser_core.storage import Location
from ser_core.tables import Fingerprint, Output, RowSettings
from ser_core.vocabulary import LABELS

T = TypeVar("T")
_MODEL = "none@000000000000"
_WINDOW_SECONDS = 3.0
_FILES_PER_FOLDER = 1_000
#: One in so many files changes.
_CHANGED_EVERY = 100


@dataclass(frozen=True)
class _Listing(Source):
    """A source that nobody has: so many names, and one in a hundred of another version than in generation 0."""

    num_files: int = 0
    generation: int = 0

    def _rows(self, exclude: Location | None, skipped: Skipped) -> Iterable[PlannedFile]:
        for index in range(self.num_files):
            version = self.generation if index % _CHANGED_EVERY == 0 else 0
            name = f"{index // _FILES_PER_FOLDER:06}/recording of a call {index:09}.wav"
            yield PlannedFile(name, 160_044, f"160044-{version}", 1_700_000_000_000_000 + index)


@dataclass
class _Engine:
    """Records of one window for each file, `records` at a time, as predictors hand them on."""

    resources: Resources
    records: int
    _values: dict[int, NDArray[np.float32]] = field(default_factory=dict)

    def run(self, pending: pa.Table, files_per_block: int) -> Iterator[pa.Table]:
        for first in range(0, pending.num_rows, self.records):
            yield self._predicted(pending.slice(first, self.records).combine_chunks())

    def _predicted(self, files: pa.Table) -> pa.Table:
        number = files.num_rows
        known: dict[str, pa.Array] = {
            **{name: files[name] for name in ("file_id", "path", "modified")},
            "file_version": files["version"],
            "channel": pa.array(np.full(number, -1)),
            "segment_index": pa.array(np.zeros(number, int)),
            "is_last": pa.array(np.ones(number, bool)),
            "audio_seconds": pa.array(np.full(number, _WINDOW_SECONDS)),
            "speech_seconds": pa.array(np.full(number, _WINDOW_SECONDS)),
            **{name: _lists(np.full(number, value), number) for name, value in _OF_WINDOWS.items()},
            "probabilities": _lists(self._probabilities(number), number),
        }
        columns = [
            known[column.name].cast(column.type)
            if column.name in known
            else pa.array([[]] * number, column.type)
            if pa.types.is_list(column.type)
            else pa.nulls(number, column.type)
            for column in PREDICTED_SCHEMA
        ]
        return pa.Table.from_arrays(columns, schema=PREDICTED_SCHEMA)

    def _probabilities(self, number: int) -> NDArray[np.float32]:
        """Of `number` files, one after the other; other ones for each block do not cost other time."""
        if number not in self._values:
            values = np.random.default_rng(0).random((number, len(LABELS)), np.float32) ** 8
            self._values[number] = (values / values.sum(axis=1, keepdims=True)).reshape(-1)
        return self._values[number]


_OF_WINDOWS: dict[str, Any] = {
    "window_index": 0,
    "end_seconds": _WINDOW_SECONDS,
    "level_dbfs": -20.0,
    "speech_share": 1.0,
    "is_judged": True,
}


def _lists(values: NDArray[Any], number: int) -> pa.ListArray:
    """So many lists of the same length."""
    offsets = np.arange(number + 1) * (len(values) // number)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))


class _Steps:
    """Seconds, processor time and peak memory of each step."""

    def __init__(self) -> None:
        self.taken: dict[str, dict[str, float]] = {}

    def take(self, name: str, work: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Do it; what it returns. Its peak counts from here on, where the system lets a process ask for that."""
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        began, cpu_began = time.perf_counter(), time.process_time()
        result = work(*arguments, **options)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
        self.taken[name] = {
            "seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2), "peak_mb": round(_peak_mb())
        }  # fmt: skip
        print(f"| {name} | {seconds:.1f} | {cpu_seconds:.1f} | {_peak_mb():.0f} |", flush=True)
        return result


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    [peak] = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(peak) / 1e3


def measure(num_files: int, records: int, work: Path) -> dict[str, dict[str, float]]:
    """All steps of two runs, the second one with 1 % of the files changed; after each a plan with nothing to do."""
    steps, output = _Steps(), Output(Location(str(work / "out")))
    engine = _Engine(plan_resources(ScoreConfig(), Hardware(cpus=2, gpus=0)), records)
    for generation, name in enumerate(("first run", "1 % changed")):
        plan = work / f"plan {generation}.parquet"
        source = _Listing("folder", Location("/"), None, "", num_files, generation)
        steps.take(f"{name}: listing and plan", write_plan, source, plan, exclude=None)
        _run(steps, name, output, plan, engine, num_files)
    return steps.taken


def _run(steps: _Steps, name: str, output: Output, plan: Path, engine: _Engine, num_files: int) -> None:
    settings = Fingerprint(
        source="none", glob=None, model=_MODEL, channels="mix", window_seconds=_WINDOW_SECONDS,
        hop_seconds=_WINDOW_SECONDS, precision="fp32", speech="on", min_speech_seconds=0.3,
    )  # fmt: skip
    run = output.open().begin(settings, LABELS, on_event=print)
    compared = steps.take(f"{name}: anti-join, stale rows removed", run.remove_stale, plan, prune=False)
    rows = RowSettings(labels=LABELS, model=_MODEL, hop_seconds=_WINDOW_SECONDS, run_number=run.number)
    driver = Driver(run, engine, rows, commit_seconds=30, max_failure_rate=1.0, on_warning=print)
    pending = compared.num_pending
    steps.take(f"{name}: rows and commits of {pending:,} files", driver.score, plan, pending)
    tally, _ = steps.take(f"{name}: counting", run.tally, plan)
    steps.take(f"{name}: compaction", run.finish, {})
    if tally.scored != num_files:
        raise RuntimeError(f"{tally.scored} of {num_files} files are scored")
    steps.take(f"{name}, again: anti-join", output.open().compare, plan)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--records", type=int, default=128, help="that an engine hands on at a time")
    parser.add_argument("--work", type=Path, help="a folder with room: some 150 bytes a file")
    parser.add_argument("--history", type=Path, default=Path(__file__).with_name("history.jsonl"))
    options = parser.parse_args(arguments)
    for num_files in options.files:
        beside = others()
        print(f"\n| {num_files:,} files | seconds | CPU seconds | peak, MB |\n|---|---|---|---|")
        with tempfile.TemporaryDirectory(dir=options.work) as work:
            steps = measure(num_files, options.records, Path(work))
        found = {"files": num_files, "records": options.records, "steps": steps}
        add_to_history(options.history, "scale", beside, found)


if __name__ == "__main__":
    main()
