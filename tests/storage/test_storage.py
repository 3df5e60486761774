"""Whole reads, writes that are never torn, one winner of a race, on a folder and on buckets."""

import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from ser_core.errors import OutputError, ServiceError, UsageError
from ser_core.storage import location as storage
from ser_core.storage.location import Location
from tests.support.processes import first_line, kill_all, launch

PLACES = ["folder", "moto", pytest.param("ceph", marks=pytest.mark.heavy)]
ODD_NAMES = ["a b", "quote'\"", "k=v", "100%", "a+b", "ümlaut", "%2F", "#?&"]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "folder":
        return Location.parse(str(tmp_path / "out"))
    location: Location = request.getfixturevalue(f"{request.param}_s3").location
    return location.join("out")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("/a/b/", "/a/b"),
        ("/a/../b//c", "/b/c"),
        ("/", "/"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a//b/", "s3://bucket/a//b"),
        ("odd:name", f"{Path.cwd()}/odd:name"),
    ],
)
def test_parse_gives_one_text_for_one_place(text: str, url: str) -> None:
    assert Location.parse(text).url == url


@pytest.mark.parametrize("text", ["", "s3://", "s3:///key", "gs://bucket/a", "file:///a", "s3://key:secret@bucket/a"])
def test_parse_refuses_in_one_line_and_shows_no_password(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Location.parse(text)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_parts_of_a_location() -> None:
    location = Location.parse("s3://bucket/prefix").join("a", "b.wav")
    assert (location.is_s3, location.bucket, location.key, location.name) == (True, "bucket", "prefix/a/b.wav", "b.wav")
    assert location.path == "bucket/prefix/a/b.wav"
    assert pickle.loads(pickle.dumps(location)) == location
    assert Location.parse("/").join("a").url == "/a"
    assert str(Location("/tmp/\udcff\n.wav")) == "/tmp/\\xff\\x0a.wav"


def test_write_read_list_delete(place: Location) -> None:
    for name in ODD_NAMES:
        storage.put(place.join("deep", name), name.encode())
    assert sorted(storage.list_files(place)) == sorted((f"deep/{n}", len(n.encode())) for n in ODD_NAMES)
    assert len(storage.list_files(place, limit=2)) == 2
    for name in ODD_NAMES:
        assert storage.read(place.join("deep", name)) == name.encode()
    file = place.join("deep", "a b")
    storage.put(file, b"")
    assert storage.read(file) == b""
    assert storage.exists(file)
    storage.delete(file)
    storage.delete(file)
    assert not storage.exists(file)
    assert not storage.exists(place.join("deep", "a"))
    with pytest.raises(FileNotFoundError):
        storage.read(file)
    assert storage.list_files(place.join("missing")) == []


def test_lists_are_fresh(place: Location) -> None:
    for count in range(3):
        assert len(storage.list_files(place)) == count
        storage.put(place.join(str(count)), b"1")


def test_put_new_writes_once(place: Location) -> None:
    assert storage.put_new(place.join("key"), b"first")
    assert not storage.put_new(place.join("key"), b"second")
    assert storage.read(place.join("key")) == b"first"
    storage.delete(place.join("key"))
    assert storage.put_new(place.join("key"), b"third")
    assert storage.list_files(place) == [("key", 5)]


#: On moto's server two may win: it looks and writes in two steps.
RACED = pytest.mark.parametrize("place", ["folder", pytest.param("ceph", marks=pytest.mark.heavy)], indirect=True)


@RACED
def test_of_racing_writers_exactly_one_wins(place: Location) -> None:
    bodies = [str(number).encode() * 50_000 for number in range(8)]
    with ThreadPoolExecutor(len(bodies)) as threads:
        for race in range(10):
            file = place.join(f"key-{race}")
            won = list(threads.map(storage.put_new, [file] * len(bodies), bodies))
            assert won.count(True) == 1
            assert storage.read(file) == bodies[won.index(True)]


def _put_new(file: Location, body: bytes) -> bool:
    return storage.put_new(file, body)


@RACED
def test_of_racing_processes_exactly_one_wins(place: Location) -> None:
    with ProcessPoolExecutor(3, multiprocessing.get_context("spawn")) as processes:
        for race in range(5):
            won = list(processes.map(_put_new, [place.join(f"key-{race}")] * 3, [b"a", b"b", b"c"], timeout=120))
            assert won.count(True) == 1


_FORK = """
import os, sys
from ser_core.storage import location as storage
from ser_core.storage.location import Location
before, after = map(Location, sys.argv[1:])
storage.put(before, b"1")
if os.fork() == 0:
    storage.put(after, b"2")
    os._exit(0 if storage.read(before) == b"1" else 1)
assert os.wait()[1] == 0
assert storage.read(after) == b"2"
"""


def test_a_forked_process_uses_its_own_connections(place: Location) -> None:
    # Not a fork of this process: its other threads may hold locks that the child would wait for, for ever.
    process = launch([sys.executable, "-c", _FORK, place.join("before").url, place.join("after").url])
    assert process.wait(120) == 0
    assert storage.read(place.join("after")) == b"2"


_WRITE_FOREVER = """
import sys
from ser_core.storage import location as storage
from ser_core.storage.location import Location
for letter in iter(lambda: (storage.put(Location(sys.argv[1]), b"a" * 3_000_000), print(flush=True)), None):
    storage.put(Location(sys.argv[1]), b"b" * 2_000_000)
"""


def test_a_reader_never_sees_a_part_even_when_the_writer_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "part.parquet"
    wholes = {b"a" * 3_000_000, b"b" * 2_000_000}
    for _ in range(5):
        writer = launch([sys.executable, "-c", _WRITE_FOREVER, str(file)], stdout=subprocess.PIPE)
        first_line(writer)
        for _ in range(20):
            assert file.read_bytes() in wholes
        kill_all(writer)
        assert file.read_bytes() in wholes
        assert list(tmp_path.glob("*.parquet")) == [file]
        assert all(name.name.startswith(".") for name in tmp_path.iterdir() if name != file)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        storage.put(Location(str(tmp_path / "folder")), b"1")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe, device, nowhere = tmp_path / "pipe", tmp_path / "device", tmp_path / "nowhere"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    nowhere.symlink_to("/nowhere/at/all")
    for place, words in (
        (pipe, "device or pipe, not a file"),
        (device, "device or pipe, not a file"),
        (tmp_path, "folder, not a file"),
        (nowhere, "link that leads nowhere"),
    ):
        with pytest.raises(OSError, match=words) as caught:
            storage.read(Location(str(place)))
        assert not isinstance(caught.value, FileNotFoundError)


def test_a_pipe_of_this_process_is_read_to_its_end() -> None:
    """As shells give one for `<(command)`; its writer may be slow."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(b"a" * 450_000)

    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(storage.read, Location(f"/dev/fd/{reading}"))
        write()
        assert read.result(30) == b"a" * 450_000
    os.close(reading)


def test_a_file_that_lies_elsewhere_is_listed_by_its_size(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").symlink_to(tmp_path / "file")
    (folder / "b").symlink_to("nowhere")
    assert sorted(storage.list_files(Location(str(folder)))) == [("a", 5), ("b", len("nowhere"))]


_FULL_DISK = """
mount -t tmpfs -o size=64k none "$1" || exit 77
exec "$2" -c '
import sys
from ser_core.storage import location as storage
from ser_core.storage.location import Location
try:
    storage.put(Location(sys.argv[1] + "/file"), bytes(200_000))
except storage.ServiceError as error:
    print(error)
print(storage.list_files(Location(sys.argv[1])))
' "$1"
"""


def test_a_full_disk_is_a_fault_of_the_service(tmp_path: Path) -> None:
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", _FULL_DISK, "sh", str(tmp_path), sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("a small file system cannot be mounted here: a full disk is not tried")
    assert done.stdout.splitlines() == [f"{tmp_path}/file: the disk is full; free some space", "[]"], done.stderr


def test_without_hard_links_the_output_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OutputError, match="no hard links"):
        storage.put_new(Location(str(tmp_path / "key")), b"1")
    assert list(tmp_path.iterdir()) == []


def test_local_work_imports_no_s3_client(tmp_path: Path) -> None:
    code = "import sys; from ser_core import storage; storage.put(storage.Location(sys.argv[1]), b'1')\n"
    code += "assert not {'s3fs', 'botocore', 'fsspec', 'pyarrow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], check=True, timeout=120)


def test_faults_name_the_location_and_pass_other_errors_on() -> None:
    location = Location("/data")
    with pytest.raises(ServiceError, match=r"^/data: the disk is full"), storage.faults_of(location):
        raise OSError(28, "No space left on device")
    with pytest.raises(FileNotFoundError), storage.faults_of(location):
        raise FileNotFoundError
    with pytest.raises(UsageError), storage.faults_of(location):
        raise UsageError
