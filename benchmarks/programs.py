"""The programs that are compared, each a command; the settings that a sweep tries; and whether their answers agree."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from benchmarks.measuring import SER

#: What a sweep may choose: windows (or files) of a batch, processes that load, threads of the network.
Tuned = dict[str, int]

#: Our own rows: what they score with beyond model, precision and device. Peers look for no speech and adapt nothing.
OURS = {
    "ours": ["--engine", "local", "--speech", "all", "--adapt", "none"],
    "ours, as by default": ["--engine", "local"],
    "ours, on Ray": ["--engine", "ray", "--speech", "all", "--adapt", "none"],
}
PEERS = {"the usual script, fp32": "script", "plain PyTorch, DataLoader": "loader", "plain Ray Data": "ray"}


@dataclass(frozen=True)
class Program:
    """One row: how files become predictions."""

    name: str
    model: str
    device: str
    #: What `ser score` is given, perhaps auto; and what torch has for it, which peers take.
    precision: str
    torch_precision: str
    tuned: Tuned = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        """Whether it is `ser score`."""
        return self.name in OURS

    @property
    def counts_cpu(self) -> bool:
        """Whether its processor time is known: Ray's processes do not wait for one another."""
        return self.name not in ("ours, on Ray", "plain Ray Data")

    def command(self, source: str, output: str) -> list[str]:
        """The words that score `source`; `output` must not be there."""
        shared = ["--model", self.model, "--device", self.device]
        if self.is_ours:
            ours = ["--precision", self.precision, *OURS[self.name], "--output-mode", "json", "--quiet"]
            return [*SER, "score", source, output, *shared, *ours]
        precision = "fp32" if PEERS[self.name] == "script" else self.torch_precision
        options = [word for name, value in self.tuned.items() for word in (f"--{name}", str(value))]
        command = [sys.executable, "-m", "benchmarks.peers", PEERS[self.name], source, output]
        return [*command, *shared, "--precision", precision, *options]

    def first_settings(self, cores: int) -> Tuned:
        """What is likely good, where nothing is tried."""
        if self.is_ours:
            return {}
        is_script = PEERS[self.name] == "script"
        return {"threads": cores} if is_script else {"workers": cores, "threads": 1, "batch-size": 16}

    def settings_to_try(self, cores: int, sizes: tuple[int, ...]) -> Iterator[list[Tuned]]:
        """Settings in rounds: of each round the best is the base of the next, whose settings leave out what it found.

        Args:
            cores: of this machine.
            sizes: of batches.
        """
        several = sorted({1, cores})
        if self.name not in PEERS:
            return
        if PEERS[self.name] == "script":
            yield [{"threads": threads} for threads in several]
            return
        loaders = several if PEERS[self.name] == "loader" else [0, *several]
        middle = sizes[len(sizes) // 2]
        yield [{"workers": n, "threads": threads, "batch-size": middle} for n in loaders for threads in several]
        yield [{"batch-size": size} for size in sizes if size != middle]


@dataclass(frozen=True)
class Agreement:
    """How far a peer's predictions are from ours, over the same windows."""

    same_labels: float
    mean_difference: float


def agreement(ours: str, theirs: str, options: dict[str, Any] | None = None) -> Agreement:
    """Compare two folders of predictions.

    Args:
        ours: `OUTPUT/predictions`.
        theirs: a peer's.
        options: of pyarrow's dataset, for both.

    Raises:
        ValueError: they are of other windows.
    """
    key = ["path", "window_index"]
    tables = []
    for folder in (ours, theirs):
        table = ds.dataset(folder, format="parquet", partitioning="hive", **(options or {})).to_table()
        tables.append(table.sort_by([(name, "ascending") for name in key]))
    mine, other = tables
    for name in key:
        if mine[name].cast(other.schema.field(name).type).to_pylist() != other[name].to_pylist():
            raise ValueError(f"{theirs} has other windows than {ours}")
    same = pc.mean(pc.equal(mine["emotion"].cast(pa.string()), other["emotion"].cast(pa.string()))).as_py()
    names = [name for name in mine.column_names if name.startswith("p_")]
    differences = [pc.mean(pc.abs(pc.subtract(mine[name], other[name]))).as_py() for name in names]
    return Agreement(same, sum(differences) / len(differences))
