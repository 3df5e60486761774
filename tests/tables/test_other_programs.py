"""What other Delta programs did to the tables: a run goes on to the exact rows, or refuses and `--restart` gets out."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.schema import Field, PrimitiveType

from ser_core import storage
from ser_core.errors import DamagedOutputError
from ser_core.tables.output import Output
from tests.support.tables import EMBEDDED, NOW, OLD, Audio, World, check_complete, rows_of, score_all

pytestmark = pytest.mark.usefixtures("quick_disk")

TABLES = ("predictions", "embeddings", "files")
KEPT = "path = 'a/same.wav'"


@pytest.fixture
def made(output: Output, plan: Callable[[World], Path]) -> Output:
    score_all(output, plan(OLD), OLD, settings=EMBEDDED)
    return output


def table(output: Output, name: str) -> DeltaTable:
    return DeltaTable(output.location.join(name).url)


def part_schemas(output: Output) -> list[pa.Schema]:
    return [pq.read_schema(file) for file in Path(output.location.path).glob("*/*/*.parquet")]


def update(output: Output) -> None:
    """The same values again, in parts of other types."""
    table(output, "predictions").update(predicate=KEPT, updates={"level_dbfs": "-20.0"})
    table(output, "files").update(predicate=KEPT, updates={"channel": "-1"})


def merge(output: Output) -> None:
    rows = pa.table({"path": ["a/same.wav"], "channel": pa.array([-1], pa.int32())})
    for name in ("predictions", "files"):
        merger = table(output, name).merge(rows, "old.path = new.path", source_alias="new", target_alias="old")
        merger.when_matched_update({"channel": "new.channel"}).execute()


def rewrite(output: Output) -> None:
    for name in TABLES:
        table(output, name).optimize.z_order(["file_version"])


def take_from_both(output: Output) -> None:
    for name in ("predictions", "files"):
        table(output, name).delete(KEPT)


def take_from_all(output: Output) -> None:
    for name in TABLES:
        table(output, name).delete(KEPT)


def take_from_files(output: Output) -> None:
    table(output, "files").delete(KEPT)


def add_to_files(output: Output) -> None:
    write_deltalake(output.location.join("files").url, rows_of({"zz.wav": Audio("1")}, 9)[1], mode="append")


def constrain(output: Output) -> None:
    table(output, "predictions").alter.add_constraint({"is_index": "window_index >= 0"})


@pytest.mark.parametrize(
    "act", [update, merge, rewrite, take_from_both, take_from_all, take_from_files, add_to_files, constrain]
)
def test_a_run_goes_on_to_the_exact_rows(
    made: Output, plan: Callable[[World], Path], act: Callable[[Output], None]
) -> None:
    act(made)
    score_all(made, plan(NOW), NOW, settings=EMBEDDED)
    check_complete(made.location, NOW)
    # Readers of the plain folders meet one set of types.
    assert {schema.field("path").type for schema in part_schemas(made)} == {pa.string()}


@pytest.mark.parametrize("nullable", [True, False])
def test_columns_that_another_program_added_are_left_alone(
    made: Output, plan: Callable[[World], Path], nullable: bool
) -> None:
    for name in TABLES:
        table(made, name).alter.add_columns([Field("note", PrimitiveType("string"), nullable)])
    score_all(made, plan(NOW), NOW, settings=EMBEDDED)
    paths = table(made, "files").to_pyarrow_table(columns=["path", "note"])["path"].to_pylist()
    assert sorted(set(paths)) == sorted(NOW)
    assert len(paths) == sum(len(audio.channels) for audio in NOW.values())


def take_from_predictions(output: Output) -> None:
    table(output, "predictions").delete(KEPT)


def take_from_embeddings(output: Output) -> None:
    table(output, "embeddings").delete(KEPT)


def take_what_is_not_planned(output: Output) -> None:
    table(output, "files").delete("path = 'g/gone.wav'")


def change_a_type(output: Output) -> None:
    rows = pa.table({"path": [1], "status": ["scored"]})
    write_deltalake(output.location.join("files").url, rows, mode="overwrite", schema_mode="overwrite")


def put_another_table(output: Output) -> None:
    place = output.location.join("predictions")
    for name, _ in storage.list_files(place):
        storage.delete(place.join(name))
    write_deltalake(place.url, pa.table({"path": ["a"], "emotion": ["sad"]}))


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (take_from_predictions, "predictions has other rows than files tells of"),
        (take_from_embeddings, "embeddings has other rows than predictions"),
        (take_what_is_not_planned, "predictions has other rows than files tells of"),
        (change_a_type, "files: another program changed the column path"),
        (put_another_table, "predictions is another program's"),
    ],
)
def test_a_run_refuses_and_restart_gets_out(
    made: Output, plan: Callable[[World], Path], act: Callable[[Output], None], words: str
) -> None:
    act(made)
    with pytest.raises(DamagedOutputError, match=words) as caught:
        score_all(made, plan(NOW), NOW, settings=EMBEDDED)
    assert "use --restart" in str(caught.value)
    assert str(caught.value).isprintable()
    score_all(made, plan(NOW), NOW, settings=EMBEDDED, restart=True)
    # A file that no table of ours has named is left where it is.
    for file in Path(made.location.path).glob("*/*.parquet"):
        file.unlink()
    check_complete(made.location, NOW)
