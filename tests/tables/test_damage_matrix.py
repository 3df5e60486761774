"""What lies in an output is damaged in every way: what a run says of it, and what gets out of it.

Each case is a copy of a stopped run's output. A run goes on there to the exact tables, by itself and with a line where
there is something to tell, or refuses with one line that names the thing, and then `--restart` gets out.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import pytest

from ser_core.errors import OutputError
from ser_core.storage.location import Location
from ser_core.storage.lock import Lock
from ser_core.tables.delta_log import CONFIGURATION
from ser_core.tables.output import Output
from tests.support.tables import EMBEDDED, Audio, World, check_complete, say_nothing, score, score_all, write_plan

WORLD: World = {
    "a.wav": Audio("1"),
    "b.wav": Audio("1", channels=(0, 1)),
    "c.wav": Audio("1", windows=0, status="failed"),
    "d.wav": Audio("1"),
    "e.wav": Audio("1", windows=3),
}
#: Versions of a log: the table, the run that owns it, two commits of two files each, of which one is the newest.
FIRST, MIDDLE, NEWEST = (f"{version:020}.json" for version in (0, 2, 3))
CHECKPOINT, OLDER_CHECKPOINT = (f"{version:020}.checkpoint.parquet" for version in (3, 1))
OTHER_TABLE = {"predictions": "files", "files": "predictions"}
WAYS = ("truncated", "empty", "garbage", "missing", "foreign")


@dataclass(frozen=True)
class Bases:
    """Outputs to be copied: as they are, with checkpoints, and another one whose files are foreign here."""

    plan: Path
    plain: Path
    checkpoints: Path
    other: Path


@pytest.fixture(scope="module")
def bases(quick_disk: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bases]:
    folder = tmp_path_factory.mktemp("damage")
    plan = write_plan(folder / "plan.parquet", WORLD)
    for name in ("plain", "other", "checkpoints"):
        with pytest.MonkeyPatch.context() as patch:
            if name == "checkpoints":
                patch.setitem(CONFIGURATION, "delta.checkpointInterval", "2")
            output = _output(folder / name)
            with output.lock(say_nothing):
                list(islice(score(output, plan, WORLD, files_per_commit=2, settings=EMBEDDED), 4))
    # A run that was killed leaves its lock.
    lock = '{"host": "another", "pid": 3, "process_start": 1.0, "token": "a", "beat": 3}'
    (folder / "plain" / "_ser" / "lock.json").write_text(lock)
    yield Bases(plan, folder / "plain", folder / "checkpoints", folder / "other")
    shutil.rmtree(folder)


def _output(folder: Path) -> Output:
    return Output(Location(str(folder)), make_lock=partial(Lock, beat_seconds=0.05, watch_seconds=0.01))


def _run(output: Output, plan: Path, *, restart: bool = False) -> list[str]:
    """A run as `ser score` makes it, to its end; what it said."""
    lines: list[str] = []
    with output.lock(lines.append, restart=restart):
        score_all(output, plan, WORLD, settings=EMBEDDED, restart=restart, files_per_commit=9, on_event=lines.append)
    check_complete(output.location, WORLD)
    return [line for line in lines if "dead run (host another" not in line]


def _damage(file: Path, way: str, foreign: bytes) -> None:
    data = file.read_bytes()
    file.unlink()
    contents = {"truncated": data[: len(data) // 2], "empty": b"", "garbage": bytes(range(256)) * 2, "foreign": foreign}
    if way != "missing":
        file.write_bytes(contents[way])


def _foreign(bases: Bases, name: str) -> bytes:
    """What is whole, and not of this place."""
    if name.endswith("_last_checkpoint"):
        return b'{"version":77,"size":3}'
    if name.endswith("checkpoint.parquet"):
        return (bases.checkpoints / name).with_name(OLDER_CHECKPOINT).read_bytes()
    if name.endswith(".parquet"):
        return max((bases.plain / name).parent.parent.glob("*/*.parquet")).read_bytes()
    return (bases.other / name).read_bytes() if "_delta_log" in name else b'{"program": "another"}'


#: What is said; "" where there is nothing to tell.
TORN = "the log was left torn, as by a power cut, and is mended"
TAKEN_BACK = "took back commit 2, which the run before left half done"
REFUSED = ".json is damaged; restore it, use --restart, or another output"
LOST = ".json is gone; restore it, use --restart, or another output"
GONE = "is gone; restore it or use --restart"
CHANGED = "is damaged: it has"
APART = "the tables are 2 commits apart; use --restart"
ROWS = "predictions has other rows than files tells of"
NO_ROWS = "embeddings has other rows than predictions"
NO_LOCK = "its file is no lock of this program"

#: What is damaged, with what is said for each of WAYS.
LOG = {
    FIRST: (REFUSED, REFUSED, REFUSED, LOST, ""),
    MIDDLE: (REFUSED, ROWS, REFUSED, LOST, GONE),
    NEWEST: (TORN, TAKEN_BACK, TORN, TAKEN_BACK, TAKEN_BACK),
    CHECKPOINT: (TORN, TORN, TORN, TORN, APART),
    "_last_checkpoint": ("", "", "", "", TORN),
}
#: Files whose rows are lost with an entry of files are scored anew.
LOST_IN_FILES = (REFUSED, "", REFUSED, LOST, GONE)
PART = (CHANGED, CHANGED, CHANGED, GONE, CHANGED)
RECORDS = {
    "_ser/output.json": ("", "", "", "", ""),
    "_ser/lock.json": (NO_LOCK, NO_LOCK, NO_LOCK, "", NO_LOCK),
    "run.json": ("", "", "", "", ""),
}
REFUSALS = {REFUSED, LOST, GONE, CHANGED, APART, ROWS, NO_ROWS}


def _cases() -> Iterator[object]:
    """The cases; the ordinary suite has one of each end, of one of the tables where both end alike."""
    said_of = {f"{table}/_delta_log/{name}": said for table in ("predictions", "files") for name, said in LOG.items()}
    said_of[f"files/_delta_log/{MIDDLE}"] = LOST_IN_FILES
    said_of |= {f"embeddings/_delta_log/{name}": LOG[name] for name in (MIDDLE, NEWEST)}
    said_of[f"embeddings/_delta_log/{MIDDLE}"] = (REFUSED, NO_ROWS, REFUSED, LOST, GONE)
    said_of |= {"predictions/a part": PART, "files/a part": PART, "embeddings/a part": PART, **RECORDS}
    for name, said in said_of.items():
        table, _, rest = name.partition("/")
        of_other_table = said_of.get(f"{OTHER_TABLE.get(table)}/{rest}", ("",) * len(WAYS))
        for way, words, twin in zip(WAYS, said, of_other_table, strict=True):
            ends_alike = words == said[0] and way in {"empty", "garbage"}
            ends_alike |= words == twin and table == ("predictions" if way == "missing" else "files")
            ends_alike |= table == "embeddings" and way in {"truncated", "garbage", "foreign"}
            end = "--restart" if words in REFUSALS else "goes on"
            yield pytest.param(
                name,
                way,
                words,
                id=f"{name.replace('0' * 19, '')} {way}: {words or 'nothing'}: {end}",
                marks=[pytest.mark.heavy] if ends_alike else [],
            )


@pytest.mark.parametrize(("name", "way", "words"), _cases())
def test_damage_has_a_way_out(bases: Bases, tmp_path: Path, name: str, way: str, words: str) -> None:
    base = bases.checkpoints if "checkpoint" in name else bases.plain
    if name.endswith("a part"):
        name = str(min((base / name).parent.glob("*/*.parquet")).relative_to(base))
    output = _output(shutil.copytree(base, tmp_path / "out"))
    _damage(tmp_path / "out" / name, way, _foreign(bases, name))
    if words in REFUSALS:
        with pytest.raises(OutputError) as caught:
            _run(output, bases.plan)
        line = str(caught.value)
        assert line.isprintable()
        assert words in line
        assert words in {APART, ROWS, NO_ROWS} or name.split("/")[0] in line
        assert words not in {REFUSED, LOST} or f"/{name} is" in line
        assert not [said for said in _run(output, bases.plan, restart=True) if TORN not in said]
    else:
        said = _run(output, bases.plan)
        assert any(words in line for line in said) or (not words and not said), said
