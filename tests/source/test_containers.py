"""Archives and tables that hold recordings: each member is a row, read where it lies; what is damaged is said."""

import os
import subprocess
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ser_core import storage
from ser_core.errors import SourceError
from ser_core.faults import Fault
from ser_core.source.fetch import fetch_all
from ser_core.source.listing import NO_SUFFIX, Skipped, microseconds_of
from ser_core.source.opening import FileOpener
from ser_core.source.plan import write_plan
from ser_core.source.source import Source
from ser_core.storage.location import Location
from tests.support.containers import audio_table, tar_of

A, B, C = b"a" * 700, b"b" * 100_000, b""
MEMBERS = [("./b/2.WAV", B), ("b/2.json", b"{}"), ("a.flac", A), ("b/._2.wav", b"x"), ("c.mp3", C), ("notes", b"n")]
CONTENTS = {"a.flac": A, "b/2.WAV": B, "c.mp3": C}


@pytest.fixture(params=["folder", "moto"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    found: Location = (
        Location(str(tmp_path)) if request.param == "folder" else request.getfixturevalue("moto_s3").location.join("in")
    )
    return found


def plan_of(source: Source, skipped: Skipped | None = None) -> list[tuple[str, int, str]]:
    tables = list(source.list(exclude=None, skipped=skipped or Skipped()))
    rows = [(row["path"], row["size"], row["version"]) for table in tables for row in table.to_pylist()]
    assert [path for path, _, _ in rows] == sorted({path for path, _, _ in rows})
    return rows


def contents(source: Source) -> dict[str, bytes | str]:
    """What each path gives, or the reason why it gives nothing; by both ways of reading the same."""
    rows = plan_of(source)
    found: dict[str, bytes | str] = {}
    for row, data in zip(rows, fetch_all(source, rows), strict=True):
        found[row[0]] = data.reason if isinstance(data, Fault) else data
        if not isinstance(data, Fault) and ".parquet" not in row[0]:
            with FileOpener(source, *row)() as file:
                assert (file.seek(0, os.SEEK_END), file.seek(0)) == (len(data), 0)
                assert file.read() == data
                file.seek(-5, os.SEEK_CUR)
                assert file.read(20) == data[-5:]
    return found


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_members_of_an_archive_are_rows(root: Location, form: int) -> None:
    storage.put(root.join("x.tar"), tar_of(MEMBERS, form=form))
    source = Source.parse(root.join("x.tar").url)
    skipped = Skipped()
    assert [(path, size) for path, size, _ in plan_of(source, skipped)] == [
        (f"x.tar/{name}", len(data)) for name, data in CONTENTS.items()
    ]
    assert (skipped.num_hidden, skipped.suffixes) == (1, {NO_SUFFIX: {"json": 1, "": 1}})
    assert contents(source) == {f"x.tar/{name}": data for name, data in CONTENTS.items()}
    assert source.describe() == f"{root}/x.tar"


def test_archives_in_a_list_and_single_members_of_them(root: Location) -> None:
    for name in ("x.tar", "sub/y.tar", "z.tar"):
        storage.put(root.join(name), tar_of(MEMBERS))
    storage.put(root.join("plain.wav"), B)
    lines = [
        "plain.wav",
        "x.tar",
        "x.tar/a.flac",
        f"{root.url}/sub/y.tar/b/2.WAV",
        "z.tar/gone.wav",
        "no.tar",
        "no.tar/x",
    ]
    storage.put(root.join("list.txt"), "\n".join(lines).encode())
    assert contents(Source.parse(root.join("list.txt").url)) == {
        "plain.wav": B,
        f"{root.url}/sub/y.tar/b/2.WAV": B,
        **{f"x.tar/{name}": data for name, data in CONTENTS.items()},
        "z.tar/gone.wav": "not_found" if root.is_s3 else "unreadable",
        "no.tar": "not_found",
        "no.tar/x": "not_found",
    }


def test_a_glob_of_archives_and_a_folder_with_one(root: Location) -> None:
    # Sorted as names the first comes before the second, as members after it.
    for name in ("x.tar", "x.tar.tar", "n/y.tar"):
        storage.put(root.join(name), tar_of([("a.wav", name.encode())]))
    storage.put(root.join("z.wav"), A)
    found = {f"{name}/a.wav": name.encode() for name in ("n/y.tar", "x.tar", "x.tar.tar")}
    assert contents(Source.parse(root.url, "**/*.tar")) == found
    assert contents(Source.parse(f"{root.url}/n/*.tar")) == {"y.tar/a.wav": b"n/y.tar"}
    assert contents(Source.parse(root.url)) == {"z.wav": A}
    # Asked for as a file, it is none.
    assert contents(Source.parse(root.url, "*"))["x.tar"] == "unsupported"


def test_members_have_the_time_of_their_container(root: Location) -> None:
    storage.put(root.join("x.tar"), tar_of(MEMBERS))
    storage.put(root.join("y.parquet"), audio_table([(A, "a.wav"), (B, "b.wav")]))
    storage.put(root.join("list.txt"), b"x.tar\ny.parquet\n")
    rows = [
        row
        for table in Source.parse(root.join("list.txt").url).list(exclude=None, skipped=Skipped())
        for row in table.to_pylist()
    ]
    named = Source("folder", root)
    for container in ("x.tar", "y.parquet"):
        time_us = named.look(container).result().modified
        times = {row["modified"] for row in rows if row["path"].startswith(container)}
        assert {microseconds_of(time) for time in times} == {time_us}
        assert time_us is not None


def test_the_version_is_the_archives_and_the_place(root: Location) -> None:
    one, two = tar_of([("a.wav", A), ("b.wav", A)]), tar_of([("a.wav", A), ("b.wav", B)])
    storage.put(root.join("x.tar"), one)
    source = Source.parse(root.join("x.tar").url)
    rows = plan_of(source)
    assert plan_of(source) == rows
    assert len({version for _, _, version in rows}) == 2
    storage.put(root.join("x.tar"), two)
    assert not {version for _, _, version in rows} & {version for _, _, version in plan_of(source)}
    assert [fault.reason for fault in fetch_all(source, rows) if isinstance(fault, Fault)] == ["changed"] * 2
    with pytest.raises(Fault, match="changed"), FileOpener(source, *rows[0])() as file:
        file.read(1)


def test_names_that_are_odd(tmp_path: Path) -> None:
    names = ["/abs.wav", "../up.wav", "z\udcff.wav", "back\\slash.wav", "é" * 150 + ".wav", "in.tar/x.wav", "a.tar.wav"]
    (tmp_path / "folder.tar").mkdir()
    (tmp_path / "folder.tar" / "x.tar").write_bytes(tar_of([(name, name.encode("utf-8", "replace")) for name in names]))
    found = contents(Source.parse(str(tmp_path / "folder.tar" / "x.tar")))
    expected = ["abs.wav", "../up.wav", "z\\xff.wav", "back\\\\slash.wav", *names[4:]]
    assert set(found) == {f"x.tar/{name}" for name in expected}
    (tmp_path / "list.txt").write_text("folder.tar/x.tar\n")
    assert set(contents(Source.parse(str(tmp_path / "list.txt")))) == {f"folder.tar/x.tar/{name}" for name in expected}


def test_of_two_members_of_one_name_the_last_counts_and_links_are_rows(tmp_path: Path) -> None:
    members = [("a.wav", b"old"), ("b.wav", A), ("./a.wav", b"new")]
    (tmp_path / "x.tar").write_bytes(tar_of(members, links=[("c.wav", "b.wav")]))
    source, skipped = Source.parse(str(tmp_path / "x.tar")), Skipped()
    plan_of(source, skipped)
    assert skipped.suffixes == {"an archive holds a later one of the same name": {"wav": 1}}
    assert contents(source) == {"x.tar/a.wav": b"new", "x.tar/b.wav": A, "x.tar/c.wav": "unsupported"}


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_a_file_with_holes_is_a_row_that_says_so(form: str, tmp_path: Path) -> None:
    with (tmp_path / "holes.wav").open("wb") as file:
        file.truncate(2**24)
    (tmp_path / "z.wav").write_bytes(A)
    names = ["-cSf", "x.tar", "holes.wav", "z.wav"]
    subprocess.run(["tar", f"--format={form}", *names], cwd=tmp_path, check=True)
    assert contents(Source.parse(str(tmp_path / "x.tar"))) == {"x.tar/holes.wav": "unsupported", "x.tar/z.wav": A}


def test_joined_archives_are_read_to_the_end(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar_of([("a.wav", A)]) + tar_of([("b.wav", B)]) + bytes(5120))
    assert contents(Source.parse(str(tmp_path / "x.tar"))) == {"x.tar/a.wav": A, "x.tar/b.wav": B}


@pytest.mark.parametrize(
    "where",
    ["in the data", "in a header", "between members", "a header is damaged", "zeros, then junk"],
)
def test_what_breaks_off_is_a_row_beside_what_is_whole(where: str, tmp_path: Path) -> None:
    whole = tar_of([("a.wav", A), ("b.wav", A)], form=tarfile.USTAR_FORMAT)
    second = 512 + 1024
    (tmp_path / "x.tar").write_bytes({
        "in the data": whole[: second + 1000],
        "in a header": whole[: second + 100],
        "between members": whole[:second],
        "a header is damaged": whole[:second] + b"x" + whole[second + 1 :],
        "zeros, then junk": whole[:second] + bytes(1024) + b"junk" * 500,
    }[where])  # fmt: skip
    source = Source.parse(str(tmp_path / "x.tar"))
    assert contents(source) == {"x.tar": "truncated", "x.tar/a.wav": A}
    [fault, _] = fetch_all(source, plan_of(source))
    position = second + {"zeros, then junk": 1024, "in the data": 1000}.get(where, 0)
    assert f"it breaks off at byte {position}" in str(fault)


def test_an_archive_that_breaks_off_in_its_first_member(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar_of([("a.wav", A)])[:600])
    source = Source.parse(str(tmp_path / "x.tar"))
    assert contents(source) == {"x.tar": "truncated"}


@pytest.mark.parametrize("content", [b"", b"no archive" * 100, b"\x1f\x8b packed"])
def test_what_is_no_archive_is_one_line_as_source_and_a_row_in_a_list(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    (tmp_path / "y.tar").write_bytes(tar_of([("a.wav", A)]))
    with pytest.raises(SourceError, match=r"SOURCE .*x\.tar: it is no tar archive without compression"):
        plan_of(Source.parse(str(tmp_path / "x.tar")))
    (tmp_path / "list.txt").write_text("x.tar\ny.tar\n")
    assert contents(Source.parse(str(tmp_path / "list.txt"))) == {"x.tar": "unreadable", "y.tar/a.wav": A}


ROWS = [(b"%d" % number * (1 + 1000 * number), f"/home/x/{number}.wav") for number in range(10)]


def test_rows_of_a_table_are_read_from_their_bytes(root: Location) -> None:
    rows = [*ROWS, (None, "/data/elsewhere.wav"), (B, None), (None, None)]
    storage.put(root.join("t.parquet"), audio_table(rows))
    found = contents(Source.parse(root.join("t.parquet").url))
    assert found == {
        **{f"t.parquet/{number:08}/{number}.wav": data for number, (data, _) in enumerate(ROWS)},
        "t.parquet/00000010/elsewhere.wav": "unsupported",
        "t.parquet/00000011": B,
        "t.parquet/00000012": "empty",
    }
    source = Source.parse(root.url, "*.parquet")
    assert contents(source) == found
    # In any order.
    elsewhere, planned = plan_of(source)[10:11], plan_of(source)[9::-1]
    words = "the row holds no bytes, only the path of a file; give a list of such files"
    assert list(fetch_all(source, elsewhere)) == [Fault("unsupported", words)]
    assert list(fetch_all(source, planned)) == [data for data, _ in ROWS[::-1]]


def test_tables_of_other_kinds(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    file.write_bytes(audio_table([(None, "a.wav"), (None, "b.wav")]))
    assert [path for path, _, _ in plan_of(Source.parse(str(file)))] == ["a.wav", "b.wav"]
    file.write_bytes(audio_table([(A, "a.wav")], column="recording"))
    assert contents(Source.parse(str(file))) == {"t.parquet/00000000/a.wav": A}
    pq.write_table(pa.table({"audio": pa.array([A, B]), "path": ["a.wav", "b.wav"]}), file)
    assert contents(Source.parse(str(file))) == {"t.parquet/00000000": A, "t.parquet/00000001": B}
    pq.write_table(pa.table({"text": ["a"]}), file)
    with pytest.raises(SourceError, match=r"list .*t\.parquet: it has no column 'path', only 'text'"):
        plan_of(Source.parse(str(file)))
    (tmp_path / "list.txt").write_text("t.parquet")
    assert contents(Source.parse(str(tmp_path / "list.txt"))) == {"t.parquet": "unreadable"}


@pytest.mark.parametrize(
    ("data", "path", "column", "is_audio"),
    [
        (A, "a.jpg", "image", False),
        (b"\xff\xd8\xff\xe0", None, "image", False),
        (b"RIFF\4\0\0\0WEBPVP8 ", None, "image", False),
        (b"\0\0\0\x1cftypheic", None, "photo", False),
        (A, None, "video_frames", False),
        (A, "a.jpg", "audio_16k", True),
        (A, "a.OPUS", "file", True),
        (b"fLaC" + A, None, "file", True),
        (b"RIFF\4\0\0\0WAVEfmt ", None, "file", True),
    ],
)
def test_only_what_is_audio_is_taken_for_recordings(
    data: bytes, path: str | None, column: str, is_audio: bool, tmp_path: Path
) -> None:
    """Data sets of pictures have columns of the same shape."""
    file = tmp_path / "t.parquet"
    file.write_bytes(audio_table([(None, None), (data, path)], column=column))
    if is_audio:
        assert list(contents(Source.parse(str(file))).values()) == ["empty", data]
        return
    with pytest.raises(SourceError, match=rf"list .*t\.parquet: it has no column 'path', only 'text', '{column}'"):
        plan_of(Source.parse(str(file)))
    (tmp_path / "list.txt").write_text("t.parquet")
    assert contents(Source.parse(str(tmp_path / "list.txt"))) == {"t.parquet": "unreadable"}


def test_of_pictures_and_recordings_the_recordings_are_taken(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    values = {
        "image": [{"bytes": B, "path": "b.png"}], "file": [{"bytes": A, "path": "a.wav"}], "bytes": [b"\x89PNG"],
    }  # fmt: skip
    columns = {name: pa.array(value, pa.binary() if name == "bytes" else kind) for name, value in values.items()}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert contents(Source.parse(str(tmp_path / "t.parquet"))) == {"t.parquet/00000000/a.wav": A}


def test_a_table_whose_description_is_damaged_is_one_line(tmp_path: Path) -> None:
    whole = audio_table(ROWS)
    lines = []
    for position in range(len(whole) - 60, len(whole)):
        (tmp_path / "t.parquet").write_bytes(whole[:position] + bytes([whole[position] ^ 255]) + whole[position + 1 :])
        try:
            contents(Source.parse(str(tmp_path / "t.parquet")))
        except SourceError as error:
            lines.append(str(error))
    assert len(lines) > 10
    assert all(line.startswith(f"list {tmp_path}/t.parquet: ") and "\n" not in line for line in lines)


def test_a_table_that_is_damaged_costs_the_rows_that_are(tmp_path: Path) -> None:
    whole = audio_table([(os.urandom(5000), f"{number}.wav") for number in range(6)])
    (tmp_path / "t.parquet").write_bytes(whole[:40] + b"\xff" * 300 + whole[340:])
    found = contents(Source.parse(str(tmp_path / "t.parquet")))
    assert [isinstance(data, bytes) for data in found.values()] == [False] * 3 + [True] * 3
    assert list(found.values())[:3] == ["unreadable"] * 3


def test_an_archive_without_recordings_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar_of([("a.json", A), ("._a.wav", A)]))
    with pytest.raises(SourceError, match=r"SOURCE .*x\.tar holds no recording; it holds 1 \.json, 1 hidden"):
        write_plan(Source.parse(str(tmp_path / "x.tar")), tmp_path / "plan", exclude=None)


def test_a_header_that_says_gigabytes_takes_no_memory(tmp_path: Path) -> None:
    whole = tar_of([("a.wav", A), ("x" * 200, A)], form=tarfile.GNU_FORMAT)
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 2**33
    with (tmp_path / "x.tar").open("wb") as file:
        file.write(whole[:1536] + member.tobuf(tarfile.GNU_FORMAT))
        file.truncate(2**34)
    assert contents(Source.parse(str(tmp_path / "x.tar"))) == {"x.tar": "truncated", "x.tar/a.wav": A}
