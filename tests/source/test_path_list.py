"""Lists of paths: text, CSV and Parquet, each path once, sorted, exactly as written."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ser_core import storage
from ser_core.errors import SourceError
from ser_core.faults import Fault
from ser_core.source import path_list
from ser_core.source.fetch import fetch_all
from ser_core.source.listing import Skipped, iter_sorted
from ser_core.source.path_list import read_path_list
from ser_core.source.source import Source
from ser_core.storage.location import Location
from tests.conftest import S3Server


def _read(file: Path) -> list[str]:
    return list(iter_sorted(read_path_list(Location(str(file)))))


def test_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes(
        b"\xef\xbb\xbfb.wav\r\n\n  \na b.wav\nb.wav\nz\xff.wav\n/abs/c.wav\ns3://bucket/d e.wav\nback\\slash.wav"
    )
    expected = ["/abs/c.wav", "a b.wav", "b.wav", "back\\\\slash.wav", "s3://bucket/d e.wav", "z\\xff.wav"]
    assert _read(file) == expected
    # The same in slices.
    monkeypatch.setattr(path_list, "SLICE_ROWS", 2)
    assert _read(file) == expected


def test_csv(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes(
        b'\xef\xbb\xbfid,path,x\n1,b.wav,\n2,"a, ""b""\n.wav",y\n3,,z\n\n4,b.wav,\n5,z\xff.wav,\n6,NULL,\n7,07.wav,'
    )
    assert _read(file) == ["07.wav", "NULL", 'a, "b"\n.wav', "b.wav", "z\\xff.wav"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet(tmp_path: Path, kind: pa.DataType) -> None:
    file = tmp_path / "list.parquet"
    paths = pa.array(["b.wav", None, "a.wav", "b.wav", "", "é.wav"], pa.string())
    pq.write_table(pa.table({"x": range(6), "path": paths.cast(kind)}), file)
    assert _read(file) == ["a.wav", "b.wav", "é.wav"]


def test_a_list_in_a_bucket(moto_s3: S3Server) -> None:
    storage.put(moto_s3.location.join("list.csv"), b"path\nb.wav\na.wav\n")
    assert list(iter_sorted(read_path_list(moto_s3.location.join("list.csv")))) == ["a.wav", "b.wav"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"file,x\nb.wav,1\n", "no column 'path'"),
        ("a.csv", b"", "it is empty"),
        ("a.csv", b"path,Path \nb.wav,c.wav\n", "the column 'path' is there twice"),
        ("a.txt", "a.wav\nb.wav\n".encode("utf-16-le"), "UTF-16 without a byte-order mark"),
        ("a.jsonl", b'{"text": "a.wav"}\n', "no entry has a path; the keys that are known: path, audio_filepath"),
        ("a.json", b'[{"path": "a.wav"}, {"pa', "is no JSON, or breaks off"),
        ("a.json", b'{\n "a": 1\n}', "neither an array of JSON nor one object a line"),
        ("a.jsonl.gz", b"no gzip", "no whole gzip file"),
        ("a.m3u8", b"#EXTM3U\n#EXT-X-VERSION:3\na.ts\n", "a stream in pieces"),
        ("a.parquet", b"no parquet", "Parquet"),
    ],
)
def test_what_is_no_list_is_one_line(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=words) as caught:
        _read(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_that_no_file_can_have_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"a\0.wav\n" + b"b" * 5_000 + b"\n")
    source = Source.parse(str(tmp_path / "list.txt"))
    (table,) = source.list(exclude=None, skipped=Skipped())
    assert table["size"].to_pylist() == [-1, -1]
    rows = [(row["path"], row["size"], row["version"]) for row in table.to_pylist()]
    faults = [fault for fault in fetch_all(source, rows) if isinstance(fault, Fault)]
    assert [fault.reason for fault in faults] == ["not_found", "unreadable"]


@pytest.mark.parametrize("name", ["list.txt", "list.csv", "list.parquet"])
def test_a_list_in_a_folder_that_is_no_utf_8(tmp_path: Path, name: str) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    (folder / "a.wav").write_bytes(b"12")
    file = folder / name
    if name == "list.parquet":
        with file.open("wb") as stream:
            pq.write_table(pa.table({"path": ["a.wav"]}), stream)
    else:
        file.write_text("path\na.wav\n" if name == "list.csv" else "a.wav\n")
    source = Source.parse(str(file))
    (table,) = source.list(exclude=None, skipped=Skipped())
    assert table["size"].to_pylist() == [2]
    assert source.describe() == f"{tmp_path}/\\xff/{name}"
    file.write_bytes(b"")
    if name != "list.txt":
        with pytest.raises(SourceError, match=rf"^list {tmp_path}/\\xff/{name}: "):
            list(source.list(exclude=None, skipped=Skipped()))


def test_parquet_without_the_column_or_with_numbers(tmp_path: Path) -> None:
    for table in (pa.table({"file": ["a"]}), pa.table({"path": [1.5]})):
        pq.write_table(table, tmp_path / "a.parquet")
        with pytest.raises(SourceError, match="path"):
            _read(tmp_path / "a.parquet")
