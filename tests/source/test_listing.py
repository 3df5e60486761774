"""What a listing takes, leaves out and counts, and that it is sorted by the bytes of `path`."""

import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ser_core import storage
from ser_core.errors import ServiceError, SourceError
from ser_core.source import listing
from ser_core.source.listing import (
    NO_FILE,
    NO_SUFFIX,
    Choice,
    PlannedFile,
    Skipped,
    count_suffix,
    list_objects,
    walk_files,
)
from ser_core.source.names import escape_path, suffix_of
from ser_core.storage import s3
from ser_core.storage.location import Location
from tests.conftest import S3Server

ALL = Choice(lambda _: True)
WAVS = Choice(lambda path: suffix_of(path) == "wav")
SERVERS = ["moto", pytest.param("ceph", marks=pytest.mark.heavy)]


def _make(root: Path, *names: str | bytes) -> Location:
    for name in names:
        file = os.path.join(os.fsencode(root), os.fsencode(name))  # noqa: PTH118 - bytes
        os.makedirs(os.path.dirname(file), exist_ok=True)  # noqa: PTH103, PTH120 - bytes
        with open(file, "wb") as stream:  # noqa: PTH123 - bytes
            stream.write(b"12")
    return Location(str(root))


def _walk(root: Location, choice: Choice = WAVS) -> tuple[list[str], Skipped]:
    skipped = Skipped()
    return [row.path for row in walk_files(root, choice, skipped)], skipped


def _random_names(count: int) -> set[bytes]:
    generator = random.Random(2)
    letters = [b"a", b"b", b"/", b"-", b".", b"0", b"\\", b"\xff", "é".encode(), b"\xf0\x9f\x98\x80", b" ", b"\n"]
    names = set()
    for _ in range(count):
        parts = [b"".join(generator.choices(letters[:2] + letters[3:], k=generator.randrange(1, 4))) for _ in range(3)]
        names.add(b"/".join(b"d" + part for part in parts[: generator.randrange(1, 4)]) + b".wav")
    return names


def test_a_walk_is_sorted_over_all_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = _random_names(600)
    names = {name for name in names if not any(other.startswith(name + b"/") for other in names)}
    root = _make(tmp_path, *names)
    expected = sorted((escape_path(name) for name in names), key=str.encode)
    assert _walk(root)[0] == expected
    # The same with folders larger than are sorted as Python objects.
    monkeypatch.setattr(listing, "SLICE_ROWS", 7)
    assert _walk(root)[0] == expected


@pytest.mark.parametrize("server", SERVERS)
def test_a_bucket_is_sorted_as_a_folder(request: pytest.FixtureRequest, server: str, tmp_path: Path) -> None:
    found: S3Server = request.getfixturevalue(f"{server}_s3")
    names = sorted(name.decode() for name in _random_names(60) if b"\xff" not in name and b"\n" not in name)
    names = [name for name in names if not any(other.startswith(name + "/") for other in names)]
    for name in names:
        s3.put(f"{found.bucket}/in/{name}", b"12")
    from_bucket = [row.path for row in list_objects(found.location.join("in"), WAVS, Skipped())]
    assert from_bucket == _walk(_make(tmp_path, *names))[0]
    assert from_bucket == [name.replace("\\", "\\\\") for name in names]


def test_versions_and_sizes(tmp_path: Path) -> None:
    root = _make(tmp_path, "a.wav", "b.wav")
    (tmp_path / "b.wav").write_bytes(b"")
    os.utime(tmp_path / "a.wav", ns=(1, 1_700_000_000_123_456_789))
    os.utime(tmp_path / "b.wav", ns=(1, 5))
    assert list(walk_files(root, ALL, Skipped())) == [
        PlannedFile("a.wav", 2, "2-1700000000123456789", 1_700_000_000_123_456),
        PlannedFile("b.wav", 0, "0-5", 0),
    ]


def test_others_and_hidden_files_are_counted(tmp_path: Path) -> None:
    root = _make(tmp_path, "a.WAV", "b.txt", "c.TXT", "d", ".e.wav", ".f/g.wav", ".f/h/i.txt", "j/.k/l.wav", "m.tar.gz")
    _make(tmp_path, "n." + "x" * 40, ".wav")
    (tmp_path / "x.wav").mkdir()
    _make(tmp_path, "x.wav/in.wav", "x.wav/.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    paths, skipped = _walk(root)
    assert paths == ["a.WAV", "x.wav/in.wav"]
    assert skipped.suffixes == {NO_SUFFIX: {"txt": 2, "": 1, "gz": 1, "(other)": 1}, NO_FILE: {"wav": 1}}
    assert skipped.num_hidden == 6


def test_what_file_servers_and_systems_leave_about_is_hidden(tmp_path: Path) -> None:
    litter = [
        "@eaDir/a.wav", "a/@eaDir/b.wav/x.wav", "$RECYCLE.BIN/S-1/c.wav", ".AppleDouble/d.wav", "._e.wav", "a/._f.wav",
        "Thumbs.db", "a/desktop.ini", ".DS_Store", "lost+found/g.wav", "System Volume Information/h.wav",
        "#recycle/i.wav",
    ]  # fmt: skip
    kept = ["a/found.wav", "lost+found.wav", "my thumbs.db.wav", "recycle.bin/x.wav"]
    root = _make(tmp_path, *litter, *kept)
    paths, skipped = _walk(root)
    assert paths == kept
    assert (skipped.num_hidden, skipped.suffixes) == (len(litter), {})


def test_many_suffixes_are_not_all_kept() -> None:
    counts: Counter[str] = Counter()
    for number in range(3000):
        count_suffix(counts, f"file.{number}")
    assert len(counts) == 1001
    assert counts["(other)"] == 2000


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    root = _make(inside, "a/one.wav", "b/two.wav")
    _make(tmp_path / "outside", "three.wav")
    (inside / "a" / "up").symlink_to(inside)
    (inside / "a" / "self").symlink_to(".")
    (inside / "b" / "out").symlink_to(tmp_path / "outside")
    (inside / "b" / "link.wav").symlink_to(inside / "a" / "one.wav")
    (tmp_path / "outside" / "back").symlink_to(inside)
    (inside / "dangling.wav").symlink_to("nowhere")
    (inside / "ring.wav").symlink_to("ring.wav")
    rows = list(walk_files(root, WAVS, Skipped()))
    assert [row.path for row in rows] == [
        "a/one.wav", "b/link.wav", "b/out/three.wav", "b/two.wav", "dangling.wav", "ring.wav",
    ]  # fmt: skip
    assert [row for row in rows if row.version == ""] == [
        PlannedFile("dangling.wav", -1, ""),
        PlannedFile("ring.wav", -1, ""),
    ]


def test_the_output_is_left_out(tmp_path: Path) -> None:
    root = _make(tmp_path, "a.wav", "out/predictions/p.wav", "out2/b.wav")
    (tmp_path / "link").symlink_to("out")
    paths, skipped = _walk(root, Choice(WAVS.wants, exclude=root.join("out")))
    assert paths == ["a.wav", "out2/b.wav"]
    assert skipped == Skipped()
    assert len(_walk(root, Choice(WAVS.wants, exclude=root.join("not-there")))[0]) == 4
    assert len(_walk(root, Choice(WAVS.wants, exclude=Location("s3://bucket/out")))[0]) == 4


def test_the_output_in_a_bucket_is_left_out(moto_s3: S3Server) -> None:
    for key in ("in/a.wav", "in/out/p.wav", "in/out2/b.wav", "in/out.wav"):
        s3.put(f"{moto_s3.bucket}/{key}", b"1")
    source = moto_s3.location.join("in")
    for exclude, paths in (
        (source.join("out"), ["a.wav", "out.wav", "out2/b.wav"]),
        (Location("s3://other/in/out"), ["a.wav", "out.wav", "out/p.wav", "out2/b.wav"]),
        (Location("/in/out"), ["a.wav", "out.wav", "out/p.wav", "out2/b.wav"]),
    ):
        assert [row.path for row in list_objects(source, Choice(WAVS.wants, exclude=exclude), Skipped())] == paths


@pytest.mark.parametrize("server", SERVERS)
def test_odd_keys_of_a_bucket(request: pytest.FixtureRequest, server: str) -> None:
    found: S3Server = request.getfixturevalue(f"{server}_s3")
    sized = {"in/": 0, "in/folder/": 0, "in//a.wav": 1, "in/b//c.wav": 1, "in/empty.wav": 0, "in/%41+ é'\".wav": 1}
    sized |= {"in/.h/d.wav": 1, "in/t.txt": 1, "inside.wav": 1, "in/back\\slash.wav": 1, "in/dot/./e.wav": 1}
    for key, size in sized.items():
        s3.filesystem().call_s3("put_object", Bucket=found.bucket, Key=key, Body=bytes(size))
    skipped = Skipped()
    rows = list(list_objects(found.location.join("in"), WAVS, skipped))
    assert [row.path for row in rows] == ["%41+ é'\".wav", "/a.wav", "b//c.wav", "back\\\\slash.wav", "empty.wav"]
    assert rows[-1].size == 0
    assert all(row.version and '"' not in row.version for row in rows)
    assert (skipped.suffixes, skipped.num_hidden) == ({NO_SUFFIX: {"txt": 1}}, 2)
    assert [row.path for row in list_objects(found.location, WAVS, Skipped())][-1] == "inside.wav"


def test_keys_out_of_order_are_refused(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("a.wav", "b.wav"):
        s3.put(f"{moto_s3.bucket}/{key}", b"1")
    in_order = s3.list_pages
    monkeypatch.setattr(storage, "list_pages", lambda *args: (page[::-1] for page in in_order(*args)))
    with pytest.raises(SourceError, match="not listed in order"):
        list(list_objects(moto_s3.location, WAVS, Skipped()))


def test_a_missing_bucket_is_one_line(moto_s3: S3Server) -> None:
    with pytest.raises(ServiceError, match=r"^s3://ser-missing-bucket: the bucket does not exist"):
        list(list_objects(Location("s3://ser-missing-bucket"), WAVS, Skipped()))


def test_depth_bounds_the_walk(tmp_path: Path) -> None:
    root = _make(tmp_path, "a.wav", "b/c.wav", "b/d/e.wav")
    assert _walk(root, Choice(WAVS.wants, max_depth=0))[0] == ["a.wav"]
    assert _walk(root, Choice(WAVS.wants, max_depth=1))[0] == ["a.wav", "b/c.wav"]


_WALK_AS_NOBODY = """
import os, sys
from ser_core.source.listing import Choice, Skipped, count_suffix, walk_files
from ser_core.storage.location import Location
os.setgid(65534) if os.getuid() == 0 else None
os.setuid(65534) if os.getuid() == 0 else None
print([tuple(row)[:2] for row in walk_files(Location(sys.argv[1]), Choice(lambda path: True), Skipped())])
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_what_cannot_be_read_is_a_row(open_folder: Path) -> None:
    root = open_folder
    _make(root, "a.wav", "closed/b.wav", "names_only/c.wav", "names_only/deep/d.wav", "open/e.wav", ".hidden/f.wav")
    (root / "a.wav").chmod(0)
    (root / "closed").chmod(0)
    (root / ".hidden").chmod(0)
    (root / "names_only").chmod(0o744)
    command = [sys.executable, "-c", _WALK_AS_NOBODY, root]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    for folder in ("closed", "names_only", ".hidden"):
        (root / folder).chmod(0o755)
    assert done.stdout.strip() == str(
        [("a.wav", 2), ("closed/", -1), ("names_only/c.wav", -1), ("names_only/deep/", -1), ("open/e.wav", 2)]
    ), done.stderr


def test_a_listing_is_of_now(tmp_path: Path) -> None:
    root = _make(tmp_path, "a.wav")
    assert _walk(root)[0] == ["a.wav"]
    storage.put(root.join("b.wav"), b"1")
    assert _walk(root)[0] == ["a.wav", "b.wav"]
