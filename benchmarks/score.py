"""`ser score` beside other programs and beside what the machine allows, on the same clips in one run: `make bench`.

    python -m benchmarks.score [--data FOLDER] [--models compact whisper-bilstm MODEL_FOLDER] [--rounds 3]
        [--seconds 8 | --clips FEW MANY] [--s3 s3://bucket/prefix --endpoint URL] [--rows NAME ...] [--no-sweep]

Without --data clips are made from the examples. A Markdown table comes out, and a JSON line for each row of it goes to
--history. benchmarks/README.md says how to read both.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.ceiling import PARTS, Ceiling, Limits, Subject
from benchmarks.clips import find_clips, lay_out, upload
from benchmarks.measuring import Ended, Line, Spread, machine, others, run, versions
from benchmarks.programs import OURS, PEERS, Agreement, Program, agreement
from benchmarks.report import Row, append, markdown, row_of_lines
from ser_core.models import Artifact, bundled_names, has_bf16
from ser_core.score_config import SampleSettings

_SIZES = {"cpu": (4, 16, 64), "cuda": (64, 256, 1024)}
DEFAULT_ROWS = ["ours", "ours, as by default", *PEERS]
#: Seconds of work in the smaller of two runs, so that every process of a program has been at work.
_FEW_SECONDS = 2.0
#: Where our row adapts to the archive, so many windows are looked at first: with fewer, each clip would count twice.
_ADAPTED_WINDOWS = SampleSettings().sample_windows


def say(line: str) -> None:
    """A line for who waits; the table alone goes to standard output."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Sources:
    """Where few and many clips lie."""

    place: str
    few: str
    many: str
    num_few: int
    num_many: int


class Bench:
    """The benchmark of one model."""

    def __init__(self, model: str, options: argparse.Namespace, found: list[Path], work: Path) -> None:
        self._model, self._options, self._found, self._work = model, options, found, work
        self._num_outputs = 0
        self.identity = Artifact.load(model).identity
        self.others: list[dict[str, float]] = []
        self.clips: tuple[int, int] = (0, 0)

    def rows(self) -> list[Row]:
        """Everything, in the order of the table."""
        precision = self._options.precision
        has_it = has_bf16(self._options.device)
        in_torch = ("bf16" if has_it else "fp32") if precision == "auto" else precision
        names, device = self._options.rows, self._options.device
        programs = [Program(name, self._model, device, precision, in_torch) for name in names]
        num_sampled = min(len(self._found), 64)
        sample = str(lay_out(self._found, num_sampled, self._work / "sample"))
        subject = Subject(
            folder=sample,
            windows_per_clip=self._run(programs[0], sample).answer["windows"] / num_sampled,
            model=self._model,
            device=self._options.device,
            seconds=self._options.limit_seconds,
        )
        precisions = ("fp32", "bf16") if has_it and precision == "auto" else (in_torch,)
        sizes = _SIZES[self._options.device]
        ceiling = Ceiling.of(subject, precisions=precisions, cores=self._cores, sizes=sizes, say=say)
        places = list(self._lay_out(ceiling.measure()["all"].rate))
        if self._options.no_sweep:
            programs = [replace(program, tuned=program.first_settings(self._cores)) for program in programs]
        else:
            programs = [self._tuned(program, places[0].few) for program in programs]
        rows: list[Row] = []
        for sources in places:
            rows += self._measured(programs, sources, ceiling)
        return rows

    @property
    def _cores(self) -> int:
        return len(os.sched_getaffinity(0))

    def _lay_out(self, limit: float) -> Iterator[Sources]:
        """Folders of few and many clips: given, or so that at the limit they take their seconds."""
        least = _ADAPTED_WINDOWS if "ours, as by default" in self._options.rows else 0
        few = max(self._cores * 16, least, round(_FEW_SECONDS * limit))
        sizes = self._options.clips or (few, few + round(self._options.seconds * limit))
        self.clips = few, many = sizes[0], sizes[1]
        folders = [lay_out(self._found, size, self._work / name) for name, size in (("few", few), ("many", many))]
        yield Sources("local", str(folders[0]), str(folders[1]), few, many)
        if self._options.s3:
            urls = [upload(folder, f"{self._options.s3}/{self.identity}/{folder.name}") for folder in folders]
            yield Sources("s3", urls[0], urls[1], few, many)

    def _tuned(self, program: Program, source: str) -> Program:
        """The program in the best setting of its sweep, by the rate after its first batch."""
        best = (0.0, program)
        for settings in program.settings_to_try(self._cores, _SIZES[self._options.device]):
            base = best[1]
            for setting in settings:
                candidate = replace(base, tuned=base.tuned | setting)
                rate = float(self._run(candidate, source).answer["rate"])
                say(f"{program.name}: {candidate.tuned}: {rate:.1f} windows/s")
                best = max(best, (rate, candidate), key=lambda one: one[0])
        return best[1]

    def _measured(self, programs: list[Program], sources: Sources, ceiling: Ceiling) -> list[Row]:
        lines: dict[str, list[Line]] = {program.name: [] for program in programs}
        limits: list[Limits] = []
        agreements = self._agreements(programs, sources)
        for number in range(self._options.rounds):
            self.others.append(others())
            say(f"{self._model} from {sources.place}, round {number + 1}, beside {self.others[-1]}")
            # Every second round goes backwards, so that what changes slowly strikes first and last alike.
            for program in programs[:: -1 if number % 2 else 1]:
                lines[program.name].append(self._line(program, sources))
            limits.append(ceiling.measure())
        return self._as_rows(programs, sources, ceiling, lines, limits, agreements)

    def _line(self, program: Program, sources: Sources) -> Line:
        few, many = self._run(program, sources.few), self._run(program, sources.many)
        line = Line.through(
            (sources.num_few, few.seconds, few.cpu_seconds), (sources.num_many, many.seconds, many.cpu_seconds)
        )
        say(f"{program.name}: {few.seconds:.2f} and {many.seconds:.2f} s, so {1 / line.per_clip:.1f} clips/s")
        return line

    def _agreements(self, programs: list[Program], sources: Sources) -> dict[str, Agreement]:
        """What peers answer beside what we do; this is the warm-up too, which does not count."""
        folders: dict[str, str] = {}
        for program in programs:
            output = self._work / f"answers of {program.name}"
            shutil.rmtree(output, ignore_errors=True)
            run(program.command(sources.few, str(output)))
            folders[program.name] = f"{output}/predictions" if program.is_ours else str(output)
        return {name: agreement(folders["ours"], folder) for name, folder in folders.items() if name in PEERS}

    def _run(self, program: Program, source: str) -> Ended:
        """One run into an output of its own, which is removed."""
        self._num_outputs += 1
        output = self._work / f"output {self._num_outputs}"
        ended = run(program.command(source, str(output)))
        shutil.rmtree(output)
        return ended

    def _as_rows(
        self, programs: list[Program], sources: Sources, ceiling: Ceiling, lines: dict[str, list[Line]],
        limits: list[Limits], agreements: dict[str, Agreement],
    ) -> list[Row]:  # fmt: skip
        known: dict[str, Any] = {"model": self.identity, "place": sources.place}
        rows = [
            row_of_lines(
                lines[program.name],
                lines["ours"],
                [limit["all"].rate for limit in limits],
                is_ours=program.is_ours,
                counts_cpu=program.counts_cpu,
                name=program.name,
                settings=program.tuned,
                agreement=agreements.get(program.name),
                **known,
            )
            for program in programs
        ]
        if sources.place != "local":
            return rows
        for part in (*PARTS, "all"):
            rates = Spread.of([limit[part].rate for limit in limits])
            cpu_ms = Spread.of([limit[part].cpu_ms for limit in limits])
            settings = {} if part == "all" else dict(ceiling.settings[part])
            name = "limit: all parts together" if part == "all" else f"limit: {part} alone"
            rows.append(Row(name=name, settings=settings, clips_per_second=rates, cpu_ms=cpu_ms, **known))
        return rows


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--models", nargs="+", default=[*bundled_names()])
    parser.add_argument("--rows", nargs="+", choices=[*OURS, *PEERS], default=DEFAULT_ROWS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of work at the limit, in the larger of two runs")
    parser.add_argument("--clips", type=int, nargs=2, help="sizes of the two runs, in the place of --seconds")
    parser.add_argument("--limit-seconds", type=float, default=2.0)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--no-sweep", action="store_true", help="peers have a worker a core, and batches of 16")
    parser.add_argument("--s3", help="s3://bucket/prefix that clips are copied to, to be scored from there too")
    parser.add_argument("--endpoint", help="of the S3 service")
    parser.add_argument("--work", type=Path, help="an empty folder for clips and outputs, on the disk of --data")
    parser.add_argument("--history", type=Path, default=Path(__file__).with_name("history.jsonl"))
    options = parser.parse_args(arguments)
    if "ours" not in options.rows:
        parser.error("--rows needs ours: the others are compared with it")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the table, add to the history."""
    options = parse(arguments)
    if options.endpoint:
        os.environ["AWS_ENDPOINT_URL"] = options.endpoint
    all_rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        work = Path(name)
        found = find_clips(options.data and options.data.resolve(), work)
        for number, model in enumerate(options.models):
            bench = Bench(model, options, found, work / str(number))
            rows = bench.rows()
            context = {
                "when": datetime.now(UTC).isoformat(timespec="seconds"), "benchmark": "score", "machine": machine(),
                "versions": versions(), "others": bench.others, "clips": bench.clips,
                "data": "made" if options.data is None else "given", "device": options.device,
            }  # fmt: skip
            append(options.history, rows, context)
            all_rows += rows
    print(markdown(all_rows))


if __name__ == "__main__":
    main()
