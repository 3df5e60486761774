"""A Ray cluster of one machine that the runs of many tests join: starting Ray for each takes longer than they do."""

import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.cli import ROOT, Answer, as_plain_user, clean_environment, finish, start
from tests.support.processes import free_port, kill_all, launch

_RAY = str(Path(sys.executable).with_name("ray"))
#: Not this machine's name: no port of it is meant for others.
_HOST = "127.0.0.1"
_NUM_CPUS = 2
_START_SECONDS = 120.0
#: By a word of the command line or name, and what the message calls it.
PARTS = {
    "raylet": "raylet",
    "gcs_server": "GCS",
    "DashboardAgent": "dashboard agent",
    "RuntimeEnvAgent": "runtime environment agent",
}


@dataclass(frozen=True)
class RayCluster:
    """A running cluster.

    Attributes:
        address: where programs join it.
        dashboard: where jobs are submitted to.
        token: the environment that it demands of both.
    """

    address: str
    dashboard: str
    token: dict[str, str]
    process: "subprocess.Popen[Any]"

    def start(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        """Start `ser` as `cli_support.start` does, to run on this cluster."""
        return start(*arguments, **{"RAY_ADDRESS": self.address, **self.token, **options})

    def ser(self, *arguments: str | Path, timeout: float = 120, **options: Any) -> Answer:
        """Run `ser` on this cluster to its end."""
        return finish(self.start(*arguments, **options), timeout)


def on_ray(*values: object, heavy: bool = False) -> Any:
    """A case of a test that starts Ray: `engine` ray and more values, beside the other tests of Ray."""
    return pytest.param("ray", *values, marks=[pytest.mark.ray, pytest.mark.heavy] if heavy else pytest.mark.ray)


@contextmanager
def ray_cluster(environment: dict[str, str]) -> Iterator[RayCluster]:
    """Start a cluster whose workers have `environment` and may read what a plain user may."""
    # Ray's sockets lie in it, and the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="ser-ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
        # Jobs run `ser`, and loaders the decoding workers of tests.
        path = {"PATH": f"{Path(_RAY).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        head_port, dashboard_port = free_port(), free_port()
        log = Path(folder) / "log"
        with log.open("w") as stream:
            process = launch(
                [*as_plain_user(), *_command(folder, head_port, dashboard_port)],
                outlives_test=True,
                env=clean_environment(**token, **environment, **path),
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait_for_dashboard(dashboard_port, process, log)
            yield RayCluster(f"{_HOST}:{head_port}", f"http://{_HOST}:{dashboard_port}", token, process)
        finally:
            # Asked to end, it would drain for half a minute.
            kill_all(process)


def _command(folder: str, head_port: int, dashboard_port: int) -> list[str]:
    return [
        _RAY, "start", "--head", "--block", "--disable-usage-stats", "--include-log-monitor", "false",
        "--num-cpus", str(_NUM_CPUS), "--object-store-memory", str(500 * 10**6), "--temp-dir", folder,
        "--node-ip-address", _HOST, "--port", str(head_port), "--dashboard-host", _HOST,
        "--dashboard-port", str(dashboard_port), "--dashboard-agent-listen-port", str(free_port()),
        "--ray-client-server-port", str(free_port()),
    ]  # fmt: skip


def _wait_for_dashboard(port: int, process: "subprocess.Popen[Any]", log: Path) -> None:
    """Wait until the dashboard answers, be it to ask for the token."""
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(f"http://{_HOST}:{port}/api/version", timeout=1).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def part_of_ray(root: int, part: str) -> psutil.Process:
    """The process of that name below `root`."""
    for process in psutil.Process(root).children(recursive=True):
        with suppress(psutil.Error):
            # What has ended has no words.
            title = next(iter(process.cmdline()), "")
            if part == process.name() or title.startswith(f"ray::{part}"):
                return process
    raise AssertionError(f"no {part} is running")
