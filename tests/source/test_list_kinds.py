"""Lists as other programs and people write them: encodings, separators, manifests of other tools, broken lines."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ser_core.errors import SourceError
from ser_core.faults import Fault
from ser_core.source import text_table
from ser_core.source.fetch import fetch_all
from ser_core.source.listing import Skipped, iter_sorted
from ser_core.source.path_list import read_path_list
from ser_core.source.source import Source
from ser_core.storage.location import Location

_LHOTSE = {"id": "r", "sources": [{"type": "file", "channels": [0], "source": "b.wav"}], "sampling_rate": 16000}
_CUT = {"id": "c", "start": 1, "recording": {"sources": [{"type": "file", "source": "c é.wav"}]}}
_WANTED = ["a.wav", "b.wav", "c é.wav"]


def _lines(*entries: object) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in entries)


KINDS: dict[str, tuple[str, str | bytes]] = {
    "PowerShell": ("l.txt", "a.wav\r\nb.wav\r\nc é.wav\r\n".encode("utf-16")),
    "UTF-16, big end first": ("l.txt", b"\xfe\xff" + "a.wav\nb.wav\nc é.wav".encode("utf-16-be")),
    "UTF-8 with a mark": ("l.lst", "\ufeffa.wav\nb.wav\nc é.wav\n"),
    "find -print0": ("l.txt", "a.wav\0b.wav\0c é.wav\0"),
    "Excel, semicolons": ("l.csv", "\ufeffpath;duration\r\na.wav;3,5\r\nb.wav;1\r\nc é.wav;2\r\n"),
    "Excel says its separator": ("l.csv", "sep=;\r\npath;x\r\na.wav;1\r\nb.wav;2\r\nc é.wav;2\r\n"),
    "Excel's Unicode text": ("l.csv", "x\tpath\r\n1\ta.wav\r\n2\tb.wav\r\n3\t\"c é.wav\"\r\n".encode("utf-16")),
    "old Mac": ("l.csv", "path,x\ra.wav,1\rb.wav,2\rc é.wav,3\r"),
    "Common Voice": ("l.tsv", "client_id\tpath\tsentence\nx\ta.wav\t\"Hi\ny\tb.wav\tWell, \"so\"\nz\tc é.wav\tOh\n"),
    "padded": ("l.csv", "id , PATH , x\n1 , a.wav , 2\n2,b.wav,3\n3, c é.wav,\n"),
    "file_name": ("metadata.csv", "file_name,label\na.wav,1\nb.wav,2\nc é.wav,3\n"),
    "NeMo": ("l.json", _lines(*({"audio_filepath": path, "duration": 1.0} for path in _WANTED))),
    "JSON lines": ("l.jsonl", _lines({"path": "a.wav"}, {"path": "a.wav"}, "b.wav", {"Wav": _WANTED[2]})),
    "an array": ("l.json", json.dumps([{"path": "a.wav"}, {"audio": {"path": "b.wav", "n": 1}}, "c é.wav"], indent=1)),
    "Lhotse": ("l.jsonl.gz", gzip.compress(_lines({"path": "a.wav"}, _LHOTSE, _CUT).encode())),
    "Kaldi": ("wav.scp", "utt-1 a.wav\nutt-2\tb.wav\nutt-3   c é.wav\n"),
    "a playlist": ("l.m3u8", "#EXTM3U\r\n#EXTINF:3,A\r\na.wav\r\nb.wav\r\n\r\n#EXTINF:1,\r\nc é.wav\r\n"),
}  # fmt: skip


def _read(file: Path) -> list[str]:
    return list(iter_sorted(read_path_list(Location(str(file)))))


@pytest.mark.parametrize("kind", KINDS)
def test_what_others_write_is_read(kind: str, tmp_path: Path) -> None:
    name, content = KINDS[kind]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    for path in _WANTED[:2]:
        (tmp_path / path).write_bytes(b"12")
    found = Source.parse(str(tmp_path / name))
    rows = [row for table in found.list(exclude=None, skipped=Skipped()) for row in table.to_pylist()]
    assert [(row["path"], row["size"]) for row in rows] == [("a.wav", 2), ("b.wav", 2), ("c é.wav", -1)]


def test_a_playlist_of_urls(tmp_path: Path) -> None:
    (tmp_path / "l.m3u").write_bytes(b"file:///x/a%20b.wav\n/y/caf\xe9.wav\n")
    assert _read(tmp_path / "l.m3u") == ["/x/a b.wav", "/y/caf\\xe9.wav"]


@pytest.mark.parametrize(
    ("content", "paths"),
    [
        # One field too few or too many, a quote that is never closed, a quote within a name, a NUL.
        ("path,x\na.wav\nb.wav,1\n", ["a.wav", "b.wav"]),
        ("path,x\na, b.wav,1\nc.wav,2,\n", ["a, b.wav,1", "c.wav"]),
        ("x,path\n1\n2,b.wav\n", ["1", "b.wav"]),
        ('path,x\n"a.wav,1\nb.wav,2\n' + "c.wav,3\n" * 30, ['"a.wav', "b.wav", "c.wav"]),
        ('path,x\nb.wav,2\n"a.wav,1\nc.wav,3\n', ['"a.wav', "b.wav", "c.wav"]),
        ('path,x\n5" a.wav,1\n6" b.wav,2\n', ['5" a.wav', '6" b.wav']),
        ("path\na, b.wav\nc\0.wav\n", ["a, b.wav", "c\0.wav"]),
        ("path,x\n" + "y" * 200_000 + ",1\nb.wav,2\n", ["b.wav", "y" * 200_000]),
    ],
)
def test_a_broken_line_costs_itself_alone(content: str, paths: list[str], tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(content)
    assert _read(tmp_path / "l.csv") == paths


def test_entries_without_a_path_are_rows_as_they_are_written(tmp_path: Path) -> None:
    broken, other = '{"path": "a.wa', '{"text": "hello"}'
    (tmp_path / "l.jsonl").write_text(f'{{"path": "b.wav"}}\n{broken}\n\n{other}\n{{"path": "\\ud800"}}\n')
    assert _read(tmp_path / "l.jsonl") == ["\\\\ud800", "b.wav", broken, other]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("sph2pipe -f wav a.sph |", "is not run"),
        ("cat b.wav|", "is not run"),
        ("/data/wav.1.ark:4711", "a place in a Kaldi archive is not read"),
        ("wav.ark:5[0:99]", "a place in a Kaldi archive is not read"),
        ("https://example.org/a.wav", "an address is not fetched"),
    ],
)
def test_what_is_no_file_is_a_row_that_says_so(written: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "wav.scp").write_text(f"utt-1 {written}\n")
    source = Source.parse(str(tmp_path / "wav.scp"))
    (table,) = source.list(exclude=None, skipped=Skipped())
    rows = [(row["path"], row["size"], row["version"]) for row in table.to_pylist()]
    assert [path for path, _, _ in rows] == [written]
    [fault] = fetch_all(source, rows)
    assert isinstance(fault, Fault)
    assert fault.reason == "unsupported"
    assert words in fault.detail


def test_long_lines_and_arrays_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_table, "MAX_LINE_LENGTH", 50)
    (tmp_path / "l.txt").write_text("a" * 120 + "\nb.wav\n")
    assert sorted(map(len, _read(tmp_path / "l.txt"))) == [5, 20, 50]
    paths = [f"{number:03}.wav" for number in range(300)]
    (tmp_path / "l.json").write_text(json.dumps([{"path": path} for path in paths]))
    assert _read(tmp_path / "l.json") == paths


@pytest.mark.parametrize("name", ["l.xlsx", "l.zip", "l.tar.gz", "l.xml"])
def test_what_is_no_list_that_is_read_is_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SourceError, match=f"SOURCE .*{name} is neither a recording nor a list that is read .*\\.csv"):
        Source.parse(str(tmp_path / name))


def test_parquet_takes_the_names_of_others_too(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1], "Audio_FilePath": ["a.wav"]}), tmp_path / "l.parquet")
    assert _read(tmp_path / "l.parquet") == ["a.wav"]
