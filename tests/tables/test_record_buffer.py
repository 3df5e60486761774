"""Records that wait for their file: compact however small they are, and whole in whatever order they come."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from ser_core.tables.assembler import Assembler, Totals
from ser_core.tables.record_buffer import RecordBuffer
from ser_core.tables.rows import RowSettings, make_rows
from tests.support.cli import ROOT
from tests.support.records import LABELS, failed, record, table

SETTINGS = RowSettings(labels=LABELS, model="tiny@0", hop_seconds=3.0, run_number=7)
PATH = "calls/2024/01/a recording of an hour, of which each window is a record of its own.wav"


def one_window_each(first: int, num: int) -> pa.Table:
    """The records of segments `first` to `first` + `num` - 1 of one file, none of which is the last."""
    index = np.arange(first, first + num)
    offsets = pa.array(np.arange(num + 1), pa.int32())
    values = {
        "segment_index": pa.array(index, pa.int32()),
        "window_index": pa.ListArray.from_arrays(offsets, pa.array(index)),
        "end_seconds": pa.ListArray.from_arrays(offsets, pa.array(3.0 * (index + 1))),
    }
    records = table(record(PATH, 0, is_last=False)).take(pa.array(np.zeros(num, np.int64)))
    for name, column in values.items():
        place = records.schema.get_field_index(name)
        records = records.set_column(place, records.schema.field(place), column)
    return records


def test_records_of_one_window_take_little_more_than_their_values_while_they_wait() -> None:
    """A million of them: 0.15 GB, as docs/architecture.md says."""
    holder = Assembler(SETTINGS, 1, Totals())
    blocks = [one_window_each(first, 1000) for first in range(0, 100_000, 1000)]
    before = pa.total_allocated_bytes()
    for block in blocks:
        holder.add(block)
    assert pa.total_allocated_bytes() - before < 100_000 * 150
    assert holder.take() is None


_ONE_BY_ONE = """
import psutil
from ser_core.tables.assembler import Assembler, Totals
from tests.tables.test_record_buffer import SETTINGS, one_window_each
holder = Assembler(SETTINGS, 1, Totals())
for first in range(1500):
    if first == 100:
        before = psutil.Process().memory_info().rss
    holder.add(one_window_each(first, 1))
print(psutil.Process().memory_info().rss - before)
"""


def test_records_that_come_one_by_one_take_no_more_memory() -> None:
    """In a process of its own, since what others gave back would not be seen to be taken again."""
    command = [sys.executable, "-c", _ONE_BY_ONE]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=ROOT)
    # A table of one record takes 13 KB.
    assert int(done.stdout) < 1400 * 4000


def test_a_block_is_let_go_of_when_few_of_its_records_wait() -> None:
    holder = Assembler(SETTINGS, 20_000, Totals())
    before = pa.total_allocated_bytes()
    whole = [record(f"{number}.wav", number) for number in range(1, 20_000)]
    holder.add(table(record("long.wav", 0, is_last=False), *whole))
    assert holder.take() is not None
    assert pa.total_allocated_bytes() - before < 10_000


@pytest.mark.parametrize("size", [1, 7, 90])
def test_segments_in_any_order_and_again_are_one_file(size: int) -> None:
    num = 100 * size
    last = record(PATH, 0, first_window=num, segment_index=num)
    expected = make_rows(pa.concat_tables([one_window_each(0, num), table(last)]), SETTINGS)
    records = pa.concat_tables([table(last), one_window_each(0, num)]).combine_chunks()
    order = np.random.default_rng(0).permutation(num + 1)
    holder = Assembler(SETTINGS, 2, Totals())
    for first in range(0, num + 1, size):
        block = records.take(pa.array(order[first : first + size]))
        holder.add(block)
        # As after the loss of a node.
        holder.add(block.slice(block.num_rows // 2))
    rows = holder.take()
    assert rows is not None
    assert rows.predictions.equals(expected.predictions)
    assert rows.files.equals(expected.files)
    assert holder.missing_F().tolist() == [1]


def test_files_that_are_whole_in_one_block_and_files_that_are_not_do_not_mix() -> None:
    totals = Totals()
    holder = Assembler(SETTINGS, 4, totals)
    channels = [
        record("b.wav", 1, channel=channel, segment_index=channel, is_last=channel == 2, first_window=0)
        for channel in (2, 0, 1)
    ]
    holder.add(table(record("c.wav", 2, segment_index=1), *channels, record("a.wav", 0), failed("d.wav", 3)))
    rows = holder.take()
    assert rows is not None
    assert rows.files.select(["path", "channel"]).to_pylist() == [
        {"path": "a.wav", "channel": -1},
        *({"path": "b.wav", "channel": channel} for channel in (0, 1, 2)),
        {"path": "d.wav", "channel": -1},
    ]
    assert (totals.num_files, totals.num_failed, totals.num_windows) == (3, 1, 4)
    assert holder.missing_F().tolist() == [2]
    # The worker of what is left was lost for good.
    holder.add(table(failed("c.wav", 2, "crashed")))
    assert (totals.num_files, totals.num_failed, totals.num_windows) == (4, 2, 4)


def test_a_buffer_gives_back_what_came_in_its_order() -> None:
    buffer = RecordBuffer()
    assert not buffer
    for number in range(5000):
        buffer.add(pa.table({"number": [number]}))
    assert buffer
    assert buffer.take()["number"].to_pylist() == list(range(5000))
    assert not buffer
