"""`ser verify`: the lines and the JSON object of whole and damaged outputs, and its exit codes."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ser_core.temporary import remove_dead
from tests.support.archive import write_archive
from tests.support.cli import ROOT, Answer, as_plain_user, assert_one_line, clean_environment, ser_here

_DIES = """
import os
from ser_core.tables.checks import verification
verification._Verification.result = lambda _: os._exit(9)
from jobs.start import main
main()
"""

_FORBIDS = """
import sys
from pathlib import Path
from ser_core.errors import OutputError
from ser_core.storage import Location
from ser_core.tables import verify
output = Path(sys.argv[1])
for name in sys.argv[2:]:
    (output / name).chmod(0)
    try:
        print(*verify(Location(str(output))).findings, sep="\\n")
    except OutputError as error:
        print(error)
    (output / name).chmod(0o755)
"""


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    write_archive(folder / "in", 3)
    assert ser_here("score", folder / "in", folder / "out", "--engine", "local").code == 0
    return folder / "out"


def test_a_whole_output(scored: Path) -> None:
    before = sorted(scored.rglob("*"))
    answer = ser_here("verify", scored)
    assert answer.code == 0
    assert answer.out.startswith(f"{scored}: whole; run 1 (complete), 3 files, ")
    data = ser_here("verify", scored, "--output-mode", "json").data
    assert (data["output"], data["is_whole"], data["state"], data["files"]) == (str(scored), True, "complete", 3)
    assert (data["orphans"], data["findings"], data["notes"]) == (0, [], [])
    assert sorted(scored.rglob("*")) == before


def test_a_damaged_one_is_a_line_for_each_finding(scored: Path) -> None:
    part = min((scored / "predictions").glob("*/*.parquet"))
    data = part.read_bytes()
    part.write_bytes(data[:200] + b"?" + data[201:])
    stray = scored / "files" / "status=scored" / "mine.parquet"
    stray.write_bytes(b"")
    answer = ser_here("verify", scored, "--quiet")
    as_json = ser_here("verify", scored, "--output-mode", "json")
    part.write_bytes(data)
    stray.unlink()
    assert answer.code == as_json.code == 1
    foreign, damaged, note, verdict = answer.out.splitlines()
    assert foreign.startswith(f"{scored}/files: Parquet files of another program")
    assert foreign.endswith("(1): status=scored/mine.parquet; move them elsewhere")
    name = part.relative_to(scored / "predictions")
    assert damaged.startswith(
        f"{scored}/predictions: parts that are damaged or cannot be read (1): {name}; restore them"
    )
    assert "not held against each other" in note
    assert f"{scored}: 2 kinds of damage; run 1 (complete)" in verdict
    assert [finding["table"] for finding in as_json.data["findings"]] == ["files", "predictions"]
    assert as_json.data["findings"][1]["names"] == [str(name)]
    assert not as_json.data["is_whole"]


def test_what_may_not_be_read_is_named_with_its_permissions(scored: Path) -> None:
    part = min((scored / "predictions").glob("*/*.parquet")).relative_to(scored)
    names = [str(part), "_ser", "files/_delta_log", "run.json"]
    environment = clean_environment(PYTHONPATH=str(ROOT))
    command = [*as_plain_user(), sys.executable, "-c", _FORBIDS, str(scored), *names]
    answer = subprocess.run(command, env=environment, check=True, timeout=60, capture_output=True, text=True)
    of_part, *others = answer.stdout.splitlines()
    where = part.relative_to("predictions")
    assert of_part == f"parts that this user may not read (1): {where}; change their permissions, and verify again"
    assert len(others) == 3
    for name, line in zip(names[1:], others, strict=True):
        assert line.startswith(str(scored / name))
        assert "(Permission denied); change its permissions" in line


def test_what_it_leaves_when_it_is_killed_the_next_command_removes(scored: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _DIES, "verify", str(scored)]
    environment = clean_environment(TMPDIR=str(tmp_path))
    killed = subprocess.run(command, cwd=ROOT, env=environment, check=False, timeout=60)
    assert killed.returncode == 9
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path))
        remove_dead()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_output_is_one_line(tmp_path: Path) -> None:
    def verify() -> Answer:
        return ser_here("verify", tmp_path)

    assert_one_line(verify(), 1, "holds no results of 'ser score'")
    (tmp_path / "something").write_text("else")
    assert_one_line(verify(), 1, str(tmp_path), "was not made by ser")
    assert_one_line(ser_here("verify", "ftp://host/dir"), 2, "ftp://")


def test_a_damaged_log_is_one_line(scored: Path) -> None:
    entry = max((scored / "files" / "_delta_log").glob("*.json"))
    data = entry.read_bytes()
    entry.write_bytes(b"{")
    answer = ser_here("verify", scored)
    entry.write_bytes(data)
    assert_one_line(answer, 1, "files", "restore it")
