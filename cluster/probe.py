"""Try the device before any work: load the model where it will run and predict one batch; decide on the precision."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.resources import Resources
from ser_core.audio import WindowSettings
from ser_core.errors import SerError, UsageError, one_line
from ser_core.settings import Precision, ResolvedPrecision, Threads

if TYPE_CHECKING:
    from ser_core.models import Artifact

#: A worker has the model loaded in a fraction of it; the rest is for other work on the GPUs to end.
_NODE_WAIT_SECONDS = 120.0
#: How long GPUs of other nodes are waited for when one has answered.
_OTHER_GPUS_WAIT_SECONDS = 10.0
_MAX_NAMES = 3
#: What `nodes_lacking` is, or what asks it elsewhere.
AskNodes = Callable[[Callable[..., bool], Sequence[Any], Resources], list[str]]


def try_device(
    artifact: "Artifact",
    resources: Resources,
    precision: Precision,
    windows: WindowSettings,
    *,
    ask_nodes: AskNodes | None,
    made_with: ResolvedPrecision | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> ResolvedPrecision:
    """Run a batch of silence through the model on the device of the run.

    A CPU, and a GPU of this machine, is tried in this process; GPUs of a cluster are tried on each of its nodes that
    has one free. Whether there is bf16 is asked of every node of the cluster that may work.

    Args:
        artifact: the model.
        resources: device and batch size of the run.
        precision: as asked for.
        windows: how long a window is.
        ask_nodes: `nodes_lacking`, where the device is that of the connected cluster; None: it is this machine's.
        made_with: the precision that OUTPUT was made with, which `auto` then means; None: there is no OUTPUT yet.
        report: called with a line that says what `auto` is on a cluster, and why.

    Returns:
        What `precision` means there, the same for all.

    Raises:
        UsageError: the device, or the precision, is not to be had.
        ArtifactError: the model's answer is no number.
        SerError: the model does not run there with this batch size, or no GPU became free.
    """
    wanted = made_with if precision == "auto" and made_with is not None else precision
    trial = (artifact, resources, wanted, windows)
    if ask_nodes is None:
        lacking = [] if _try_here(*trial) else [f"this {resources.device}"]
    elif resources.device == "cpu":
        lacking = ask_nodes(_has_bf16, ("cpu",), resources)
        _try_here(*trial)
    else:
        lacking = ask_nodes(_try_here, trial, resources)
    if wanted == "bf16" and lacking:
        raise _no_bf16(_listed(lacking), is_of_output=wanted == made_with)
    if wanted != "auto":
        return wanted
    if ask_nodes is not None:
        why = f"fp32: {_listed(lacking)} does not have bf16" if lacking else "bf16: every node has it"
        report(f"precision auto is {why}")
    return "fp32" if lacking else "bf16"


def nodes_lacking(ask: Callable[..., bool], arguments: Sequence[Any], resources: Resources) -> list[str]:
    """The nodes of the connected cluster that may work, by address, where `ask(*arguments)` is False.

    Raises:
        SerError: no node answered in time, or what `ask` raised.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    is_gpu = resources.gpus_per_predictor > 0
    # A CPU is shared with other work, a GPU is not.
    task = ray.remote(num_cpus=0, num_gpus=resources.gpus_per_predictor, max_retries=0)(ask)
    # Once in the object store, however many nodes there are.
    references = [ray.put(argument) for argument in arguments]
    answers = {
        task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(*references): f"the {resources.device} of {node['NodeManagerAddress']}"
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"] and node["Resources"].get("GPU" if is_gpu else "CPU", 0) > 0
    }  # fmt: skip
    if not answers:
        # Nodes come when there is work for them.
        return [] if ask(*arguments) else [f"this {resources.device}"]
    try:
        done, waiting = ray.wait(list(answers), timeout=_NODE_WAIT_SECONDS)
        if waiting and done:
            rest = _OTHER_GPUS_WAIT_SECONDS if is_gpu else _NODE_WAIT_SECONDS
            done, waiting = ray.wait(list(answers), num_returns=len(answers), timeout=rest)
        for answer in waiting:
            ray.cancel(answer, force=True)
        if not done:
            raise SerError(_no_answer(resources))
        return [answers[answer] for answer in done if not ray.get(answer)]
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        raise (cause if isinstance(cause, SerError) else _does_not_run(resources, error)) from error


def _has_bf16(device: str) -> bool:
    from ser_core.models import has_bf16

    return has_bf16(device)


def _try_here(artifact: "Artifact", resources: Resources, precision: Precision, windows: WindowSettings) -> bool:
    """Predict a batch on this machine, in bf16 where it is wanted and to be had; whether it is to be had."""
    import torch

    from ser_core.models import Predictor, has_bf16, resolve_device

    num_threads = torch.get_num_threads()
    device, _ = resolve_device(resources.device, "fp32")
    has = has_bf16(device)
    tried: ResolvedPrecision = "bf16" if has and precision != "fp32" else "fp32"
    try:
        predictor = Predictor(
            artifact,
            device=device,
            precision=tried,
            batch_size=resources.batch_size,
            features_on="device",
            threads=Threads(resources.threads_per_predictor),
        )
        # One window is enough: every batch is padded to its full size.
        predictor.predict(np.zeros((1, windows.window_samples), dtype=np.float32))
    except (RuntimeError, MemoryError) as error:
        raise _does_not_run(resources, error) from error
    finally:
        torch.set_num_threads(num_threads)
    return has


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more


def _no_bf16(where: str, *, is_of_output: bool) -> UsageError:
    if not is_of_output:
        return UsageError(f"--precision bf16: {where} does not have it; use --precision fp32, or auto")
    return UsageError(
        f"OUTPUT was made with --precision bf16, which {where} does not have; go on where it was made, "
        "or use --precision fp32 with --restart or another OUTPUT"
    )


def _no_answer(resources: Resources) -> str:
    if resources.device == "cpu":
        return f"no node of the cluster answered in {_NODE_WAIT_SECONDS:.0f} s; see 'ray status'"
    return (
        f"--device {resources.device}: no GPU became free in {_NODE_WAIT_SECONDS:.0f} s; "
        "wait for the other work on it to end, or use --device cpu"
    )


def _does_not_run(resources: Resources, error: BaseException) -> SerError:
    remedy = "" if resources.device == "cpu" else ", or --device cpu"
    return SerError(
        f"--device {resources.device}: the model does not run there with batches of {resources.batch_size} "
        f"({one_line(error)}); use a smaller --batch-size{remedy}"
    )
