"""The limit that a machine sets: each part of scoring alone, in the best setting of a sweep, and what they imply."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.measuring import run

PARTS = ("decode", "features", "network")


@dataclass(frozen=True)
class Limit:
    """What is done in a second, and milliseconds of processor time for one of it."""

    rate: float
    cpu_ms: float


#: By part, and `all`.
Limits = dict[str, Limit]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured: `network` on the device, the rest on CPUs."""

    #: The clips to decode.
    folder: str
    windows_per_clip: float
    #: Whose log-mel and network.
    model: str
    device: str
    #: For each try.
    seconds: float

    def where(self, part: str) -> str:
        """The device of a part."""
        return self.device if part == "network" else "cpu"


@dataclass(frozen=True)
class Ceiling:
    """The parts, each in its best setting."""

    subject: Subject
    settings: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(
        cls,
        subject: Subject,
        *,
        precisions: tuple[str, ...],
        cores: int,
        sizes: tuple[int, ...],
        say: Callable[[str], None],
    ) -> "Ceiling":
        """Try each part with one process of all cores and one process a core, with each batch and precision.

        Args:
            subject: what is measured.
            precisions: of torch, that the device computes in.
            cores: of this machine.
            sizes: of batches.
            say: is told of every try.
        """
        best: dict[str, dict[str, Any]] = {}
        for part in PARTS:
            tried: list[tuple[Limit, dict[str, Any]]] = []
            # One process decodes one file at a time.
            one: set[int] = set() if part == "decode" else {1}
            for processes in [1] if subject.where(part) == "cuda" else sorted(one | {cores}):
                for precision in precisions if part == "network" else precisions[:1]:
                    setting = {"processes": processes, "threads": cores // processes, "precision": precision}
                    rates = _rates(part, subject, setting, sizes if part != "decode" else (8,))
                    tried += [(limit, {**setting, "batch-sizes": size}) for size, limit in rates.items()]
            for limit, setting in tried:
                say(f"limit of {part}: {setting}: {limit.rate:.1f}/s, {limit.cpu_ms:.2f} ms each")
            best[part] = max(tried, key=lambda one: one[0].rate)[1]
        return cls(subject, best)

    def measure(self) -> Limits:
        """Of clips: each part in its best setting, and all of them together (`all`).

        On CPUs the parts share the cores, so their times add up; a GPU works beside them.
        """
        limits: Limits = {}
        for part in PARTS:
            setting = dict(self.settings[part])
            size = setting.pop("batch-sizes")
            [limit] = _rates(part, self.subject, setting, (size,)).values()
            windows = 1.0 if part == "decode" else self.subject.windows_per_clip
            limits[part] = Limit(limit.rate / windows, limit.cpu_ms * windows)
        on_cpus = 1 / (1 / limits["decode"].rate + 1 / limits["features"].rate)
        network = limits["network"].rate
        together = min(on_cpus, network) if self.subject.device == "cuda" else 1 / (1 / on_cpus + 1 / network)
        return limits | {"all": Limit(together, sum(limit.cpu_ms for limit in limits.values()))}


def _rates(part: str, subject: Subject, setting: Mapping[str, Any], sizes: tuple[int, ...]) -> dict[int, Limit]:
    """What a part does, by the size of its batches."""
    options = [word for name, value in setting.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "benchmarks.limits", part, subject.folder, "--model", subject.model]
    batches = ["--batch-sizes", *map(str, sizes), "--seconds", str(subject.seconds)]
    answer = run([*command, "--device", subject.where(part), *options, *batches]).answer
    return {int(size): Limit(**limit) for size, limit in answer.items()}
