"""Whole processes with a clock beside them, and what may be said of several rounds."""

import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from ser_core.versions import package_versions

ROOT = Path(__file__).parent.parent
#: The command line of `ser`, also where the package is on the path and not installed.
SER = [sys.executable, "-c", "from jobs.start import main; main()"]
#: What else runs on the machine is looked at for so long before each round.
_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Ended:
    """A process that ended well."""

    seconds: float
    #: Processor time of it and of the processes that it waited for.
    cpu_seconds: float
    #: The JSON object that was its last line.
    answer: dict[str, Any]


def run(command: Sequence[str]) -> Ended:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed; with the last lines of what it said.
    """
    began, cpu_began = time.perf_counter(), _cpu_of_children()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds, cpu_seconds = time.perf_counter() - began, _cpu_of_children() - cpu_began
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{said}")
    return Ended(seconds, cpu_seconds, json.loads(done.stdout.splitlines()[-1]))


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class Spread:
    """The median of several values, and the least and the most of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Line:
    """What a program takes for n clips in one round: `startup` + n x `per_clip` seconds.

    Of two whole processes that score few and many clips, the difference is the steady state: what begins and ends a run
    is in both. It is the same for every program, also for those that commit nothing before their end; and what grows
    with the clips is in it wherever it is done (listing, commits, joining of parts). A commit's timestamp would leave
    that out, and only one of the programs has any.
    """

    startup: float
    per_clip: float
    #: Processor time; it hardly changes where the machine has other work too, of which all others are full.
    cpu_per_clip: float

    @classmethod
    def through(cls, few: tuple[int, float, float], many: tuple[int, float, float]) -> "Line":
        """Through two points, of clips, seconds and seconds of processor time.

        Raises:
            ValueError: more clips took no longer.
        """
        num_clips = many[0] - few[0]
        per_clip, cpu_per_clip = (many[1] - few[1]) / num_clips, (many[2] - few[2]) / num_clips
        if per_clip <= 0:
            raise ValueError(
                f"{many[0]} clips took {many[1]:.2f} s and {few[0]} took {few[1]:.2f} s: the machine is too busy, or "
                "the sizes are too close; give more --seconds, or others as --clips"
            )
        return cls(few[1] - few[0] * per_clip, per_clip, cpu_per_clip)


def others() -> dict[str, float]:
    """What the machine does while this process waits: the share of all cores that is busy, and the load averages.

    What processes used says it; /proc/stat says 0 on some virtual machines.
    """
    began, before = time.perf_counter(), _used_by_processes()
    time.sleep(_LOOK_SECONDS)
    after, seconds = _used_by_processes(), time.perf_counter() - began
    used = sum(after[process] - before[process] for process in after.keys() & before.keys())
    busy = used / seconds / len(os.sched_getaffinity(0))
    one, five, fifteen = os.getloadavg()
    return {"busy": round(busy, 3), "load_1": round(one, 2), "load_5": round(five, 2), "load_15": round(fifteen, 2)}


def _used_by_processes() -> dict[int, float]:
    """Seconds of processor time of each process, by its number."""
    used: dict[int, float] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            times = process.cpu_times()
            used[process.pid] = times.user + times.system
    return used


def machine() -> dict[str, Any]:
    """What is measured on; no names."""
    gpus: list[str] = []
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        gpus = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split("\n")[:-1]
    words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split() if sys.platform == "linux" else []
    flags = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if flag in words]
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "flags": flags,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpus": gpus,
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Of Python, of packages, and of this checkout."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    # History is written by benchmarks themselves.
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/history.jsonl")
    return package_versions() | {"commit": commit + ("+changes" if changed else "")}


def add_to_history(file: Path, benchmark: str, beside: dict[str, float], found: dict[str, Any]) -> None:
    """Add a line with what was found, on which machine and with which versions; `beside` is what `others` said."""
    line = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"), "benchmark": benchmark, "machine": machine(),
        "versions": versions(), "others": [beside], **found,
    }  # fmt: skip
    with file.open("a", encoding="utf-8") as history:
        history.write(json.dumps(line) + "\n")


def _cpu_name() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or ("" if words[0] == "status" else "unknown")
