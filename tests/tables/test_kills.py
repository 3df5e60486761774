"""Guarantee 1 under attack: broken off, or woken too late, at every operation in turn.

The ordinary suite takes a sample of the points, its seed printed; the heavy one takes them all.
"""

import functools
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import pytest

from ser_core import storage
from ser_core.errors import OutputError, SupersededError
from ser_core.storage.location import Location
from ser_core.tables.output import Output
from ser_core.tables.run import Run
from ser_core.tables.table_pair import TablePair
from tests.support.tables import (
    EMBEDDED,
    LABELS,
    NEW_COLUMNS,
    NOW,
    OLD,
    SETTINGS,
    check_complete,
    check_snapshot,
    earlier_version,
    score,
    score_all,
    write_plan,
)
from tests.support.tables_faults import READS, WRITES, InjectedError, Interposer, Killed

OTHER_LABELS = ("calm", "sad")
OTHER_SETTINGS = SETTINGS.replace(model="other@4567", window_seconds=2.0)
#: What the settings are, and whether all begins anew: two and three tables, embeddings that come and that go.
STARTS = {
    "first run": (EMBEDDED, False),
    "increment": (EMBEDDED, False),
    "new columns": (SETTINGS, False),
    "restart": (OTHER_SETTINGS.replace(embeddings=EMBEDDED.embeddings), True),
    "restart without embeddings": (OTHER_SETTINGS, True),
}
EVERY_POINT = 1_000_000
SAMPLES = [pytest.param(1, id="sample"), pytest.param(EVERY_POINT, id="every point", marks=pytest.mark.heavy)]
COMMITS = {"after create_write_transaction", "after set_table_description", "after add_columns"}


class Scene:
    """Outputs that were complete for OLD, one by a program with columns less, and the plan of NOW."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan = write_plan(folder / "now.parquet", NOW)
        self.prepared = folder / "prepared"
        self.earlier = folder / "earlier"
        old_plan = write_plan(folder / "old.parquet", OLD)
        score_all(Output(Location.parse(str(self.prepared))), old_plan, OLD, settings=EMBEDDED)
        with earlier_version():
            score_all(Output(Location.parse(str(self.earlier))), old_plan, OLD)

    def output(self, start: str) -> Output:
        """The place of the test: with nothing ("first run") or a copy of the prepared output in it."""
        copy = self.folder / "output"
        shutil.rmtree(copy, ignore_errors=True)
        if start != "first run":
            shutil.copytree(self.earlier if start in {"new columns", "restart"} else self.prepared, copy)
        return Output(Location.parse(str(copy)))

    def score(self, output: Output, start: str) -> Run:
        """What the test breaks off and repeats: a run to the end."""
        settings, is_restart = STARTS[start]
        labels = OTHER_LABELS if is_restart else LABELS
        return score_all(output, self.plan, NOW, labels=labels, settings=settings, restart=is_restart)

    def score_watched(self, output: Output, start: str, at_point: Callable[[int, str], None]) -> int:
        """Score with every version of the logs checked as soon as it exists; the number of points passed."""

        checked: dict[str, str] = {}

        def check_then(point: int, name: str) -> None:
            if name in COMMITS:
                check_snapshot(output.location, OLD, NOW, checked=checked)
            at_point(point, name)

        interposer = Interposer(check_then)
        with interposer.active(*WRITES):
            self.score(output, start)
        return interposer.num_points

    @functools.cache  # noqa: B019 - a scene lives as long as its module's tests
    def num_points(self, start: str) -> int:
        """How many points a run passes that nothing breaks off."""
        num_points = self.score_watched(self.output(start), start, _pass_by)
        assert num_points > 100
        return num_points

    @functools.cache  # noqa: B019
    def points_to_sleep_at(self, start: str, moment: str = "before") -> tuple[int, ...]:
        """The points before an operation, reads among them."""
        points = []

        def note(point: int, name: str) -> None:
            if name.startswith(moment):
                points.append(point)

        with Interposer(note).active(*WRITES, *READS):
            self.score(self.output(start), start)
        return tuple(points)

    def newer(self, output: Output, start: str) -> Iterator[Run]:
        """Another run on the same place, step by step."""
        return score(Output(output.location), self.plan, NOW, settings=STARTS[start][0])

    def check(self, output: Output, start: str) -> None:
        labels = OTHER_LABELS if STARTS[start][1] else LABELS
        null_in_first_run = NEW_COLUMNS if start == "new columns" else ()
        check_complete(output.location, NOW, labels, null_in_first_run=null_in_first_run)


@pytest.fixture(scope="module")
def scene(quick_disk: None, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("faults"))


@pytest.fixture
def dice() -> random.Random:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    return random.Random(seed)


def _pass_by(point: int, name: str) -> None:
    pass


def _break_at(broken_point: int, error: type[BaseException]) -> Callable[[int, str], None]:
    def at_point(point: int, name: str) -> None:
        if point == broken_point:
            raise error(f"{name}, point {point}")

    return at_point


def _sample(dice: random.Random, num_points: int, size: int) -> list[int]:
    return dice.sample(range(num_points), min(size, num_points))


@pytest.mark.parametrize("size", SAMPLES)
@pytest.mark.parametrize("error", [Killed, InjectedError])
@pytest.mark.parametrize("start", STARTS)
def test_broken_off_then_run_again(
    scene: Scene, start: str, error: type[BaseException], size: int, dice: random.Random
) -> None:
    for point in _sample(dice, scene.num_points(start), size):
        output = scene.output(start)
        with suppress(Killed, InjectedError):
            scene.score_watched(output, start, _break_at(point, error))
        check_snapshot(output.location, OLD, NOW)
        scene.score_watched(output, start, _pass_by)
        scene.check(output, start)


@pytest.mark.parametrize("size", [pytest.param(12, id="sample"), pytest.param(200, id="many", marks=pytest.mark.heavy)])
def test_broken_off_again_and_again(scene: Scene, size: int, dice: random.Random) -> None:
    """Kills that hit the mending too, until a run comes through."""
    output = scene.output("increment")
    for _ in range(size):
        with suppress(Killed):
            scene.score_watched(output, "increment", _break_at(dice.randrange(60), Killed))
        check_snapshot(output.location, OLD, NOW)
    scene.score_watched(output, "increment", _pass_by)
    scene.check(output, "increment")


@pytest.mark.parametrize("size", [pytest.param(1, id="sample"), pytest.param(40, id="many", marks=pytest.mark.heavy)])
def test_process_really_exits(scene: Scene, size: int, dice: random.Random) -> None:
    for point in _sample(dice, scene.num_points("increment"), size):
        output = scene.output("increment")
        command = [sys.executable, "-m", "tests.tables.test_kills", output.location.url, str(scene.plan), str(point)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        exited = subprocess.run(command, check=False, env=environment, timeout=120)
        assert exited.returncode == 9
        check_snapshot(output.location, OLD, NOW)
        scene.score_watched(output, "increment", _pass_by)
        scene.check(output, "increment")


#: A first run on S3 passes more of them.
FEWEST_POINTS_ON_S3 = 80


@pytest.mark.parametrize(
    ("server", "size"),
    [pytest.param("moto_s3", 1, id="moto"), pytest.param("ceph_s3", 30, id="ceph", marks=pytest.mark.heavy)],
)
def test_broken_off_on_s3(
    scene: Scene, server: str, size: int, dice: random.Random, request: pytest.FixtureRequest
) -> None:
    bucket: Location = request.getfixturevalue(server).location
    for point in _sample(dice, FEWEST_POINTS_ON_S3, size):
        output = Output(bucket.join(f"point-{point}"))
        with pytest.raises(Killed):
            scene.score_watched(output, "first run", _break_at(point, Killed))
        scene.score(output, "first run")
        scene.check(output, "first run")


def _exit_at(output: Output, plan: Path, broken_point: int) -> None:
    def at_point(point: int, name: str) -> None:
        if point == broken_point:
            os._exit(9)

    with Interposer(at_point).active(*WRITES):
        score_all(output, plan, NOW, settings=EMBEDDED)


def _score_asleep_at(scene: Scene, output: Output, start: str, point: int, meanwhile: Callable[[], object]) -> bool:
    """Score, with something else going on before one operation; whether the run came through to its end."""

    def at_point(reached: int, name: str) -> None:
        if reached == point:
            meanwhile()
        if name in COMMITS:
            check_snapshot(output.location, OLD, NOW)

    with Interposer(at_point).active(*WRITES, *READS), suppress(OutputError):
        scene.score(output, start)
        return True
    return False


@pytest.mark.parametrize("size", SAMPLES)
@pytest.mark.parametrize("start", STARTS)
def test_older_run_wakes_after_a_newer_one_ended(scene: Scene, start: str, size: int, dice: random.Random) -> None:
    points = scene.points_to_sleep_at(start)
    for index in _sample(dice, len(points), size):
        output = scene.output(start)
        _score_asleep_at(
            scene, output, start, points[index], lambda location=output.location: scene.score(Output(location), start)
        )
        scene.check(output, start)


@pytest.mark.parametrize("size", SAMPLES)
@pytest.mark.parametrize(
    "moment", [f"before {name}" for name in ("create_write_transaction", "update_incremental", "list_files")]
)
def test_older_run_wakes_where_its_output_was_deleted_and_made_again(
    scene: Scene, moment: str, size: int, dice: random.Random
) -> None:
    """The newer run has made as many commits as the older one had: their numbers alone would not tell them apart."""
    points = scene.points_to_sleep_at("first run", moment)
    for index in _sample(dice, len(points), size):
        output = scene.output("first run")
        newer = scene.newer(output, "first run")

        def make_again(place: Path = Path(output.location.path), run: Iterator[Run] = newer) -> None:
            num_versions = _num_versions(place)
            shutil.rmtree(place)
            while _num_versions(place) < num_versions and next(run, None):
                pass

        _score_asleep_at(scene, output, "first run", points[index], make_again)
        with suppress(OutputError):
            list(newer)
        scene.score(output, "first run")
        scene.check(output, "first run")


def _num_versions(place: Path) -> int:
    return len(list(place.glob("predictions/_delta_log/*.json")))


@pytest.mark.parametrize("size", SAMPLES)
@pytest.mark.parametrize("num_steps", [1, 3], ids=["begun", "committed"])
@pytest.mark.parametrize("start", ["first run", "increment"])
def test_older_run_wakes_while_a_newer_one_runs(
    scene: Scene, start: str, num_steps: int, size: int, dice: random.Random
) -> None:
    points = scene.points_to_sleep_at(start)
    for index in _sample(dice, len(points), size):
        output = scene.output(start)
        newer = scene.newer(output, start)

        def take_steps(run: Iterator[Run] = newer) -> None:
            list(islice(run, num_steps))

        older_ended = _score_asleep_at(scene, output, start, points[index], take_steps)
        try:
            list(newer)
        except SupersededError:
            assert older_ended, "each run was stopped by the other"
        scene.check(output, start)


def _look_and_go_on(pair: TablePair) -> None:
    for log in pair.logs:
        log.look()


def _delete_what_is_dead_now(pair: TablePair) -> None:
    for log in pair.logs:
        live = {part.path for part in log.parts()}
        for path, _ in storage.list_files(log.location):
            if path.endswith(".parquet") and path not in live:
                storage.delete(log.location.join(path))


def _break_off_everywhere(scene: Scene) -> None:
    test_broken_off_then_run_again(scene, "increment", Killed, EVERY_POINT, random.Random(1))


def _wake_everywhere(scene: Scene) -> None:
    test_older_run_wakes_while_a_newer_one_runs(scene, "increment", 3, EVERY_POINT, random.Random(1))


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "broken", "attack"),
    [
        pytest.param("recover", lambda pair: [], _break_off_everywhere, id="no mending"),
        pytest.param("delete_orphans", lambda pair: None, _break_off_everywhere, id="orphans stay"),
        pytest.param("look", _look_and_go_on, _wake_everywhere, id="commits whatever it sees"),
        pytest.param("delete_orphans", _delete_what_is_dead_now, _wake_everywhere, id="no look"),
    ],
)
def test_these_attacks_find_a_broken_protocol(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    broken: Callable[[TablePair], None],
    attack: Callable[[Scene], None],
) -> None:
    monkeypatch.setattr(TablePair, name, broken)
    with pytest.raises((AssertionError, OutputError, FileNotFoundError)):
        attack(scene)


if __name__ == "__main__":
    _exit_at(Output(Location.parse(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3]))
