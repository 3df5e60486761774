"""What an entry of a table's log says is of another type: a run goes on to the exact tables, or refuses in one line.

`--restart` then gets out, and `ser verify` ends in a line or in findings, whichever field of whichever entry it is.
"""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from ser_core.errors import OutputError
from ser_core.storage.location import Location
from ser_core.storage.lock import Lock
from ser_core.tables.checks.verification import verify
from ser_core.tables.output import Output
from tests.support.tables import EMBEDDED, check_complete, say_nothing, score, score_all, write_plan
from tests.tables.test_damage_matrix import WORLD

#: Versions of a log: the table, the run that owns it, two commits, of which one is the newest.
OWNER, MIDDLE, NEWEST = 1, 2, 3
GONE = object()
VALUES: list[Any] = [
    None, True, 7, -1, 1.5, 10**30, "x", "", "7", [], ["x"], {}, {"emotion": 5}, {"emotion": None},
    {"status": ["scored"]}, {"emotion": {"a": 1}}, GONE,
]  # fmt: skip
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Case:
    """A field of an action in an entry of a table's log, and what it is instead."""

    table: str
    version: int
    line: int
    place: Place
    value: Any

    def __str__(self) -> str:
        value = "gone" if self.value is GONE else json.dumps(self.value)
        return f"{self.table} {self.version} {'.'.join(map(str, self.place))} {value}"


@pytest.fixture(scope="module")
def base(quick_disk: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a plan, and the output of a run that was stopped after its second commit."""
    folder = tmp_path_factory.mktemp("fields")
    plan = write_plan(folder / "plan.parquet", WORLD)
    output = _output(folder / "out")
    with output.lock(say_nothing):
        list(islice(score(output, plan, WORLD, settings=EMBEDDED, files_per_commit=2), 4))
    yield folder
    shutil.rmtree(folder)


def _output(folder: Path) -> Output:
    return Output(Location(str(folder)), make_lock=partial(Lock, beat_seconds=0.05, watch_seconds=0.01))


def _entry(output: Path, table: str, version: int) -> Path:
    return output / table / "_delta_log" / f"{version:020}.json"


def _places(said: Any, above: Place = ()) -> Iterator[Place]:
    """All that a JSON value is made of, by where it lies."""
    items = said.items() if isinstance(said, dict) else enumerate(said) if isinstance(said, list) else ()
    for name, value in items:
        yield (*above, name)
        yield from _places(value, (*above, name))


def _cases(base: Path) -> list[Case]:
    """Every field of every entry, with every value."""
    return [
        Case(table, version, line, place, value)
        for table in ("predictions", "embeddings", "files")
        for version in range(NEWEST + 1)
        for line, text in enumerate(_entry(base / "out", table, version).read_text().splitlines())
        for place in _places(json.loads(text))
        for value in VALUES
    ]


def _damage(output: Path, case: Case) -> None:
    file = _entry(output, case.table, case.version)
    actions = [json.loads(line) for line in file.read_text().splitlines()]
    holder = actions[case.line]
    for name in case.place[:-1]:
        holder = holder[name]
    if case.value is GONE:
        del holder[case.place[-1]]
    else:
        holder[case.place[-1]] = case.value
    file.write_text("\n".join(map(json.dumps, actions)))


def _run(output: Output, base: Path, *, restart: bool = False) -> None:
    with output.lock(say_nothing, restart=restart):
        score_all(output, base / "plan.parquet", WORLD, settings=EMBEDDED, restart=restart, files_per_commit=9)
    check_complete(output.location, WORLD)


def _verify(output: Output) -> None:
    if findings := verify(output.location).findings:
        raise OutputError("; ".join(map(str, findings)))


def _said(act: Callable[[], None]) -> str:
    """The line that it ends in; "" where there is none."""
    try:
        act()
    except OutputError as error:
        return str(error)
    return ""


def _try(base: Path, folder: Path, case: Case) -> str:
    """Damage a copy and get out of it; what the run said, "" where it went on."""
    output = _output(shutil.copytree(base / "out", folder / "out"))
    _damage(folder / "out", case)
    found = _said(lambda: _verify(output))
    said = _said(lambda: _run(output, base))
    if said:
        assert "--restart" in said
        assert said.isprintable()
        assert found.isprintable()
        assert found
        _run(output, base, restart=True)
    assert verify(output.location).findings == ()
    shutil.rmtree(folder / "out")
    return said


@pytest.mark.parametrize(("seed", "num"), [(0, 8), pytest.param(1, 400, marks=pytest.mark.heavy)])
def test_whatever_a_field_of_a_log_is_there_is_a_way_out(base: Path, tmp_path: Path, seed: int, num: int) -> None:
    for case in random.Random(seed).sample(_cases(base), num):
        try:
            _try(base, tmp_path, case)
        except BaseException as error:
            error.add_note(str(case))
            raise


def _place_of(base: Path, table: str, version: int, *place: str) -> tuple[int, Place]:
    """The line in an entry that has such a field, and the field's place."""
    lines = _entry(base / "out", table, version).read_text().splitlines()
    return next(number for number, line in enumerate(lines) if place in set(_places(json.loads(line)))), place


@pytest.mark.parametrize(
    ("table", "version", "place", "value", "words"),
    [
        ("predictions", OWNER, ("txn", "version"), "x", "01.json is damaged; restore it, use --restart"),
        ("files", MIDDLE, ("txn", "version"), "x", "02.json is damaged; restore it, use --restart"),
        ("predictions", NEWEST, ("txn", "version"), "x", ""),
        ("files", MIDDLE, ("add", "partitionValues"), [], "02.json is damaged"),
        ("predictions", MIDDLE, ("add", "partitionValues", "emotion"), {"a": 1}, "02.json is damaged"),
        ("files", MIDDLE, ("add", "partitionValues", "status"), 5, "its log has "),
        ("predictions", MIDDLE, ("add", "partitionValues", "emotion"), "x", "its log has "),
        ("files", MIDDLE, ("add", "partitionValues", "status"), None, "a part without statistics"),
        ("files", NEWEST, ("commitInfo",), 7, ""),
    ],
    ids=str,
)
def test_damaged_fields_are_told(
    base: Path, tmp_path: Path, table: str, version: int, place: tuple[str, ...], value: Any, words: str
) -> None:
    line, found = _place_of(base, table, version, *place)
    said = _try(base, tmp_path, Case(table, version, line, found, value))
    assert words in said
    assert bool(said) == bool(words)
