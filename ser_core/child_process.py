"""Python processes that a process starts for a part of its work: each imports what it does, and dies with it."""

import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

#: The folder that this program is imported from.
IMPORT_ROOT = Path(__file__).resolve().parent.parent


def start_python(
    module: str, argument: socket.socket | Path, *, outlives_this: bool = False, **options: object
) -> "subprocess.Popen[bytes]":
    """Run `main` of a module in a process of its own.

    Its standard input is a pipe that is open as long as this process lives. Its working folder is not this one's,
    where libraries, and Ray's own processes, would find what others have put there.

    Args:
        module: what is imported there, from where this process imports.
        argument: a path, or one end of a pair of sockets: the process inherits it and is given its number, and this
            one may close it afterwards.
        outlives_this: whether it does not die with this process, but finds the end of its standard input.
        options: of `subprocess.Popen`; `env` is added to the environment of this process.

    Raises:
        OSError: no process can be started.
    """
    first = "" if outlives_this else f"from {__name__} import die_with_parent; die_with_parent(); "
    added = options.pop("env", {})
    assert isinstance(added, dict)
    inherited: list[int] = []
    if isinstance(argument, socket.socket):
        inherited.append(argument.fileno())
    return subprocess.Popen(  # type: ignore[no-any-return, call-overload]
        # -P: what lies in the working folder is not imported.
        [
            sys.executable,
            "-P",
            "-c",
            # Imports may take long, and are no reason to live on.
            f"{first}from {module} import main; main()",
            str(inherited[0] if inherited else argument),
        ],
        pass_fds=inherited,
        stdin=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": _import_path()} | added,
        cwd="/",
        **options,
    )


def die_with_parent() -> None:
    """Let the kernel kill this process, a stopped one too, when the other end of stdin is closed, or has been before.

    A parent death signal would come when the parent's *thread* ends; a watching thread may never get its turn.
    """
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    before = select.poll()
    before.register(0, 0)
    if before.poll(0):
        # The kernel tells of what comes, not of what was.
        os.kill(os.getpid(), signal.SIGKILL)


def _import_path() -> str:
    return os.pathsep.join([str(IMPORT_ROOT), *filter(None, sys.path)])
