"""What the parts of scoring reach alone, at most: reading and resampling, log-mels, and the network.

    python -m benchmarks.limits {decode,features,network} FOLDER --model compact [--processes 2] [--threads 1] ...

Each of so many processes does nothing else, all at the same time, for some seconds: files that soundfile decodes and
soxr brings to the model's rate, or batches of windows that lie in memory. One JSON line comes out: for each size of
batch what all of them do in a second, of files (decode) or of windows, and the milliseconds of processor time for one.
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ser_core.models import Artifact
    from ser_core.settings import ResolvedDevice, ResolvedPrecision


#: For the other processes to be ready, so that one that died does not hold the rest.
_LONGEST_WAIT_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """What one limit is measured with."""

    part: str
    folder: str
    model: str
    device: "ResolvedDevice"
    precision: "ResolvedPrecision"
    processes: int
    threads: int
    batch_sizes: tuple[int, ...]
    seconds: float


def measure(settings: LimitSettings) -> dict[str, dict[str, float]]:
    """What all processes together do in a second (`rate`), and what one costs (`cpu_ms`), by the size of the batch."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(settings.processes), context.SimpleQueue()
    workers = [
        context.Process(target=_work, args=(settings, index, barrier, answers)) for index in range(settings.processes)
    ]
    for worker in workers:
        worker.start()
    results = {str(size): {"rate": 0.0, "cpu_ms": 0.0} for size in settings.batch_sizes}
    for worker in workers:
        worker.join()
        if worker.exitcode:
            raise RuntimeError(f"a process of limit {settings.part} ended with {worker.exitcode}")
        for size, (rate, cpu_ms) in answers.get().items():
            results[size]["rate"] += rate
            results[size]["cpu_ms"] += cpu_ms / settings.processes
    return results


def _work(settings: LimitSettings, index: int, barrier: Any, answers: Any) -> None:
    import torch

    torch.set_num_threads(settings.threads)
    rates = {}
    for size in settings.batch_sizes:
        step = _STEPS[settings.part](settings, index, size)
        step()
        barrier.wait(_LONGEST_WAIT_SECONDS)
        rates[str(size)] = _rate(step, settings.seconds)
    answers.put(rates)


def _rate(step: Callable[[], int], seconds: float) -> tuple[float, float]:
    """What `step` counts, a second, and milliseconds of processor time for one of it."""
    count, began, cpu_began = 0, time.perf_counter(), time.process_time()
    while (passed := time.perf_counter() - began) < seconds or not count:
        count += step()
    return count / passed, 1e3 * (time.process_time() - cpu_began) / count


def _decode(settings: LimitSettings, index: int, size: int) -> Callable[[], int]:
    import soundfile
    import soxr

    files = sorted(file for file in Path(settings.folder).rglob("*") if file.is_file())[index :: settings.processes]
    rate_hz = _artifact(settings).config.mel.sample_rate_hz
    place = 0

    def step() -> int:
        nonlocal place
        for _ in range(size):
            pcm_TC, from_hz = soundfile.read(files[place % len(files)], dtype="int16", always_2d=True)
            soxr.resample(pcm_TC.mean(axis=1, dtype=np.float32), from_hz, rate_hz, quality="HQ")
            place += 1
        return size

    return step


def _features(settings: LimitSettings, index: int, size: int) -> Callable[[], int]:
    import torch

    log_mel = _artifact(settings).log_mel().to(settings.device)
    pcm_BS = torch.from_numpy(_noise(settings, size)).to(settings.device)

    def step() -> int:
        with torch.inference_mode():
            log_mel(pcm_BS).cpu()
        return size

    return step


def _network(settings: LimitSettings, index: int, size: int) -> Callable[[], int]:
    import torch

    from ser_core.models import Predictor
    from ser_core.settings import Threads

    artifact = _artifact(settings)
    with torch.inference_mode():
        mel_BFT = artifact.log_mel()(torch.from_numpy(_noise(settings, size))).numpy()
    predictor = Predictor(
        artifact,
        device=settings.device,
        precision=settings.precision,
        batch_size=size,
        threads=Threads(settings.threads),
    )

    def step() -> int:
        predictor.predict(mel_BFT)
        return size

    return step


_STEPS = {"decode": _decode, "features": _features, "network": _network}


def _artifact(settings: LimitSettings) -> "Artifact":
    from ser_core.models import Artifact

    return Artifact.load(settings.model)


def _noise(settings: LimitSettings, size: int) -> np.ndarray:
    """Windows (B, S): what is in them changes no time."""
    num_samples = _artifact(settings).windows().window_samples
    return 0.1 * np.random.default_rng(0).standard_normal((size, num_samples), np.float32)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*_STEPS])
    parser.add_argument("folder")
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[16])
    parser.add_argument("--seconds", type=float, default=2.0)
    options = vars(parser.parse_args(arguments))
    options["batch_sizes"] = tuple(options["batch_sizes"])
    print(json.dumps(measure(LimitSettings(**options))))


if __name__ == "__main__":
    main()
