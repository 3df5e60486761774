"""The processes of this machine that Ray's driver cannot do without."""

from contextlib import suppress

import psutil

#: Names of processes, or words of their command lines, and what people call them.
_NAMES = {
    "gcs_server": "GCS",
    "raylet": "raylet",
    "DashboardAgent": "dashboard agent",
    "dashboard/agent.py": "dashboard agent",
    "RuntimeEnvAgent": "runtime environment agent",
    "runtime_env/agent": "runtime environment agent",
}


def vital_processes(address: str | None) -> dict[int, str]:
    """By id: of a Ray of its own (address None) all that counts; of a cluster the node that this process has joined."""
    found = {}
    for process in psutil.Process().children(recursive=True) if address is None else _joined_node():
        with suppress(psutil.Error):
            words = [process.name(), " ".join(process.cmdline())]
            name = _NAMES.get(words[0]) or next((_NAMES[part] for part in _NAMES if part in words[1]), None)
            if name is not None:
                found[process.pid] = name
    return found


def is_stopped(pid: int) -> bool:
    """Whether a process is held up, as by SIGSTOP."""
    with suppress(psutil.Error):
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    return False


def _joined_node() -> list[psutil.Process]:
    """The raylet that this process has joined, and its agents."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    [socket_name] = [node["RayletSocketName"] for node in ray.nodes() if node["NodeID"] == here]  # type: ignore[no-untyped-call]
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() == "raylet" and any(socket_name in word for word in process.cmdline()):
                return [process, *process.children()]
    return []
