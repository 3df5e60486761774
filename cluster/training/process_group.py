"""How the workers of a training find one another: alone not at all, on one machine through a file of their own.

torch's own way is a store that listens on all of a machine's interfaces and asks nobody who they are. Only workers on
several machines need it.
"""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
from ray.train._internal.base_worker_group import BaseWorkerGroup
from ray.train.backend import BackendConfig
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend
from torch import distributed

from ser_core.temporary import temporary_folder

#: The interface that gloo and NCCL listen on.
_INTERFACE_SETTINGS = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
#: What a worker closes at its end.
_at_end = ExitStack()


@dataclass
class GroupConfig(TorchConfig):
    """Settings of the workers' process group, as Ray Train takes them."""

    @property
    def backend_cls(self) -> type["_Backend"]:
        """Who makes the group."""
        return _Backend


class _Backend(_TorchBackend):
    def on_start(self, worker_group: BaseWorkerGroup, backend_config: BackendConfig) -> None:
        """Called when the workers have started."""
        size = len(worker_group)
        if size == 1:
            return
        assert isinstance(backend_config, GroupConfig)
        if len(set(worker_group.execute(_node))) > 1:
            super().on_start(worker_group, backend_config)
            return
        file = worker_group.execute_single(0, _meeting_file)
        settings = file, backend_config.backend, size, backend_config.timeout_s
        joined: list[Any] = [worker_group.execute_single_async(rank, _join, rank, *settings) for rank in range(size)]
        ray.get(joined)

    def on_shutdown(self, worker_group: BaseWorkerGroup, backend_config: BackendConfig) -> None:
        """Called when the workers are about to end."""
        super().on_shutdown(worker_group, backend_config)
        worker_group.execute_single(0, _at_end_of_worker)


def _node() -> str:
    return str(ray.get_runtime_context().get_node_id())


def _meeting_file() -> str:
    return str(_at_end.enter_context(temporary_folder()) / "store")


def _at_end_of_worker() -> None:
    _at_end.close()


def _join(rank: int, file: str, backend: str | None, size: int, timeout_seconds: int) -> None:
    for name in _INTERFACE_SETTINGS:
        os.environ.setdefault(name, "lo")
    store = distributed.FileStore(file, size)  # type: ignore[attr-defined]
    distributed.init_process_group(
        backend, store=store, rank=rank, world_size=size, timeout=timedelta(seconds=timeout_seconds)
    )
