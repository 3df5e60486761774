"""What each idea for a recipe gives: trains them by the development protocol and compares them pair by pair.

    python benchmarks/recipes.py IDEAS.yaml MANIFEST... --out DIR [--weights FILE] [--only NAME ...]

IDEAS.yaml holds `protocols` (a split each, by name), `base` (settings of a training) and `ideas`: by name, what
`differs` from the base, or from the idea that `of` names. DIR keeps a training for each idea and protocol, so that a
search that was broken off goes on. The table, in Markdown, says for each corpus the unweighted average recall, and how
much it is above the one it is compared with (95 % interval of the paired bootstrap over speakers). One process trains,
without Ray, on `--threads`; the work may be shared between processes, each with some of the names in --only or some of
the folds in --folds. Several of them keep a GPU busy that one does not.
"""

import argparse
import dataclasses
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from ser_core import storage
from ser_core.corpora import Manifest, read_manifests
from ser_core.distributed import ALONE
from ser_core.evaluation import Interval, evaluate_predictions, probabilities_in
from ser_core.evaluation.evaluate import compare_predictions
from ser_core.storage import Location
from ser_core.training import (
    EpochDone,
    Event,
    Job,
    TrainConfig,
    TrainingFolder,
    Worker,
    finish_job,
    is_complete,
    is_done,
    run_job,
)
from ser_core.yaml_file import read_yaml

BASE = "base"


def merged(settings: dict[str, Any], differs: dict[str, Any]) -> dict[str, Any]:
    """Settings with others in their place; groups are merged."""
    whole = dict(settings)
    for name, value in differs.items():
        old = whole.get(name)
        whole[name] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return whole


class Search:
    """The ideas of a file, and what was trained of them."""

    def __init__(self, options: argparse.Namespace) -> None:
        found = read_yaml(options.ideas)
        self.protocols: dict[str, Any] = found["protocols"]
        self._base: dict[str, Any] = found["base"]
        self.ideas: dict[str, Any] = {BASE: {}} | found["ideas"]
        self._manifest = read_manifests(options.manifests)
        self._options = options
        #: Those that were asked for: what a training is takes a look at its weights' file.
        self._jobs: dict[tuple[str, str], Job] = {}

    def settings(self, name: str) -> dict[str, Any]:
        """The settings of an idea: the base's, or those of another idea, but for what differs."""
        if name == BASE:
            return self._base
        return merged(self.settings(self.against(name)), self.ideas[name]["differs"])

    def against(self, name: str) -> str:
        """What an idea is compared with."""
        return str(self.ideas[name].get("of", BASE))

    def job(self, name: str, protocol: str) -> Job:
        """The training of an idea by a protocol; it exists from here on."""
        if (name, protocol) in self._jobs:
            return self._jobs[name, protocol]
        where = {"split": self.protocols[protocol], "cache_dir": str(self._options.out / "cache")}
        if self._options.weights:
            where["weights"] = str(self._options.weights)
        config = TrainConfig.from_dict(self.settings(name) | where, f"{self._options.ideas}: {name}")
        folder = Location.parse(str(self._options.out / protocol / name.replace(" ", "-")))
        job = Job(config=config, manifest=self._manifest, folder=folder, run="")
        training = TrainingFolder(folder)
        identity = job.check(1).identity
        training.check(identity)
        self._jobs[name, protocol] = dataclasses.replace(job, run=training.begin(identity))
        return self._jobs[name, protocol]

    def train(self, name: str, protocol: str) -> None:
        """Unless it is done."""
        job = self.job(name, protocol)
        if is_complete(job):
            return
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        began = time.monotonic()

        def callback(event: Event) -> None:
            if isinstance(event, EpochDone):
                record = event.record
                print(f"{name}, {protocol}, fold {event.fold + 1}: {record} {event.seconds:.1f} s", flush=True)

        worker = Worker(group=ALONE, device=device, num_threads=self._options.loaders)
        run_job(job, worker, callback, self._options.folds and [fold - 1 for fold in self._options.folds])
        if not all(is_done(job.fold(number)) for number in range(job.num_folds)):
            return
        if job.config.split.has_folds:
            finish_job(job)
        minutes = (time.monotonic() - began) / 60
        storage.put(job.folder.join("_training", "minutes.txt"), f"{minutes:.1f}".encode())

    def predictions(self, name: str, protocol: str) -> tuple[Manifest, np.ndarray, np.ndarray]:
        """The tested clips of a training that is done, their predictions (G, C), and the temperature (G,) of each."""
        job = self.job(name, protocol)
        table = pq.read_table(io.BytesIO(storage.read(job.folder.join("predictions.parquet"))))
        clips = Manifest(table.select(job.manifest.table.column_names))
        return clips, probabilities_in(table, job.labels), table["temperature"].to_numpy()

    def is_done(self, name: str, protocol: str) -> bool:
        """Whether the training has ended."""
        return is_complete(self.job(name, protocol))

    def row(self, name: str, protocol: str) -> str:
        """A line of the table."""
        cells = [name, protocol]
        clips, probabilities_GC, temperature_G = self.predictions(name, protocol)
        labels = self.job(name, protocol).labels
        against = None
        if name != BASE and self.is_done(self.against(name), protocol):
            against = self.predictions(self.against(name), protocol)[1]
        for corpus in sorted(set(clips.corpora)):
            rows_N = np.flatnonzero(clips.corpora == corpus)
            part = clips.take(rows_N)
            predicted_NC, temperature_N = probabilities_GC[rows_N], temperature_G[rows_N]
            found = evaluate_predictions(part, predicted_NC, temperature_N, labels=labels).overall
            cells.append(f"{corpus} {_percent(found.uar)}, ECE {found.ece.value:.3f}")
            if against is not None:
                gain = compare_predictions(part, against[rows_N], predicted_NC, labels=labels)
                cells.append(f"{_percent(gain, sign='+')} against {self.against(name)}")
        minutes = storage.read(self.job(name, protocol).folder.join("_training", "minutes.txt")).decode()
        return " | ".join([*cells, f"{minutes} min"])


def _percent(interval: Interval, sign: str = "") -> str:
    value = f"{100 * interval.value:{sign}.1f}"
    return value if interval.low is None else f"{value} [{100 * interval.low:.1f}, {100 * (interval.high or 0):.1f}]"


def table(search: Search) -> Iterator[str]:
    """The rows of every training that is done."""
    for protocol in search.protocols:
        for name in search.ideas:
            if search.is_done(name, protocol):
                yield f"| {search.row(name, protocol)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ideas", type=Path)
    parser.add_argument("manifests", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--only", nargs="*", help="names of ideas; none: all")
    parser.add_argument("--protocols", nargs="*", help="names of protocols; none: all")
    parser.add_argument("--folds", type=int, nargs="*", help="numbers from 1 on; none: all")
    parser.add_argument("--threads", type=int, default=1, help="that compute")
    parser.add_argument("--loaders", type=int, default=0, help="threads that load batches ahead")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    search = Search(options)
    for protocol in options.protocols or search.protocols:
        for name in search.ideas if options.only is None else options.only:
            search.train(name, protocol)
    print("\n".join(table(search)))


if __name__ == "__main__":
    main()
