"""Manifests: written and read back, joined, and refused in one line."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ser_core.corpora.manifest import MANIFEST_SCHEMA, read_manifests, rows_to_table, write_manifest
from ser_core.errors import OutputError, SourceError
from ser_core.vocabulary import LABELS
from tests.conftest import S3Server


def row(path: str, emotion: str = "sad", speaker: str = "x-1", corpus: str = "x", **more: Any) -> dict[str, Any]:
    return {"path": path, "corpus": corpus, "emotion": emotion, "speaker": speaker} | more


def table(*rows: dict[str, Any]) -> pa.Table:
    return rows_to_table(rows)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "sub" / "m.parquet")


def test_rows_come_back_sorted(file: str) -> None:
    rows = [
        row("/b.wav", "happy", "y-1", "y", gender="male", language="en", statement="Hi"),
        row("/c.wav", "neutral"),
        row("s3://bucket/a.wav"),
    ]
    write_manifest(table(*rows), file)
    manifest = read_manifests([file])
    assert len(manifest) == 3
    assert manifest.table.schema == MANIFEST_SCHEMA
    assert manifest.paths == ["/c.wav", "s3://bucket/a.wav", "/b.wav"]
    assert manifest.label_N.tolist() == [LABELS.index(label) for label in ("neutral", "sad", "happy")]
    assert manifest.label_N.dtype == np.int64
    assert manifest.labels() == ("neutral", "happy", "sad")
    assert manifest.corpora.tolist() == ["x", "x", "y"]
    assert manifest.speakers.tolist() == ["x-1", "x-1", "y-1"]
    assert manifest.genders.tolist() == [None, None, "male"]
    assert manifest.languages.tolist() == [None, None, "en"]
    assert manifest.statements.tolist() == [None, None, "Hi"]


def test_rows_are_taken_in_the_order_asked_for(file: str) -> None:
    write_manifest(table(*(row(f"/{letter}.wav") for letter in "abc")), file)
    manifest = read_manifests([file])
    assert manifest.take(np.array([2, 0])).paths == ["/c.wav", "/a.wav"]
    assert len(manifest.take(np.array([], dtype=np.int64))) == 0
    assert pickle.loads(pickle.dumps(manifest)).paths == manifest.paths


def test_the_hash_is_of_the_rows_alone(tmp_path: Path) -> None:
    one, two, both = (str(tmp_path / f"{name}.parquet") for name in ("one", "two", "both"))
    write_manifest(table(row("/a.wav")), one)
    write_manifest(table(row("/b.wav", "happy")), two)
    write_manifest(table(row("/b.wav", "happy"), row("/a.wav")), both)
    joined = read_manifests([two, one])
    assert joined.content_hash() == read_manifests([one, two]).content_hash() == read_manifests([both]).content_hash()
    assert joined.content_hash() != read_manifests([one]).content_hash()
    for other in (row("/b.wav", "sad"), row("/b.wav", "happy", gender="male"), row("/c.wav", "happy")):
        write_manifest(table(other), two)
        assert read_manifests([one, two]).content_hash() != joined.content_hash()


FORMER_ROWS = [
    row("/a.wav", gender="male", modality="audio-only", vocal_channel="speech", intensity="strong", statement="Hi",
        repetition=2),
    row("/b.wav", "happy", "x-2"),
]  # fmt: skip


def test_a_manifest_of_before_has_the_hash_it_had(tmp_path: Path) -> None:
    former, new, both = (str(tmp_path / f"{name}.parquet") for name in ("former", "new", "both"))
    pq.write_table(pa.Table.from_pylist(FORMER_ROWS), former)
    manifest = read_manifests([former])
    assert manifest.statements.tolist() == ["Hi", None]
    assert manifest.content_hash() == "24dfae5b46957f35c79e18fb316bc78d2d8b5055201e52766b1848e94b9d6d72"
    assert (
        manifest.take(np.array([1])).content_hash()
        == "4c7274a0155a4ef2d45508400e9c3bd8e96e9e1d26e4b8f0780ee7bfcc914433"
    )
    # What is written anew, or beside it, has none of the columns that nothing reads.
    write_manifest(manifest.table, both)
    assert pq.read_schema(both).names == MANIFEST_SCHEMA.names
    write_manifest(table(row("/c.wav")), new)
    assert read_manifests([new, former]).paths == ["/a.wav", "/b.wav", "/c.wav"]


def test_a_manifest_in_a_bucket(moto_s3: S3Server) -> None:
    url = moto_s3.location.join("m.parquet").url
    write_manifest(table(row(f"{moto_s3.location.url}/a.wav")), url)
    assert read_manifests([url]).paths == [f"{moto_s3.location.url}/a.wav"]
    with pytest.raises(SourceError, match="there is no such file"):
        read_manifests([moto_s3.location.join("gone.parquet").url])


def test_columns_that_may_be_null_may_be_missing(file: str, tmp_path: Path) -> None:
    by_hand = tmp_path / "by_hand.parquet"
    pq.write_table(pa.table({name: ["/a", "x", "sad", "x-1"][i : i + 1] for i, name in enumerate(REQUIRED)}), by_hand)
    assert read_manifests([str(by_hand)]).genders.tolist() == [None]
    with pytest.raises(SourceError, match="has no column 'emotion'"):
        read_manifests([_without("emotion", by_hand)])


REQUIRED = ("path", "corpus", "emotion", "speaker")


def _without(column: str, file: Path) -> str:
    pq.write_table(pq.read_table(file).drop_columns([column]), file)
    return str(file)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "holds no clip"),
        ([row("/a", "bored"), row("/b", "Bored")], "the emotion 'Bored' must be a lower-case word"),
        ([row("/a", "a" * 300)], r"the emotion 'a{20,60}\.\.\. must be a lower-case word .* of 64 letters at most"),
        ([row("/a", "b\x1bad")], r"the emotion 'b\\x1bad' must be a lower-case word"),
        ([row("/a", "no_speech")], "the emotion 'no_speech' says that there is no emotion to judge"),
        ([row("/a", "true")], "the emotion 'true' is taken for another kind of value"),
        ([row(f"/{i}", f"label{i}") for i in range(257)], "has 257 emotions; a model can have 256 at most"),
        ([row("/a"), row("/a", "happy")], "the path '/a' comes twice"),
        ([row("a.wav")], "the path 'a.wav' is relative"),
        ([row("/a"), row("/b", corpus="y")], "the speaker 'x-1' is in two corpora"),
        ([row("/a", speaker="")], "the column 'speaker' has rows without a value"),
        ([row(f"{i}.wav") for i in range(9)], r"'0.wav', '1.wav', '2.wav' \(and 6 more\) is relative"),
    ],
)
def test_rows_that_cannot_be_used_are_neither_written_nor_read(
    file: str, tmp_path: Path, rows: list[dict[str, Any]], words: str
) -> None:
    with pytest.raises(SourceError, match=rf"manifest {file}: .*{words}"):
        write_manifest(table(*rows), file)
    assert not Path(file).exists()
    pq.write_table(table(*rows), tmp_path / "foreign.parquet")
    with pytest.raises(SourceError, match=rf"manifest {tmp_path}/foreign.parquet: .*{words}") as caught:
        read_manifests([str(tmp_path / "foreign.parquet")])
    assert "\n" not in str(caught.value)


def test_what_is_no_manifest_is_one_line(file: str, tmp_path: Path) -> None:
    text = tmp_path / "m.txt"
    text.write_text("path,emotion\n")
    numbers = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({name: [[1]] for name in REQUIRED}), numbers)
    for wrong, words in (
        (file, "there is no such file; write it with 'ser corpus'"),
        (str(text), "is no Parquet file"),
        (str(tmp_path), "cannot be read"),
        (str(numbers), "the column 'path' is not string"),
    ):
        with pytest.raises(SourceError, match=words) as caught:
            read_manifests([wrong])
        assert wrong in str(caught.value)
    with pytest.raises(SourceError, match="no manifest is given"):
        read_manifests([])


def test_one_file_given_twice_is_refused(file: str) -> None:
    write_manifest(table(row("/a.wav")), file)
    with pytest.raises(SourceError, match=f"manifest {file}, {file}: the path '/a.wav' comes twice"):
        read_manifests([file, file])


def test_a_manifest_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "m.parquet").mkdir()
    with pytest.raises(OutputError, match=r"m.parquet: cannot be written \(Is a directory\)"):
        write_manifest(table(row("/a.wav")), str(tmp_path / "m.parquet"))
