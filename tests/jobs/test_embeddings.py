"""`ser score --embeddings`: a third table beside the two, which later runs go on with."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import soundfile
from deltalake import DeltaTable

from ser_core.errors import OutputError
from ser_core.models.artifact import Artifact
from ser_core.storage.location import Location
from ser_core.tables import encoding
from ser_core.tables.checks.verification import verify
from ser_core.tables.output import Output
from ser_core.tables.reading.embedded import EmbeddedOutput
from ser_core.tables.reading.neighbours import nearest
from tests.support.audio_factory import encode, speech
from tests.support.cli import assert_one_line, predictions, ser_here
from tests.support.tables import EMBEDDED, Audio, World, score_all

KEY = ["path", "channel", "window_index"]


def write_voices(folder: Path, *names: str) -> Path:
    """Recordings of voices, each another one, of 7 s: two windows."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(encode(speech(7.0, seed=sum(name.encode()))))
    return folder


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SOURCE, and its OUTPUT with embeddings beside it."""
    folder = tmp_path_factory.mktemp("embeddings")
    source = write_voices(folder / "in", "a.wav", "b.wav", "c.wav")
    (source / "broken.wav").write_bytes(b"RIFF")
    answer = ser_here("score", source, folder / "out", "--embeddings")
    assert answer.code == 3, answer.err
    return folder


def embeddings(output: Path) -> pa.Table:
    rows = pa.table(DeltaTable(str(output / "embeddings")).to_pyarrow_table())
    return rows.sort_by([(name, "ascending") for name in KEY])


def test_each_judged_window_has_an_embedding(scored: Path) -> None:
    rows = embeddings(scored / "out")
    said = predictions(scored / "out")
    assert rows.select(KEY).equals(said.filter(pc.not_equal(said["emotion"], "no_speech")).select(KEY))
    assert rows.num_rows == 6
    encoder = Artifact.load("compact").encoder
    assert set(rows["encoder"].to_pylist()) == {encoder.identity}
    values = np.array(rows["embedding"].to_pylist(), np.float32)
    assert values.shape == (6, encoder.num_values)
    np.testing.assert_array_equal(values, values.astype(np.float16))
    assert len(np.unique(values, axis=0)) == 6
    assert verify(Location(str(scored / "out"))).findings == ()


def test_later_runs_go_on_with_them_or_refuse(scored: Path, tmp_path: Path) -> None:
    source, output = scored / "in", scored / "out"
    write_voices(source, "d.wav")
    assert ser_here("score", source, output).code == 3
    assert set(embeddings(output)["path"].to_pylist()) == {"a.wav", "b.wav", "c.wav", "d.wav"}
    assert_one_line(
        ser_here("score", source, output, "--no-embeddings"), 1, "embeddings was", "now nothing", "--restart"
    )
    plain = tmp_path / "plain"
    assert ser_here("score", source, plain).code == 3
    assert not (plain / "embeddings").exists()
    assert_one_line(ser_here("score", source, plain, "--embeddings"), 1, "embeddings was nothing", "--restart")
    assert ser_here("score", source, plain, "--embeddings", "--restart").code == 3
    assert embeddings(plain).num_rows == 8
    assert ser_here("score", source, plain, "--restart").code == 3
    assert embeddings(plain).num_rows == 0
    assert not list((plain / "embeddings").glob("encoder=*/*.parquet"))
    assert verify(Location(str(plain))).findings == ()


def test_search_finds_the_same_voice_that_says_the_same(scored: Path, tmp_path: Path) -> None:
    source, again = scored / "in", tmp_path / "again.wav"
    rng = np.random.default_rng(3)
    pcm_T, rate_hz = soundfile.read(source / "b.wav", dtype="float32")
    # The same at another level, with some noise.
    again.write_bytes(
        encode((0.7 * pcm_T + 1e-4 * rng.standard_normal(len(pcm_T))).astype(np.float32), rate_hz=rate_hz)
    )
    answer = ser_here("search", scored / "out", again, "--top", "3", "--output-mode", "json")
    assert answer.code == 0, answer.err
    found = [json.loads(line) for line in answer.out.splitlines()]
    assert found[0]["path"] == "b.wav"
    assert [one["start_seconds"] for one in found[:2]] == [5.0 * one["window_index"] for one in found[:2]]
    assert len(found) == 3
    of_others = [one["distance"] for one in found if one["path"] != "b.wav"]
    assert found[0]["distance"] < 0.8 * min(of_others)
    [line] = ser_here("search", scored / "out", again, "--top", "1").out.splitlines()
    assert re.fullmatch(r"b\.wav\t[05]\.0\t0\.\d{4}", line)


def test_what_cannot_be_searched_is_a_line(scored: Path, tmp_path: Path) -> None:
    source, output = scored / "in", scored / "out"
    assert_one_line(ser_here("search", tmp_path, source / "a.wav"), 2, "holds no results")
    assert ser_here("score", source, tmp_path / "plain").code == 3
    assert_one_line(ser_here("search", tmp_path / "plain", source / "a.wav"), 2, "keeps no embeddings", "--embeddings")
    assert_one_line(ser_here("search", output, source / "broken.wav"), 1, "broken.wav", "unreadable")
    assert_one_line(ser_here("search", output, source / "none.wav"), 1, "none.wav", "not_found")
    other = ser_here("search", output, source / "a.wav", "--model", "whisper-bilstm")
    assert_one_line(other, 2, "has another encoder (whisper-bilstm-", "compact-")


def test_a_part_that_is_damaged_is_named_and_not_searched(output: Output, plan: Callable[[World], Path]) -> None:
    world = {f"{index:02}.wav": Audio("1", windows=4) for index in range(9)}
    score_all(output, plan(world), world, settings=EMBEDDED)
    [part] = Path(output.location.path, "embeddings").rglob("*.parquet")
    whole = part.read_bytes()
    queries_QE = np.zeros((1, 3), np.float16)
    columns = pq.read_metadata(part).row_group(0)
    values = next(c for c in map(columns.column, range(columns.num_columns)) if "embedding" in c.path_in_schema)
    last = values.data_page_offset + values.total_compressed_size - 1
    for damaged, words in (
        (whole[:last] + bytes([whole[last] ^ 1]) + whole[last + 1 :], "cannot be used"),
        (whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:], "cannot be used"),
        (whole[:-1], "its bytes have changed"),
        (None, "is gone"),
    ):
        part.unlink() if damaged is None else part.write_bytes(damaged)
        with pytest.raises(OutputError, match=words) as told:
            nearest(EmbeddedOutput(output.location), queries_QE, 2)
        assert part.name in str(told.value)


def test_nearest_are_those_of_all_pairs_whatever_the_parts(
    output: Output, plan: Callable[[World], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "VALUES_PER_GROUP", 30)
    world = {f"{index:02}.wav": Audio("1", windows=1 + index % 5) for index in range(20)}
    score_all(output, plan(world), world, settings=EMBEDDED, files_per_commit=7)
    kept = EmbeddedOutput(output.location)
    assert len(kept.embeddings.parts) == 1
    assert len(kept.embeddings.pieces) == 5
    groups = [group for part in kept.embeddings.parts for group in kept.of_part(part, 3)]
    values_NE = np.concatenate([group.values_NE for group in groups])
    queries_QE = values_NE[[3, 17]].astype(np.float16)
    found = nearest(kept, queries_QE, 6)
    standard_NE = (values_NE - values_NE.mean(axis=0)) / values_NE.std(axis=0).clip(1e-6)
    standard_NE[:, values_NE.std(axis=0) < 1e-6] = 0
    standard_NE /= np.linalg.norm(standard_NE, axis=1, keepdims=True)
    distance_N = (1 - standard_NE @ standard_NE[[3, 17]].T).min(axis=1)
    np.testing.assert_allclose([match.distance for match in found], np.sort(distance_N)[:6], atol=1e-3)
    assert found[0].distance == pytest.approx(0, abs=1e-3)
    names = [tuple(row.values()) for group in groups for row in group.keys.select(KEY).to_pylist()]
    assert {(match.path, match.channel, match.window_index) for match in found[:2]} == {names[3], names[17]}
