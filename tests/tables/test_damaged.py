"""What is unreadable or malformed in an output ends in one line that names it and says what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from ser_core import storage
from ser_core.errors import OutputError
from ser_core.tables.output import Output
from tests.support.tables import NOW, OLD, SETTINGS, Audio, World, check_complete, say_nothing, score_all

pytestmark = pytest.mark.usefixtures("quick_disk")


@pytest.fixture
def made(output: Output, plan: Callable[[World], Path]) -> Output:
    score_all(output, plan(OLD), OLD)
    return output


def message(act: Callable[[], Any]) -> str:
    with pytest.raises(OutputError) as caught:
        act()
    line = str(caught.value)
    assert line.isprintable()
    assert any(advice in line for advice in ("another output", "--restart", "delete it")), line
    return line


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b"{}", b'{"format": "x"}', b'{"format": null}'])
def test_marker_that_is_none(output: Output, plan: Callable[[World], Path], data: bytes) -> None:
    """Beside our tables it is made anew; alone it tells nothing, until `--restart` says that the folder is ours."""
    marker = output.location.join("_ser", "output.json")
    storage.put(marker, data)
    for act in (output.open, output.check_writable):
        assert "output.json is damaged" in message(act)
    output.check_writable(restart=True)
    score_all(output, plan(OLD), OLD)
    storage.put(marker, data)
    output.check_writable()
    assert json.loads(storage.read(marker)) == {"program": "ser", "format": 1}


def test_deleted_folder_of_our_own_is_made_anew(made: Output, plan: Callable[[World], Path]) -> None:
    shutil.rmtree(Path(made.location.path, "_ser"))
    assert made.open().fingerprint == SETTINGS
    with made.lock(say_nothing):
        score_all(made, plan(NOW), NOW)
    check_complete(made.location, NOW)
    assert storage.exists(made.location.join("_ser", "output.json"))


def test_folder_in_the_place_of_the_marker(output: Output) -> None:
    Path(output.location.path, "_ser", "output.json").mkdir(parents=True)
    assert "output.json" in message(output.open)


@pytest.mark.parametrize("table", ["predictions", "files"])
def test_folder_in_the_place_of_a_part(made: Output, plan: Callable[[World], Path], table: str) -> None:
    for part in Path(made.location.path, table).glob("*/*.parquet"):
        part.unlink()
        part.mkdir()
    assert f"/{table}/" in message(lambda: score_all(made, plan(NOW), NOW))


@pytest.mark.parametrize("size", [0, 3, 200])
@pytest.mark.parametrize("table", ["predictions", "files"])
def test_part_that_is_cut_off(made: Output, plan: Callable[[World], Path], table: str, size: int) -> None:
    for part in Path(made.location.path, table).glob("*/*.parquet"):
        part.write_bytes(part.read_bytes()[:size])
    assert f"/{table}/" in message(lambda: score_all(made, plan(NOW), NOW))


@pytest.mark.parametrize("table", ["predictions", "files"])
def test_part_that_is_gone_is_noticed_by_a_run_without_work(
    output: Output, plan: Callable[[World], Path], table: str
) -> None:
    world = {"a.wav": Audio("1"), "b.wav": Audio("1")}
    score_all(output, plan(world), world)
    gone = min(Path(output.location.path, table).glob("*/*.parquet"))
    gone.unlink()
    assert gone.name in message(lambda: score_all(output, plan(world), world))
    score_all(output, plan(world), world, restart=True)
    check_complete(output.location, world)


@pytest.mark.parametrize("way", ["cut off", "link"])
@pytest.mark.parametrize("table", ["predictions", "files"])
def test_part_of_another_size_is_noticed_by_a_run_without_work(
    output: Output, plan: Callable[[World], Path], tmp_path: Path, table: str, way: str
) -> None:
    world = {"a.wav": Audio("1"), "b.wav": Audio("1")}
    score_all(output, plan(world), world)
    part = min(Path(output.location.path, table).glob("*/*.parquet"))
    data = part.read_bytes()
    part.unlink()
    if way == "link":
        (tmp_path / "elsewhere").write_bytes(b"theirs")
        part.symlink_to(tmp_path / "elsewhere")
    else:
        part.write_bytes(data[:-1])
    line = message(lambda: score_all(output, plan(world), world))
    assert f"{part} is damaged: it has {part.stat().st_size} bytes and not {len(data)}; restore it" in line
    score_all(output, plan(world), world, restart=True)
    check_complete(output.location, world)
    assert way == "cut off" or (tmp_path / "elsewhere").read_bytes() == b"theirs"


@pytest.mark.parametrize("table", ["predictions", "files"])
def test_part_with_a_flipped_bit_is_not_handed_on(made: Output, plan: Callable[[World], Path], table: str) -> None:
    damaged = min(Path(made.location.path, table).glob("*/*.parquet"))
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    # What is new makes small parts to be joined with it.
    world = {**OLD, **{f"k/{status}.wav": Audio("1", status=status) for status in ("scored", "partial", "failed")}}
    assert damaged.name in message(lambda: score_all(made, plan(world), world))
    assert damaged.read_bytes() == data
    score_all(made, plan(world), world, restart=True)
    check_complete(made.location, world)


@pytest.mark.parametrize(
    "description",
    ["", "mine", "[]", "{}", '{"format": 1}', '{"format": 1, "settings": 7}', '{"format": 1, "settings": {"a": 1}}'],
)
def test_table_that_says_something_else_of_itself(
    made: Output, plan: Callable[[World], Path], description: str
) -> None:
    DeltaTable(made.location.join("predictions").url).alter.set_table_description(description)
    assert "predictions" in message(made.open)
    score_all(made, plan(NOW), NOW, restart=True)
    check_complete(made.location, NOW)


def test_setting_of_another_type(made: Output) -> None:
    stored = {**SETTINGS.to_dict(), "precision": 5}
    described = f'{{"format": 1, "settings": {stored}}}'.replace("'", '"').replace("None", "null")
    DeltaTable(made.location.join("predictions").url).alter.set_table_description(described)
    assert "'precision' cannot be 5" in message(made.open)


@pytest.mark.parametrize("what", ["log", "table"])
@pytest.mark.parametrize("table", ["predictions", "files"])
def test_table_that_is_gone_alone(made: Output, plan: Callable[[World], Path], table: str, what: str) -> None:
    shutil.rmtree(Path(made.location.path, table, "_delta_log" if what == "log" else ""))
    assert f"{table} is gone; restore it, use --restart" in message(made.open)
    score_all(made, plan(NOW), NOW, restart=True)
    check_complete(made.location, NOW)


@pytest.mark.parametrize("data", [b'{"add": 7}', b"[" * 200_000], ids=["number", "nested"])
def test_line_that_is_no_action(made: Output, plan: Callable[[World], Path], data: bytes) -> None:
    newest = max(Path(made.location.path, "files", "_delta_log").glob("*.json"))
    newest.write_bytes(data)
    assert "files" in message(made.open)
    score_all(made, plan(NOW), NOW, restart=True)
    check_complete(made.location, NOW)


@pytest.mark.parametrize("table", ["predictions", "files"])
def test_a_commit_that_says_nothing_of_itself(made: Output, plan: Callable[[World], Path], table: str) -> None:
    newest = max(Path(made.location.path, table, "_delta_log").glob("*.json"))
    actions = [json.loads(line) for line in newest.read_text().splitlines()]
    newest.write_text(
        "\n".join(json.dumps(one if "commitInfo" not in one else {"commitInfo": None}) for one in actions)
    )
    score_all(made, plan(NOW), NOW, restart=True)
    check_complete(made.location, NOW)


@pytest.mark.parametrize("name", ["run.json", "_ser/runs", "_ser/lock.json"])
def test_something_else_in_the_place_of_a_record(output: Output, plan: Callable[[World], Path], name: str) -> None:
    place = Path(output.location.path, name)
    output.check_writable()
    if name == "_ser/runs":
        place.write_bytes(b"")
    else:
        place.mkdir()

    def run() -> None:
        with output.lock(say_nothing):
            score_all(output, plan(OLD), OLD)

    assert name in message(run)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("_ser", "was not made by ser"),
        ("predictions", "/predictions is a file"),
        ("predictions/_delta_log", "/predictions/_delta_log is a file"),
        ("predictions/emotion=sad", "/predictions/emotion=sad is a file"),
    ],
)
def test_file_in_the_place_of_a_folder(output: Output, plan: Callable[[World], Path], name: str, words: str) -> None:
    place = Path(output.location.path, name)
    if name != "_ser":
        output.check_writable()
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"")
    assert words in message(lambda: score_all(output, plan(OLD), OLD))
