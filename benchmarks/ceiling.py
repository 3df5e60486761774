"""The limit that a machine sets: each part of scoring alone, in the best setting of a sweep, and what they imply."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.measuring import run

PARTS = ("decode", "features", "network")


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
            tried: list[tuple[float, dict[str, Any]]] = []
            for processes in [1] if subject.where(part) == "cuda" else sorted({1, cores}):
                for precision in precisions if part == "network" else precisions[:1]:
                    setting = {"processes": processes, "threads": cores // processes, "precision": precision}
                    rates = _rates(part, subject, setting, sizes if part != "decode" else (8,))
                    tried += [(rate, {**setting, "batch-sizes": size}) for size, rate in rates.items()]
            for rate, setting in tried:
                say(f"limit of {part}: {setting}: {rate:.1f}/s")
            best[part] = max(tried, key=lambda one: one[0])[1]
        return cls(subject, best)

    def measure(self) -> dict[str, float]:
        """Clips a second of each part in its best setting, and of all of them together (`all`).

        On CPUs the parts share the cores, so their times add up; a GPU works beside them.
        """
        rates: dict[str, float] = {}
        for part in PARTS:
            setting = dict(self.settings[part])
            size = setting.pop("batch-sizes")
            [rate] = _rates(part, self.subject, setting, (size,)).values()
            rates[part] = rate if part == "decode" else rate / self.subject.windows_per_clip
        on_cpus = 1 / (1 / rates["decode"] + 1 / rates["features"])
        is_beside = self.subject.device == "cuda"
        together = min(on_cpus, rates["network"]) if is_beside else 1 / (1 / on_cpus + 1 / rates["network"])
        return rates | {"all": together}


def _rates(part: str, subject: Subject, setting: Mapping[str, Any], sizes: tuple[int, ...]) -> dict[int, float]:
    """What a part does in a second, by the size of its batches."""
    options = [word for name, value in setting.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "benchmarks.limits", part, subject.folder, "--model", subject.model]
    batches = ["--batch-sizes", *map(str, sizes), "--seconds", str(subject.seconds)]
    answer = run([*command, "--device", subject.where(part), *options, *batches]).answer
    return {int(size): rate for size, rate in answer.items()}
