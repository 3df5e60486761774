"""A Ray of this machine's own: what nobody else gets of it, and what goes with the process that starts it.

Its servers listen on 127.0.0.1 alone and ask for a token that only its own processes have. Its sockets, logs and
spilled objects lie in a folder that its user alone may enter.
"""

import os
import secrets
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cluster.resources import Hardware
from ser_core.child_process import start_python
from ser_core.errors import SerError, ServiceError, one_line
from ser_core.temporary import temporary_folder

#: In the folder, Ray adds "/ray/session_<26 digits of a time>_<pid>/sockets/plasma_store" for a socket, whose path may
#: have 107 bytes.
_MAX_FOLDER_BYTES = 107 - 69
#: With less room its workers wait for ever to write their logs.
_LEAST_FREE_BYTES, _LEAST_FREE_FILES = 20 * 2**20, 200


def prepare(own: Hardware, at_end: ExitStack) -> dict[str, Any]:
    """Set the environment that Ray reads when it is imported; what to give to `ray.init`.

    Args:
        own: what Ray has.
        at_end: removes Ray's files when it is closed; its processes must have ended.

    Raises:
        SerError: this machine has no loopback network.
        ServiceError: there is no room for temporary files.
    """
    _require_loopback()
    folder = at_end.enter_context(temporary_folder(_MAX_FOLDER_BYTES))
    _require_room(folder)
    _clear_if_killed(folder)
    # Ray would write a token of its own into a file in HOME that everybody may read.
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    os.environ.pop("RAY_AUTH_TOKEN_PATH", None)
    # Without clusters Ray's node is 127.0.0.1, and all its servers listen there alone.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # Metrics of two runs on one machine would want the same port.
    os.environ |= {"AUTOSCALER_METRIC_PORT": "0", "DASHBOARD_METRIC_PORT": "0"}
    return {
        # Without an address Ray joins whatever cluster was last started on this machine.
        "address": "local",
        "num_cpus": int(own.cpus),
        "num_gpus": int(own.gpus),
        "include_dashboard": False,
        # Ray opens this one to everybody.
        "_temp_dir": str(folder / "ray"),
    }


def _clear_if_killed(folder: Path) -> None:
    """Start what ends Ray's processes and removes their folder when this process is killed.

    Ray's agents would live on for minutes, and try to reach what has ended.
    """
    start_python(
        "ser_core.temporary",
        folder,
        outlives_this=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # What ends this process's group is not for it.
        start_new_session=True,
    )


def _require_room(folder: Path) -> None:
    system = os.statvfs(folder)
    free_bytes = system.f_bavail * system.f_frsize
    # Some file systems do not count files.
    if free_bytes < _LEAST_FREE_BYTES or (system.f_files and system.f_favail < _LEAST_FREE_FILES):
        needed = f"{_LEAST_FREE_BYTES / 2**20:.0f} MiB in {_LEAST_FREE_FILES} files"
        free = f"{free_bytes / 2**20:.1f} MiB in {system.f_favail}"
        raise ServiceError(
            f"{folder.parent}: Ray needs room there for {needed}, and has {free}; free some space, or set TMPDIR"
        )


def _require_loopback() -> None:
    """Ray tries for minutes, without a word, to reach itself."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=5).close()
    except OSError as error:
        raise SerError(
            f"Ray on this machine cannot be used: it has no loopback network, 127.0.0.1 ({one_line(error)}); "
            "bring it up, or (ser score) use --engine local"
        ) from error
