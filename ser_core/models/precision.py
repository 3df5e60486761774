"""What `auto` means on this machine, of device and precision; imports torch only where a GPU is asked about."""

import functools
from pathlib import Path

from ser_core.errors import UsageError
from ser_core.settings import Device, Precision, ResolvedDevice, ResolvedPrecision

#: Linux's names of the instructions of x86 and of ARM.
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def resolve_device(device: Device, precision: Precision) -> tuple[ResolvedDevice, ResolvedPrecision]:
    """What `auto` means on this machine: a GPU if there is one; bf16 where there are instructions for it, else fp32.

    Raises:
        UsageError: a GPU, or bf16, was asked for and there is none.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: no usable GPU here; use --device cpu, or auto")
    chosen: ResolvedDevice = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    if precision == "auto":
        return chosen, "bf16" if has_bf16(chosen) else "fp32"
    if precision == "bf16" and not has_bf16(chosen):
        raise UsageError(f"--precision bf16: this {chosen} does not have it; use --precision fp32, or auto")
    return chosen, precision


def has_bf16(device: str) -> bool:
    """Whether a device ("cpu" or "cuda") of this machine computes in bf16, rather than emulating it."""
    if device == "cuda":
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return _cpu_has_bf16()


@functools.cache
def _cpu_has_bf16() -> bool:
    """Whether there are instructions for it: what emulates it is slower than fp32."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return not _BF16_FLAGS.isdisjoint(flags)
