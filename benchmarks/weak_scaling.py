"""Whether twice the nodes score twice the files: a Ray cluster of simulated nodes, each file a sleep.

    python -m benchmarks.weak_scaling [--nodes 1 2 4] [--files 200 1000] [--sleep-seconds 0.1] [--rounds 3]

Nodes are raylets of this machine, of four made-up CPUs each. The machine's own cores are too few to decode and predict
for so many, so a file is a tenth of a second of silence, for which its loader sleeps first (`sleeping_worker.py`);
all else is what `ser score` does: listing, plan, Ray Data, actors, blocks, commits. What is measured is what of a
loader's time is not sleep, and whether that grows with the nodes. Files a second are the steady state, as in
`benchmarks.score`: the difference of two runs, of few and of many files a node. A JSON line goes to --history.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.clips import lay_out
from benchmarks.measuring import Line, Spread, add_to_history, others, run
from benchmarks.sleeping_worker import SLEEP_SECONDS
from cluster.resources import Hardware, plan_resources
from ser_core.score_config import ScoreConfig

_CPUS_PER_NODE = 4
_RATE_HZ = 8_000
_SER = ["-m", "benchmarks.sleeping_worker"]


@contextmanager
def simulated_cluster(num_nodes: int) -> Iterator[str]:
    """A cluster of this machine with so many nodes; its address."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": _CPUS_PER_NODE, "object_store_memory": 256 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    try:
        for _ in range(num_nodes - 1):
            cluster.add_node(**node)
        cluster.wait_for_nodes()
        yield cluster.address
    finally:
        cluster.shutdown()


def measure(num_nodes: int, files_per_node: Sequence[int], work: Path) -> Line:
    """Few and many files on as many nodes."""
    (work / "silence").mkdir()
    silence = work / "silence" / "silence.wav"
    soundfile.write(silence, np.zeros(_RATE_HZ // 10, np.int16), _RATE_HZ)
    points: list[tuple[int, float, float]] = []
    for number in files_per_node:
        num_files = number * num_nodes
        source = lay_out([silence], num_files, work / f"{num_files} files")
        with simulated_cluster(num_nodes) as address:
            ended = run(_command(source, work / f"of {num_files}", address))
        points.append((num_files, ended.seconds, ended.cpu_seconds))
    few, many = points
    return Line.through(few, many)


def _command(source: Path, output: Path, address: str) -> list[str]:
    options = ["--model", "compact", "--engine", "ray", "--adapt", "none", "--output-mode", "json", "--quiet"]
    return ["env", f"RAY_ADDRESS={address}", sys.executable, *_SER, "score", str(source), str(output), *options]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--files", type=int, nargs=2, default=[200, 1000], help="few and many, of each node")
    parser.add_argument("--sleep-seconds", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--history", type=Path, default=Path(__file__).with_name("history.jsonl"))
    options = parser.parse_args(arguments)
    os.environ[SLEEP_SECONDS] = str(options.sleep_seconds)
    beside = others()
    print("| nodes | loaders | files/s | of what sleep allows | start-up, s |\n|---|---|---|---|---|")
    rows = []
    for num_nodes in options.nodes:
        lines = []
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as work:
                lines.append(measure(num_nodes, options.files, Path(work)))
        rate = Spread.of([1 / line.per_clip for line in lines])
        startup = Spread.of([line.startup for line in lines])
        loaders = plan_resources(ScoreConfig(), Hardware(cpus=num_nodes * _CPUS_PER_NODE, gpus=0)).num_loaders
        share = rate.median * options.sleep_seconds / loaders
        print(
            f"| {num_nodes} | {loaders} | {rate.median:.1f} ({rate.low:.1f} to {rate.high:.1f}) | {share:.2f} "
            f"| {startup.median:.1f} |",
            flush=True,
        )
        rows.append({"nodes": num_nodes, "loaders": loaders, "files_per_second": vars(rate), "share": round(share, 3)})
    found = {"sleep_seconds": options.sleep_seconds, "files": options.files, "rows": rows}
    add_to_history(options.history, "weak scaling", beside, found)


if __name__ == "__main__":
    main()
