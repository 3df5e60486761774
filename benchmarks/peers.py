"""The programs that `ser score` is compared with, each a whole process that ends when its Parquet file is written.

    python -m benchmarks.peers {script,loader,ray} SOURCE OUTPUT --model compact [--batch-size 16] [--workers 2] ...

* script: for each file librosa, log-mel and the network in fp32, as in most notebooks.
* loader: a PyTorch `Dataset` and `DataLoader` with worker processes, batches of the network under autocast.
* ray: Ray Data's `read_binary_files`, actors (or with --workers 0 tasks) with librosa, actors with the network,
  `write_parquet`. Ray is told of more CPUs than there are: where actors take all of them, it waits for ever.

One JSON line comes out: windows, and the rate after the first batch, by which a sweep chooses.
"""

import argparse
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from benchmarks.plain import Columns, Features, Listing, Network, PeerSettings, concatenated, table_of


def run_script(listing: Listing, settings: PeerSettings) -> Iterator[Columns]:
    """One file after the other."""
    features, network = Features(settings.model), Network(settings)
    for path in listing.paths:
        yield network(features([listing.file(path)]))


class _Files(torch.utils.data.Dataset[Columns]):
    """The log-mels of each file."""

    def __init__(self, listing: Listing, model: str) -> None:
        self._listing, self._model = listing, model
        self._features: Features | None = None

    def __len__(self) -> int:
        return len(self._listing.paths)

    def __getitem__(self, index: int) -> Columns:
        if self._features is None:
            self._features = Features(self._model)
        return self._features([self._listing.file(self._listing.paths[index])])


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


def run_loader(listing: Listing, settings: PeerSettings) -> Iterator[Columns]:
    """Batches of files out of worker processes."""
    network = Network(settings)
    batches = torch.utils.data.DataLoader(
        _Files(listing, settings.model),
        batch_size=settings.batch_size,
        num_workers=settings.workers,
        collate_fn=concatenated,
        worker_init_fn=_one_thread,
    )
    for batch in batches:
        yield network(batch)


class _LoadFiles:
    """Ray Data's batches of files -> columns with log-mels; an actor."""

    def __init__(self, model: str, root: str) -> None:
        torch.set_num_threads(1)
        self._features, self._root = Features(model), root

    def __call__(self, batch: dict[str, Any]) -> Columns:
        paths = [str(path).removeprefix(self._root).lstrip("/") for path in batch["path"]]
        return self._features([(path, content, "") for path, content in zip(paths, batch["bytes"], strict=True)])


def _load_in_task(batch: dict[str, Any], model: str, root: str) -> Columns:
    return _LoadFiles(model, root)(batch)


def run_ray(listing: Listing, source: str, settings: PeerSettings, output: Path) -> dict[str, float]:
    """Three maps of Ray Data and its writer; what came out."""
    import ray
    from ray.data import ActorPoolStrategy

    cpus = len(os.sched_getaffinity(0))
    num_networks = 1 if settings.device == "cuda" else max(1, cpus // settings.threads)
    # On top of what actors book, Ray has the machine's cores for its reading and writing.
    booked = cpus + max(1, settings.workers) + num_networks
    ray.init(num_cpus=booked, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    files = ray.data.read_binary_files(listing.paths, include_paths=True, filesystem=_filesystem(source))
    options: dict[str, Any] = {"batch_size": settings.batch_size, "num_cpus": 1}
    if settings.workers:
        loaded = files.map_batches(
            _LoadFiles,
            fn_constructor_args=(settings.model, listing.root),
            compute=ActorPoolStrategy(size=settings.workers),
            **options,
        )
    else:
        # Its annotation knows functions of a batch alone.
        in_task: Any = _load_in_task
        loaded = files.map_batches(in_task, fn_args=(settings.model, listing.root), **options)
    predicted = loaded.map_batches(
        Network,
        fn_constructor_args=(settings,),
        compute=ActorPoolStrategy(size=num_networks),
        num_gpus=float(settings.device == "cuda"),
        **options,
    )
    began = time.time()
    predicted.write_parquet(str(output))
    ray.shutdown()
    return _written(output, began)


def _written(output: Path, began: float) -> dict[str, float]:
    """The windows in Ray's files, and the rate after the first of these (`began`: seconds since the epoch)."""
    files = sorted((file.stat().st_mtime, pq.read_metadata(file).num_rows) for file in output.glob("*.parquet"))
    windows = sum(rows for _, rows in files)
    if len(files) == 1:
        return {"windows": windows, "rate": windows / (files[0][0] - began)}
    return {"windows": windows, "rate": (windows - files[0][1]) / (files[-1][0] - files[0][0])}


def _filesystem(source: str) -> Any:
    if not source.startswith("s3://"):
        return None
    from pyarrow.fs import S3FileSystem

    return S3FileSystem(endpoint_override=os.environ.get("AWS_ENDPOINT_URL"))


def write(parts: Iterator[Columns], output: Path) -> dict[str, float]:
    """All rows as one Parquet file; what came out."""
    done: list[Columns] = [next(parts)]
    began = time.perf_counter()
    done += parts
    seconds = time.perf_counter() - began
    table = table_of(done)
    output.mkdir(parents=True)
    pq.write_table(table, output / "predictions.parquet")
    later = table.num_rows - len(done[0]["path"])
    return {"windows": table.num_rows, "rate": later / seconds}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=["script", "loader", "ray"])
    parser.add_argument("source")
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = vars(parser.parse_args(arguments))
    peer, source, output = options.pop("peer"), options.pop("source"), options.pop("output")
    settings = PeerSettings(**options)
    listing = Listing.of(source)
    torch.set_num_threads(settings.threads)
    if peer == "ray":
        result = run_ray(listing, source, settings, output)
    else:
        result = write((run_script if peer == "script" else run_loader)(listing, settings), output)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
