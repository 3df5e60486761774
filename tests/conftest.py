"""What tests share: S3 servers (moto's, Ceph's gateway for the heavy ones), a Ray cluster, the order of files."""

import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ser_core.storage.location import Location
from ser_core.tables.output import Output
from tests.support.processes import free_port, kill_all, kill_launched, launch
from tests.support.ray_cluster import RayCluster, ray_cluster
from tests.support.tables import World, write_plan

# Read by torch when it loads: two threads in each of many processes on two cores only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SERVER_SCRIPT = Path(__file__).with_name("s3_server.sh")
_SCRIPT_SECONDS = 300
#: moto's server takes any.
MOTO_KEYS = ("test-access", "test-secret")


def pytest_configure() -> None:
    """What is started here can be interrupted, even where a shell runs the tests in the background, deaf to Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs Ray runs in one process, so that Ray is started once; every other file is a group of its own.

    The group of Ray begins first, and the folders with the longest files follow: begun last, they would leave the other
    process idle at the end. Groups are named before xdist reads their names.
    """

    def needs_ray(item: pytest.Item) -> bool:
        return "cluster" in getattr(item, "fixturenames", ()) or item.get_closest_marker("ray") is not None

    for item in items:
        item.add_marker(pytest.mark.xdist_group("ray" if needs_ray(item) else item.nodeid.partition("::")[0]))
    items.sort(key=lambda item: (not needs_ray(item), item.path.parent.name not in {"runs", "training"}))


def pytest_collection_finish() -> None:
    """What is loaded by now stays: looking through it for garbage, again and again, takes a third of some tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """However a test ends, nothing that it started goes on."""
    yield
    kill_launched()


@dataclass(frozen=True)
class S3Server:
    """A server and an empty bucket of it; the environment of the test leads every client there."""

    endpoint_url: str
    bucket: str
    #: Where s3_server.sh keeps the server; None: it is not ours to stop and start.
    folder: Path | None = None

    @property
    def location(self) -> Location:
        return Location(f"s3://{self.bucket}")

    def gateway(self, verb: str) -> None:
        """Stop, start, pause or continue the gateway process; the data stays."""
        if self.folder is None:
            pytest.skip("the S3 server is not started by these tests: its gateway cannot be stopped and started")
        _run_script(f"gateway-{verb}", self.folder)


def _run_script(*arguments: object) -> str:
    done = subprocess.run(
        [SERVER_SCRIPT, *map(str, arguments)],
        check=True,
        timeout=_SCRIPT_SECONDS,
        stdout=subprocess.PIPE,
        text=True,
        # Daemons of the server must not hold the pipes of pytest.
        stderr=subprocess.DEVNULL,
    )
    return done.stdout.strip()


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    # In a process of its own: a client that holds this one's lock while it waits would wait for ever.
    port = free_port()
    server = launch(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        outlives_test=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for_listener(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        kill_all(server)


def _wait_for_listener(port: int, server: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert server.poll() is None, "moto's server does not start"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("moto's server does not listen")


@pytest.fixture(scope="session")
def ceph_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path | None]]:
    endpoint_url = os.environ.get("SER_TEST_S3_ENDPOINT")
    if endpoint_url:
        yield endpoint_url, None
        return
    if shutil.which("radosgw") is None:
        pytest.skip("no S3 server: set SER_TEST_S3_ENDPOINT and its keys, or run tests/s3_server.sh install")
    folder = tmp_path_factory.mktemp("s3_server")
    try:
        yield _run_script("start", folder, 20_000 + free_port() % 10_000), folder
    finally:
        _run_script("stop", folder)


@pytest.fixture(scope="session")
def cluster(moto_endpoint: str) -> Iterator[RayCluster]:
    """A Ray cluster for runs where it is not Ray's start that is tested; its nodes reach moto's server."""
    with ray_cluster(_aws_settings(moto_endpoint, MOTO_KEYS)) as running:
        yield running


def _aws_settings(endpoint_url: str, keys: tuple[str, str]) -> dict[str, str]:
    """All that leads a client to a server, and to no other."""
    return {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ACCESS_KEY_ID": keys[0],
        "AWS_SECRET_ACCESS_KEY": keys[1],
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def _aws_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


@pytest.fixture(scope="session")
def environment_of_clients() -> dict[str, str]:
    """What the clients that this process keeps were made for: making them takes longer than most tests."""
    return {}


@contextmanager
def _empty_bucket(
    monkeypatch: pytest.MonkeyPatch, environment_of_clients: dict[str, str], endpoint_url: str, keys: tuple[str, str]
) -> Iterator[str]:
    """Lead every client of this test and its subprocesses to a server, and make a bucket there."""
    from ser_core.storage import s3

    for name in _aws_environment():
        monkeypatch.delenv(name)
    environment = _aws_settings(endpoint_url, keys)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if environment_of_clients != environment:
        s3.forget()
        environment_of_clients.update(environment)
    bucket = f"ser-{uuid.uuid4().hex}"
    s3.filesystem().call_s3("create_bucket", Bucket=bucket)
    yield bucket
    if _aws_environment() != environment:
        s3.forget()
        environment_of_clients.clear()


@pytest.fixture
def moto_s3(
    moto_endpoint: str, monkeypatch: pytest.MonkeyPatch, environment_of_clients: dict[str, str]
) -> Iterator[S3Server]:
    """An empty bucket on moto's server: honours conditional PUTs, accepts every secret."""
    with _empty_bucket(monkeypatch, environment_of_clients, moto_endpoint, MOTO_KEYS) as bucket:
        yield S3Server(moto_endpoint, bucket)


@pytest.fixture
def ceph_s3(
    ceph_server: tuple[str, Path | None], monkeypatch: pytest.MonkeyPatch, environment_of_clients: dict[str, str]
) -> Iterator[S3Server]:
    """An empty bucket on a real server that checks signatures, for tests marked heavy."""
    endpoint_url, folder = ceph_server
    keys = (
        os.environ.get("SER_TEST_S3_ACCESS_KEY", "test-access"),
        os.environ.get("SER_TEST_S3_SECRET_KEY", "test-secret"),
    )
    with _empty_bucket(monkeypatch, environment_of_clients, endpoint_url, keys) as bucket:
        yield S3Server(endpoint_url, bucket, folder)


@pytest.fixture
def output(tmp_path: Path) -> Output:
    """An output folder that is not there yet."""
    return Output(Location(str(tmp_path / "out")))


@pytest.fixture
def plan(tmp_path: Path) -> Callable[[World], Path]:
    """Writes the plan of a world, over the one before."""
    return lambda world: write_plan(tmp_path / "plan.parquet", world)


@pytest.fixture(
    params=["folder", "folder with an odd name", "moto_s3", pytest.param("ceph_s3", marks=pytest.mark.heavy)]
)
def any_place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """Where an output may be."""
    if request.param.endswith("s3"):
        location: Location = request.getfixturevalue(request.param).location.join("a prefix 100% ü[1]", "out=1")
        return location
    return Location(str(tmp_path / ("out" if request.param == "folder" else "o u%t #1=ü?")))


@pytest.fixture(scope="module")
def quick_disk() -> Iterator[None]:
    """For tests of many commits that never take the power away: waiting for a slow disk would be most of their time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield
