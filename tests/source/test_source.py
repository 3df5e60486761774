"""What SOURCE may be, which files of it count, and what is opened for a path."""

import errno
import os
import pickle
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from ser_core import storage
from ser_core.errors import ServiceError, SourceError, UsageError
from ser_core.records import PLAN_SCHEMA
from ser_core.source import source
from ser_core.source.listing import Skipped, _in_calendar
from ser_core.source.source import Source
from ser_core.storage import s3
from ser_core.storage.location import Location
from tests.conftest import S3Server
from tests.support.flaky_s3 import S3Fault, clients_behind_proxy

NAMES = ["a.wav", "b/c.FLAC", "b/d/e.mp3", "b/d/f.txt", "g h.wav", "[x].wav"]


@pytest.fixture(params=["folder", "moto"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    found: Location
    if request.param == "folder":
        found = Location(str(tmp_path))
    else:
        found = request.getfixturevalue("moto_s3").location.join("in put")
    for name in NAMES:
        storage.put(found.join(name), b"12")
    return found


def _rows(source: Source) -> list[dict[str, object]]:
    tables = list(source.list(exclude=None, skipped=Skipped()))
    assert all(table.schema == PLAN_SCHEMA for table in tables)
    return pa.concat_tables(tables).to_pylist() if tables else []


def _paths(source: Source) -> list[object]:
    return [row["path"] for row in _rows(source)]


def test_a_row_has_the_time_of_its_file_or_object_however_it_is_listed(root: Location) -> None:
    storage.put(root.join("list.txt"), b"a.wav\nb/c.FLAC\ngone.wav\n")
    times = {row["path"]: row["modified"] for row in _rows(Source.parse(root.url))}
    of_list = {row["path"]: row["modified"] for row in _rows(Source.parse(root.join("list.txt").url))}
    assert of_list == {"a.wav": times["a.wav"], "b/c.FLAC": times["b/c.FLAC"], "gone.wav": None}
    if not root.is_s3:
        os.utime(f"{root.path}/a.wav", ns=(0, 1_700_000_000_123_456_789))
        [row] = _rows(Source.parse(root.join("a.wav").url))
        assert row["modified"] == datetime(2023, 11, 14, 22, 13, 20, 123_456, tzinfo=UTC)


def test_a_time_that_no_calendar_has_is_none() -> None:
    # File systems of 64 bits may hold it; the tables, and Python, do not.
    assert _in_calendar(2**62) is None
    assert _in_calendar(-(2**60)) is None
    assert _in_calendar(0) == 0


def _content(source: Source, path: str) -> bytes:
    target = source.locate(path)
    return storage.read(Location(f"s3://{target}" if isinstance(target, str) else os.fsdecode(target)))


def test_a_folder_or_prefix(root: Location) -> None:
    for text in (root.url, root.url + "/"):
        found = Source.parse(text, None)
        assert found.describe() == root.url
        assert _paths(found) == ["[x].wav", "a.wav", "b/c.FLAC", "b/d/e.mp3", "g h.wav"]
        assert all(_content(found, str(path)) == b"12" for path in _paths(found))
        assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize(
    ("glob", "paths"),
    [
        ("*.wav", ["[x].wav", "a.wav", "g h.wav"]),
        ("**/*.wav", ["[x].wav", "a.wav", "g h.wav"]),
        ("**/*.txt", ["b/d/f.txt"]),
        ("b/*", ["b/c.FLAC"]),
        ("b/**", ["b/c.FLAC", "b/d/e.mp3", "b/d/f.txt"]),
        ("**/d/*", ["b/d/e.mp3", "b/d/f.txt"]),
        ("?.wav", ["a.wav"]),
        ("[[]x].wav", ["[x].wav"]),
        ("g h.*", ["g h.wav"]),
        ("*.WAV", []),
    ],
)
def test_globs(root: Location, glob: str, paths: list[str]) -> None:
    assert _paths(Source.parse(root.url, glob)) == paths
    assert Source.parse(root.url, glob).describe() == f"{root}/{glob}"


def test_a_glob_as_source(root: Location) -> None:
    found = Source.parse(root.url + "/b/*/*.mp3", None)
    assert _paths(found) == ["d/e.mp3"]
    assert _content(found, "d/e.mp3") == b"12"
    assert Source.parse(root.url + "/b", "*/*.mp3") == found
    with pytest.raises(UsageError, match="is a glob already"):
        Source.parse(root.url + "/b/*", "*.wav")


def test_a_file_named_like_a_glob_is_that_file(root: Location) -> None:
    assert _paths(Source.parse(root.url + "/[x].wav", None)) == ["[x].wav"]


@pytest.mark.parametrize("glob", ["", "/a/*.wav", "a**.wav"])
def test_globs_that_cannot_be_used(root: Location, glob: str) -> None:
    with pytest.raises(UsageError, match="--glob"):
        Source.parse(root.url, glob)


def test_one_file(root: Location) -> None:
    found = Source.parse(root.url + "/b/d/f.txt".replace("f.txt", "e.mp3"), None)
    assert [(row["path"], row["size"]) for row in _rows(found)] == [("e.mp3", 2)]
    assert _rows(found)[0]["version"] == next(
        row["version"] for row in _rows(Source.parse(root.url, None)) if row["path"] == "b/d/e.mp3"
    )
    assert found.describe() == f"{root}/b/d/e.mp3"
    assert _content(found, "e.mp3") == b"12"
    with pytest.raises(UsageError, match="is a single file"):
        Source.parse(root.url + "/a.wav", "*.wav")


def test_what_is_missing(root: Location) -> None:
    for text in ("/nothing", "/a.wav/x", "/missing.txt"):
        with pytest.raises(SourceError, match="does not exist"):
            Source.parse(root.url + text, None)


def test_a_glob_below_what_is_no_folder(root: Location) -> None:
    for text in ("/nothing/*.wav", "/a.wav/*", "/nothing/**/[ab]/*"):
        with pytest.raises(SourceError, match=r"there is no folder .*/(nothing|a\.wav)$"):
            Source.parse(root.url + text, None)


def test_a_list_beside_the_files(root: Location, tmp_path: Path) -> None:
    (tmp_path / "else where.wav").write_bytes(b"12")
    entries = ["b/c.FLAC", f"{root.url}/g h.wav", str(tmp_path / "else where.wav"), "gone.wav", "./a.wav", "b/../a.wav"]
    storage.put(root.join("list.txt"), "\n".join([*entries, "", entries[0], "b"]).encode())
    found = Source.parse(root.url + "/list.txt", None)
    rows = {str(row["path"]): row for row in _rows(found)}
    assert list(rows) == sorted([*entries, "b"])
    assert found.describe() == f"{root}/list.txt"
    for missing in ("gone.wav", "b"):
        assert (rows.pop(missing).items()) >= {"size": -1, "version": ""}.items()
    for path, row in rows.items():
        assert (row["size"], bool(row["version"])) == (2, True)
        assert _content(found, path) == b"12"


def test_a_local_list_of_objects(moto_s3: S3Server, tmp_path: Path) -> None:
    for number in range(70):
        s3.put(f"{moto_s3.bucket}/{number:03}+ %.wav", b"12")
    urls = [f"{moto_s3.location}/{number:03}+ %.wav" for number in range(71)]
    (tmp_path / "list.csv").write_text("path\n" + "\n".join(urls))
    rows = _rows(Source.parse(str(tmp_path / "list.csv"), None))
    assert [row["path"] for row in rows] == urls
    assert [row["size"] for row in rows] == [2] * 70 + [-1]
    assert {row["version"] for row in rows[:-1]} == {
        s3.start_request(s3.head_object(f"{moto_s3.bucket}/000+ %.wav")).result()[1]
    }


def test_an_object_that_is_denied_is_a_row(moto_s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.txt").write_text(f"{moto_s3.location}/a.wav")
    with clients_behind_proxy(moto_s3.endpoint_url, monkeypatch, [S3Fault(lambda *_: True, (403, "AccessDenied"))]):
        assert [row["version"] for row in _rows(Source.parse(str(tmp_path / "list.txt"), None))] == [""]


@pytest.mark.parametrize("marker", [b"", b"what some program put there"])
def test_an_object_of_a_prefixs_name_hides_nothing_below_it(moto_s3: S3Server, marker: bytes) -> None:
    below = moto_s3.location.join("calls.txt")
    for key in ("calls.txt", "calls.txt/", "calls.txt/a.wav", "calls.txt/2026/b.wav"):
        s3.put(f"{moto_s3.bucket}/{key}", marker if key in {"calls.txt", "calls.txt/"} else b"12")
    found = Source.parse(f"{below}/")
    assert (found.kind, _paths(found)) == ("folder", ["2026/b.wav", "a.wav"])
    assert _paths(Source.parse(f"{below}/*")) == ["a.wav"]
    if marker:
        with pytest.raises(SourceError, match=f"{below} is an object and a prefix; put / at its end"):
            Source.parse(str(below))
    else:
        assert Source.parse(str(below)) == found


def test_a_prefix_that_holds_nothing(moto_s3: S3Server) -> None:
    storage.put(moto_s3.location.join("a.wav"), b"12")
    with pytest.raises(SourceError, match=r"a\.wav/ does not exist"):
        Source.parse(f"{moto_s3.location}/a.wav/")


def test_odd_local_names_are_opened_by_their_bytes(tmp_path: Path) -> None:
    names = [b"z\xff.wav", b"back\\slash.wav", b"new\nline.wav", b"=%'\".wav", b"\\xff.wav"]
    for name in names:
        with open(os.fsencode(tmp_path) + b"/" + name, "wb") as file:  # noqa: PTH123 - bytes
            file.write(name)
    found = Source.parse(str(tmp_path), None)
    assert sorted(_content(found, str(path)) for path in _paths(found)) == sorted(names)
    alone = Source.parse(os.fsdecode(os.fsencode(tmp_path) + b"/" + names[0]), None)
    assert _paths(alone) == ["z\\xff.wav"]
    assert _content(alone, "z\\xff.wav") == names[0]
    assert alone.describe() == f"{tmp_path}/z\\xff.wav"


def test_tables_are_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        (tmp_path / f"{number}.wav").touch()
    monkeypatch.setattr(source, "SLICE_ROWS", 4)
    tables = Source.parse(str(tmp_path), None).list(exclude=None, skipped=Skipped())
    assert [len(table) for table in tables] == [4, 4, 2]


def test_a_lost_mount_stops_a_list_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.txt").write_text("a.wav\n")
    found = Source.parse(str(tmp_path / "list.txt"))

    def fail(raw: bytes) -> None:
        raise OSError(errno.ESTALE, "Stale file handle", raw)

    monkeypatch.setattr(os, "stat", fail)
    with pytest.raises(ServiceError, match="stale handle"):
        _paths(found)


def test_no_source_is_one_clear_line(moto_s3: S3Server) -> None:
    with pytest.raises(ServiceError, match=r"^s3://ser-no-bucket/a: the bucket does not exist"):
        Source.parse("s3://ser-no-bucket/a", None)
    with pytest.raises(UsageError, match="gs:// is not supported"):
        Source.parse("gs://bucket", None)
    with pytest.raises(SourceError, match="neither a file nor a folder"):
        Source.parse("/dev/null", None)


@pytest.mark.heavy
def test_wrong_credentials_are_one_clear_line(ceph_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.put(f"{ceph_s3.bucket}/a.wav", b"1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    s3.forget()
    for text in (ceph_s3.location.url, ceph_s3.location.url + "/a.wav"):
        with pytest.raises(ServiceError, match=f"^{text}: the secret key is wrong; check the credentials$"):
            Source.parse(text, None)
