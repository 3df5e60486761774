"""The plan on disk: exact, in slices, in bounded memory; nothing found is an error that says what is there."""

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ser_core.errors import ServiceError, SourceError
from ser_core.records import PLAN_SCHEMA
from ser_core.source.listing import NO_SUFFIX
from ser_core.source.plan import PlanSummary, write_plan
from ser_core.source.source import Source
from ser_core.storage.location import Location


def test_the_plan_and_its_summary(tmp_path: Path) -> None:
    for name, size in {"a.wav": 10, "b.flac": 5, "empty.wav": 0, "c.txt": 7, ".h.wav": 3, "out/p.wav": 9}.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(bytes(size))
    (tmp_path / "in" / "gone.wav").symlink_to("nowhere")
    found = Source.parse(str(tmp_path / "in"), None)
    plan = tmp_path / "plan.parquet"
    summary = write_plan(found, plan, exclude=Location(str(tmp_path / "in" / "out")))
    assert summary == PlanSummary(
        num_files=4, num_bytes=15, suffixes={"wav": 3, "flac": 1}, left_out={NO_SUFFIX: {"txt": 1}}, num_hidden=1
    )
    table = pq.read_table(plan)
    assert table.schema == PLAN_SCHEMA
    assert table["path"].to_pylist() == ["a.wav", "b.flac", "empty.wav", "gone.wav"]
    assert table["size"].to_pylist() == [10, 5, 0, -1]


def test_nothing_found_is_an_error(tmp_path: Path) -> None:
    for name in ("a.txt", "b.TXT", "c.pdf", "none", ".hidden.wav"):
        (tmp_path / name).touch()
    with pytest.raises(SourceError) as caught:
        write_plan(Source.parse(str(tmp_path), None), tmp_path / ".plan", exclude=None)
    assert str(caught.value) == (
        f"SOURCE {tmp_path} holds no file with the suffix of audio or video; "
        "it holds 2 .txt, 1 without suffix, 1 .pdf, 2 hidden; --glob chooses others"
    )
    with pytest.raises(SourceError, match=r"holds no file that matches '\*\.wav'; it holds 2 \.txt"):
        write_plan(Source.parse(str(tmp_path), "*.wav"), tmp_path / ".plan", exclude=None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="it holds no file at all"):
        write_plan(Source.parse(str(tmp_path / "empty"), None), tmp_path / ".plan", exclude=None)
    (tmp_path / "list.txt").write_text("\n\n")
    with pytest.raises(SourceError, match=r"the list .*list.txt holds no path"):
        write_plan(Source.parse(str(tmp_path / "list.txt"), None), tmp_path / ".plan", exclude=None)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full disk to write to")
def test_no_space_for_the_plan_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    with pytest.raises(ServiceError, match=r"^/dev: the disk is full; free some space$"):
        write_plan(Source.parse(str(tmp_path), None), Path("/dev/full"), exclude=None)


_PLAN_MANY = """
import resource, sys
from pathlib import Path
from ser_core.source import source
from ser_core.source.listing import PlannedFile
from ser_core.source.listing import NO_SUFFIX
from ser_core.source.plan import write_plan
from ser_core.source.source import Source
from ser_core.storage.location import Location

def rows(count):
    for n in range(count):
        yield PlannedFile(f"speakers/{n // 1000:06}/recording-{n:09}.wav", n, f"{n}-1700000000123456789")

peaks = []
source.SLICE_ROWS = 10_000
for count in (60_000, 300_000):
    source.walk_files = lambda *_: rows(count)
    assert write_plan(Source("folder", Location("/")), Path(sys.argv[1]), exclude=None).num_files == count
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print((peaks[1] - peaks[0]) // 1024)
"""


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _PLAN_MANY, str(tmp_path / "plan.parquet")]
    grown_mib = int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=240).stdout)
    assert pq.ParquetFile(tmp_path / "plan.parquet").num_row_groups == 30
    assert grown_mib < 50
