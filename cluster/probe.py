"""Try the device before any work: load the model where it will run and predict one batch."""

from typing import TYPE_CHECKING

import numpy as np

from cluster.resources import Resources
from cluster.session import first_line
from ser_core.audio import WindowSettings
from ser_core.errors import SerError, UsageError
from ser_core.settings import Precision, ResolvedDevice, ResolvedPrecision

if TYPE_CHECKING:
    from ser_core.models import Artifact

#: A worker has the model loaded in a fraction of it; the rest is for other work on the GPUs to end.
_GPU_WAIT_SECONDS = 120.0


def try_device(
    artifact: "Artifact",
    resources: Resources,
    precision: Precision,
    windows: WindowSettings,
    *,
    on_ray: bool,
    made_with: ResolvedPrecision | None = None,
) -> ResolvedPrecision:
    """Run a batch of silence through the model on the device of the run.

    It is tried in this process; a GPU of the cluster that this one is connected to in a Ray task.

    Args:
        artifact: the model.
        resources: device and batch size of the run.
        precision: as asked for.
        windows: how long a window is.
        on_ray: whether the device is that of the connected cluster, which may be another machine's.
        made_with: the precision that OUTPUT was made with, which `auto` then means; None: there is no OUTPUT yet.

    Returns:
        What `precision` means there.

    Raises:
        UsageError: the device, or the precision, is not to be had.
        ArtifactError: the model's answer is no number.
        SerError: the model does not run there with this batch size, or no GPU became free.
    """
    if resources.device == "cpu" or not on_ray:
        return _try_here(artifact, resources, precision, windows, made_with)
    import ray

    task = ray.remote(num_cpus=resources.cpus_per_predictor, num_gpus=resources.gpus_per_predictor, max_retries=0)(
        _try_here
    )
    answer = task.remote(artifact, resources, precision, windows, made_with)
    try:
        resolved: ResolvedPrecision = ray.get(answer, timeout=_GPU_WAIT_SECONDS)
    except ray.exceptions.GetTimeoutError as error:
        ray.cancel(answer, force=True)
        raise SerError(
            f"--device {resources.device}: no GPU became free in {_GPU_WAIT_SECONDS:.0f} s; "
            "wait for the other work on it to end, or use --device cpu"
        ) from error
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        raise (cause if isinstance(cause, SerError) else _does_not_run(resources, error)) from error
    return resolved


def _try_here(
    artifact: "Artifact",
    resources: Resources,
    precision: Precision,
    windows: WindowSettings,
    made_with: ResolvedPrecision | None,
) -> ResolvedPrecision:
    from ser_core.models import Predictor

    device, resolved = _resolve(resources.device, precision, made_with)
    try:
        predictor = Predictor(
            artifact, device=device, precision=resolved, batch_size=resources.batch_size, features_on="device"
        )
        # One window is enough: every batch is padded to its full size.
        predictor.predict(np.zeros((1, windows.window_samples), dtype=np.float32))
    except (RuntimeError, MemoryError) as error:
        raise _does_not_run(resources, error) from error
    return resolved


def _resolve(
    asked_device: ResolvedDevice, asked_precision: Precision, made_with: ResolvedPrecision | None
) -> tuple[ResolvedDevice, ResolvedPrecision]:
    from ser_core.models import resolve_device

    device, _ = resolve_device(asked_device, "fp32")
    wanted = made_with if asked_precision == "auto" and made_with is not None else asked_precision
    try:
        return resolve_device(device, wanted)
    except UsageError as error:
        if wanted != made_with:
            raise
        raise UsageError(
            f"OUTPUT was made with --precision {wanted}, which this {device} does not have; go on where it was made, "
            "or use --precision fp32 with --restart or another OUTPUT"
        ) from error


def _does_not_run(resources: Resources, error: BaseException) -> SerError:
    remedy = "" if resources.device == "cpu" else ", or --device cpu"
    return SerError(
        f"--device {resources.device}: the model does not run there with batches of {resources.batch_size} "
        f"({first_line(error)}); use a smaller --batch-size{remedy}"
    )
