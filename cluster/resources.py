"""Plans a run by its settings and the hardware: which engine, and how many loaders and predictors of which size.

Ray's CPU numbers are bookkeeping, not pinning. They are fractions here so that a loader and a predictor fit
on one core together with the tasks that Ray starts by itself: two actors of a whole CPU each would take all
of a two-core machine, and the tasks that feed them would never be placed.
"""

import math
from dataclasses import dataclass, replace

from ser_core.errors import UsageError
from ser_core.score_config import ResolvedEngine, ScoreConfig
from ser_core.settings import Device, ResolvedDevice

_LOADER_CPUS_BESIDE_CPU_PREDICTOR = 0.2
_CPU_PREDICTOR_CPUS = 0.7
_LOADER_CPUS_BESIDE_GPU = 0.5
_GPU_PREDICTOR_CPUS = 0.25
#: The largest share of all cores for the predictors of many GPUs: beside them a loader must find its place.
_MAX_GPU_PREDICTOR_SHARE = 0.4
#: On CPUs a predictor's small batches waste little on padding and lose no speed.
_CPU_BATCH_SIZE = 16
_GPU_BATCH_SIZE = 256
#: Seconds of audio that a predictor takes at a time, at first and at most: features alone take half a MB for each.
_BATCH_SECONDS: dict[ResolvedDevice, tuple[float, float]] = {"cpu": (600.0, 3_600.0), "cuda": (3_600.0, 36_000.0)}
#: Loaded windows that travel as one block: seconds of work for a predictor, and what a kill may cost it.
_CPU_BLOCK_BYTES = 16 * 2**20
_GPU_BLOCK_BYTES = 64 * 2**20
_MAX_FILES_PER_BLOCK = 64
#: One process feeds so many cores, whatever the model (docs/decisions.md).
_MAX_LOCAL_CORES = 8
#: With more cores, or a GPU, a run of so much in one process ends before one that starts Ray.
_MAX_LOCAL_FILES = 10_000
_MAX_LOCAL_BYTES = 4e9


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Cores and GPUs, of this machine or of a cluster."""

    cpus: float
    gpus: float


@dataclass(frozen=True, kw_only=True)
class Resources:
    """The loaders and predictors of one run; CPUs and GPUs are what Ray books for each."""

    device: ResolvedDevice
    num_loaders: int
    num_predictors: int
    cpus_per_loader: float
    cpus_per_predictor: float
    gpus_per_predictor: float
    threads_per_predictor: int
    batch_size: int
    block_bytes: int

    def files_per_block(self, num_files: int) -> int:
        """Few files are spread over all actors; many travel in blocks of seconds of work."""
        workers = max(self.num_loaders, self.num_predictors)
        return max(1, min(_MAX_FILES_PER_BLOCK, math.ceil(num_files / (4 * workers))))

    def for_engine(self, engine: ResolvedEngine) -> "Resources":
        """The same, with a loader for each predictor where loaders are threads with a child process each.

        One waits for its child and for Python's lock, so of a small model the predictors would wait for it.
        """
        return self if engine == "ray" else replace(self, num_loaders=max(self.num_loaders, self.num_predictors))

    def describe(self) -> str:
        return (
            f"{self.num_loaders} loader(s) and {self.num_predictors} predictor(s) on {self.device}, "
            f"batches of {self.batch_size}"
        )


def choose_engine(
    config: ScoreConfig, address: str | None, resources: Resources, num_files: int, num_bytes: float
) -> tuple[ResolvedEngine, str]:
    """Which engine scores `num_files` pending files, of `num_bytes` in all, and why."""
    if config.engine != "auto":
        return config.engine, "it is asked for"
    if address:
        return "ray", f"the cluster at {address} is named"
    is_gpu = resources.gpus_per_predictor > 0
    workers = f"{resources.num_predictors} {'GPU' if is_gpu else 'core'}(s)"
    if is_gpu and resources.num_predictors > 1:
        return "ray", f"there are {workers}"
    if not is_gpu and resources.num_predictors <= _MAX_LOCAL_CORES:
        return "local", f"no cluster is named, and one process keeps {workers} busy"
    pending = f"{num_files} files ({num_bytes / 1e9:.1f} GB) are pending"
    if num_files > _MAX_LOCAL_FILES or num_bytes > _MAX_LOCAL_BYTES:
        return "ray", f"{pending}, more than one process feeds to {workers} in the time that Ray takes to start"
    return "local", f"no cluster is named, and {pending}: Ray would take longer to start"


def fit_batches(resources: Resources, config: ScoreConfig, window_seconds: float) -> Resources:
    """No more windows at a time than memory takes, however long each is.

    Raises:
        UsageError: more are asked for.
    """
    seconds, most_seconds = _BATCH_SECONDS[resources.device]
    if config.batch_size is None:
        return replace(resources, batch_size=max(1, min(resources.batch_size, int(seconds / window_seconds))))
    if config.batch_size > max(1, int(most_seconds / window_seconds)):
        raise UsageError(
            f"--batch-size {config.batch_size} of windows of {window_seconds:g} s: at most {most_seconds:g} s of audio "
            f"at a time on {resources.device}, so {max(1, int(most_seconds / window_seconds))} windows"
        )
    return resources


def usable_gpus(device: Device, gpus: float) -> int:
    """How many of these GPUs the device setting takes: none for the CPU.

    Raises:
        UsageError: a GPU is asked for and there is none.
    """
    if device == "cuda" and int(gpus) == 0:
        raise UsageError("--device cuda: there is no GPU here; use --device cpu, or --address of a cluster with one")
    return 0 if device == "cpu" else int(gpus)


def plan_resources(config: ScoreConfig, hardware: Hardware) -> Resources:
    """Divide the hardware among the stages.

    Raises:
        UsageError: a GPU is asked for and the cluster has none.
    """
    cpus = max(1, int(min(hardware.cpus, config.cpus or hardware.cpus)))
    gpus = usable_gpus(config.device, hardware.gpus if config.gpus is None else min(hardware.gpus, config.gpus))
    if gpus:
        cpus_per_predictor = min(_GPU_PREDICTOR_CPUS, _MAX_GPU_PREDICTOR_SHARE * cpus / gpus)
        left_cpus = cpus - gpus * cpus_per_predictor
        return Resources(
            device="cuda",
            num_loaders=max(1, int(0.9 * left_cpus / _LOADER_CPUS_BESIDE_GPU)),
            num_predictors=gpus,
            cpus_per_loader=_LOADER_CPUS_BESIDE_GPU,
            cpus_per_predictor=cpus_per_predictor,
            gpus_per_predictor=1.0,
            threads_per_predictor=1,
            batch_size=config.batch_size or _GPU_BATCH_SIZE,
            block_bytes=_GPU_BLOCK_BYTES,
        )
    return Resources(
        device="cpu",
        num_loaders=math.ceil(cpus / 4),
        num_predictors=cpus,
        cpus_per_loader=_LOADER_CPUS_BESIDE_CPU_PREDICTOR,
        cpus_per_predictor=_CPU_PREDICTOR_CPUS,
        gpus_per_predictor=0.0,
        threads_per_predictor=1,
        batch_size=config.batch_size or _CPU_BATCH_SIZE,
        block_bytes=_CPU_BLOCK_BYTES,
    )
