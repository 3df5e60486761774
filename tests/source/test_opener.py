"""Files opened piece by piece, in another process too, that notice when they change."""

import io
import os
import pickle
import random
import resource
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from ser_core import storage
from ser_core.errors import ServiceError
from ser_core.faults import Fault
from ser_core.source import opening
from ser_core.source.listing import Skipped
from ser_core.source.opening import FileOpener
from ser_core.source.source import Source
from ser_core.storage import s3
from ser_core.storage.location import Location
from tests.conftest import S3Server
from tests.support.flaky_s3 import clients_behind_proxy

DATA = random.Random(3).randbytes(3_000_000)


@pytest.fixture(params=["folder", "moto", pytest.param("ceph", marks=pytest.mark.heavy)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    found: Location = (
        Location(str(tmp_path))
        if request.param == "folder"
        else request.getfixturevalue(f"{request.param}_s3").location
    )
    storage.put(found.join("a b.wav"), DATA)
    return found


def _opener(root: Location) -> FileOpener:
    source = Source.parse(root.url, None)
    (table,) = source.list(exclude=None, skipped=Skipped())
    return FileOpener(source, *(table[name][0].as_py() for name in ("path", "size", "version")))


def _steps(file: BinaryIO) -> None:
    """Reads and seeks as a decoder does, and at random, against the same of a file in memory."""
    memory = io.BytesIO(DATA)
    generator = random.Random(4)
    assert file.seek(0, os.SEEK_END) == len(DATA)
    assert file.read(10) == b""
    for _ in range(60):
        whence = generator.choice([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END])
        offset = {0: generator.randrange(len(DATA)), 1: generator.randrange(5000), 2: -generator.randrange(9999)}[
            whence
        ]
        assert file.seek(offset, whence) == memory.seek(offset, whence)
        size = generator.choice([1, 12, 4096, 300_000])
        assert file.read(size) == memory.read(size)
        assert file.tell() == memory.tell()


def test_reads_and_seeks_as_a_file(root: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_BUFFER_BYTES", 100_000)
    with _opener(root)() as file:
        _steps(file)
        assert file.seekable()
    assert file.closed


def test_opens_in_another_process(root: Location) -> None:
    code = "import pickle, sys; f = pickle.load(sys.stdin.buffer)(); f.seek(-5, 2); sys.stdout.buffer.write(f.read())"
    code += "; assert not {'torch', 'pyarrow', 'ray'} & set(sys.modules), 'a decoding child stays lean'"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=pickle.dumps(_opener(root)), capture_output=True, check=True, timeout=120)
    assert done.stdout == DATA[-5:]


def test_a_change_before_opening_and_while_reading(root: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_BUFFER_BYTES", 100_000)
    planned = _opener(root)
    file = planned()
    assert file.read(100) == DATA[:100]
    if root.is_s3:
        storage.put(root.join("a b.wav"), DATA[::-1])
    else:
        with (Path(root.path) / "a b.wav").open("r+b") as writer:
            writer.write(b"new")
    with pytest.raises(Fault, match="changed"):
        file.read(1_000_000)
    with pytest.raises(Fault, match="changed"):
        planned().read(10)


def test_a_file_gone_before_opening(root: Location) -> None:
    planned = _opener(root)
    storage.delete(root.join("a b.wav"))
    with pytest.raises(Fault) as caught:
        planned().read(10)
    assert caught.value.reason == "not_found"


def test_an_object_is_fetched_in_few_pieces(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.put(f"{moto_s3.bucket}/a.wav", DATA)
    monkeypatch.setattr(opening, "_BUFFER_BYTES", 1_000_000)
    planned = _opener(moto_s3.location)
    with clients_behind_proxy(moto_s3.endpoint_url, monkeypatch) as proxy:
        with planned() as file:
            while file.read(4096):
                pass
        assert proxy.counts == {"GET": 3}


def test_a_service_that_goes_away_while_reading(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.put(f"{moto_s3.bucket}/a.wav", DATA)
    monkeypatch.setattr(opening, "_BUFFER_BYTES", 100_000)
    file = _opener(moto_s3.location)()
    assert file.read(10) == DATA[:10]
    monkeypatch.setenv("SER_S3_RETRY_SECONDS", "0.5")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3.forget()
    with pytest.raises(ServiceError, match="cannot be reached"):
        file.read(200_000)


def test_too_many_open_files_are_no_fault_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"12")
    opened = _opener(Location(str(tmp_path)))
    _, hard = limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(ServiceError, match="too many files open"):
            opened()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_folder_and_a_pipe_do_not_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    for name in ("pipe.wav", "."):
        with pytest.raises(Fault) as caught:
            FileOpener(Source("list", Location(str(tmp_path))), name, 1, "1-1")()
        assert caught.value.reason == "unreadable"
