"""Manifests that nobody made by this program: small files that would fill memory, and texts that are none."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ser_core.corpora import manifest
from ser_core.corpora.manifest import MANIFEST_SCHEMA, read_manifests
from ser_core.errors import SourceError
from ser_core.source.listing import iter_sorted
from ser_core.source.path_list import read_path_list
from ser_core.storage.location import Location

_MEGABYTE = 2**20


def repeated(text: str, times: int) -> pa.Array:
    """One text many times: a few bytes in a Parquet file."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), pa.array([text]))


def no_utf_8(raw: bytes) -> pa.Array:
    """A text of these bytes, which nobody looked at."""
    offsets = pa.array([0, len(raw)], pa.int32()).buffers()[1]
    return pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(raw)])


def write(file: Path, **columns: object) -> Path:
    """A manifest of one clip with these columns in the place of its own."""
    values = {"path": ["/a.wav"], "corpus": ["x"], "emotion": ["sad"], "speaker": ["x-1"]} | columns
    pq.write_table(pa.table(values), file, compression="zstd", dictionary_pagesize_limit=2**30, write_statistics=False)
    return file


@pytest.fixture
def measured() -> Iterator[Callable[[], None]]:
    """A function that asserts how much Arrow has had at a time since it was called before."""
    before = pa.default_memory_pool()
    pools = [before]

    def measure() -> None:
        used = pools[-1].max_memory() if len(pools) > 1 else 0
        pools.append(pa.proxy_memory_pool(before))
        pa.set_memory_pool(pools[-1])
        assert (used or 0) < 100 * _MEGABYTE

    yield measure
    pa.set_memory_pool(before)


def test_a_small_file_that_says_gigabytes_is_refused_before_it_takes_them(
    tmp_path: Path, measured: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = MANIFEST_SCHEMA.names
    of_rows = write(tmp_path / "rows.parquet", **{name: repeated("/a", 100_001) for name in names})
    of_text = write(tmp_path / "text.parquet", **{name: repeated("/" + "a" * 10_000, 100_000) for name in names})
    monkeypatch.setattr(manifest, "_MAX_CLIPS", 100_000)
    measured()
    for file, words in ((of_rows, "holds 100,001 clips, more than 100,000"), (of_text, "more than 512 MB of text")):
        assert file.stat().st_size < _MEGABYTE
        with pytest.raises(SourceError, match=f"^manifest {file}: .*{words}"):
            read_manifests([str(file)])
    measured()


def test_a_column_of_no_use_is_not_read(tmp_path: Path, measured: Callable[[], None]) -> None:
    used = {name: ["/a", "/b"] if name == "path" else ["sad"] * 2 for name in MANIFEST_SCHEMA.names[:4]}
    file = write(tmp_path / "m.parquet", **used, waste=repeated("a" * 60 * _MEGABYTE, 2))
    measured()
    assert len(read_manifests([str(file)])) == 2
    measured()


@pytest.mark.parametrize("column", ["path", "speaker", "statement"])
def test_texts_that_are_none_are_refused(column: str, tmp_path: Path) -> None:
    for text, words in ((no_utf_8(b"/\xff\xfe"), "is not string"), (pa.array(["/a\0b"]), "a NUL character")):
        file = write(tmp_path / "m.parquet", **{column: text})
        with pytest.raises(SourceError, match=f"the column '{column}' .*{words}"):
            read_manifests([str(file)])


def test_a_column_twice_is_refused(tmp_path: Path) -> None:
    one = pq.read_table(write(tmp_path / "m.parquet"))
    pq.write_table(one.append_column("path", one["path"]), tmp_path / "m.parquet")
    with pytest.raises(SourceError, match="the column 'path' is there twice"):
        read_manifests([str(tmp_path / "m.parquet")])


def test_a_list_of_paths_takes_what_its_texts_take(tmp_path: Path, measured: Callable[[], None]) -> None:
    file = tmp_path / "list.parquet"
    paths = pa.chunked_array([repeated("a" * 100_000, 1_000_000), repeated("b.wav", 1)])
    pq.write_table(pa.table({"path": paths}), file, dictionary_pagesize_limit=2**30, write_statistics=False)
    assert file.stat().st_size < _MEGABYTE
    measured()
    assert list(iter_sorted(read_path_list(Location(str(file))))) == ["a" * 100_000, "b.wav"]
    measured()
