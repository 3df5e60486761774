"""`ser score --embeddings`: a third table beside the two, which later runs go on with."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from ser_core.models.artifact import Artifact
from ser_core.storage.location import Location
from ser_core.tables.checks.verification import verify
from tests.support.audio_factory import encode, speech
from tests.support.cli import assert_one_line, predictions, ser_here

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
