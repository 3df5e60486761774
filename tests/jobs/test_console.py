import json
import os
import pty
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest

from jobs.console import Console, Progress
from jobs.report import show_progress
from ser_core.tables.assembler import Totals
from tests.support.clock import Clock

#: 40 of 100 files after 60 s: 90 s are left.
HALFWAY = Totals(num_files=40, num_failed=2, num_windows=600, audio_seconds=1800.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.set_up(monkeypatch)


def begun_a_minute_ago(console: Console, clock: Clock) -> Progress:
    progress = Progress(console, None)
    clock.now += 60
    return progress


def test_results_go_to_standard_output_and_all_else_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    console = Console(verbose=True)
    console.result("two files", {"files": 2})
    console.say("working")
    console.detail("listing")
    console.fail("no such folder")
    assert capfd.readouterr() == ("two files\n", "working\nlisting\nser: no such folder\n")


def test_for_programs_a_result_is_one_json_line(capfd: pytest.CaptureFixture[str]) -> None:
    Console("json").result("two\nlines", {"path": "naïve.wav", "files": 2})
    out = capfd.readouterr().out
    assert out.count("\n") == 1
    assert "naïve.wav" in out
    assert json.loads(out) == {"path": "naïve.wav", "files": 2}


def test_quiet_leaves_results_and_errors(capfd: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True, verbose=True)
    console.say("working")
    console.detail("listing")
    with console.progress() as progress:
        show_progress(progress, 100, HALFWAY)
    console.result("done", {})
    console.fail("no such folder")
    assert capfd.readouterr() == ("done\n", "ser: no such folder\n")


def test_details_are_for_verbose_alone(capfd: pytest.CaptureFixture[str]) -> None:
    Console().detail("listing")
    assert capfd.readouterr().err == ""


def test_a_plain_progress_line_says_how_far_how_fast_and_how_long_still(
    capfd: pytest.CaptureFixture[str], clock: Clock
) -> None:
    show_progress(begun_a_minute_ago(Console(), clock), 100, HALFWAY)
    assert capfd.readouterr().err == (
        "40/100 files, 600 windows, 10 windows/s, 0.008 audio hours/s, 2 failed, 1.5 min left\n"
    )


@pytest.mark.parametrize(
    ("num_files", "left"),
    [(0, None), (1, "1.6 h left"), (10, "9.0 min left"), (60, "40 s left"), (99, "1 s left"), (100, None)],
)
def test_time_left_is_in_hours_minutes_or_seconds_and_unknown_before_the_first_file(
    num_files: int, left: str | None, capfd: pytest.CaptureFixture[str], clock: Clock
) -> None:
    show_progress(begun_a_minute_ago(Console(), clock), 100, Totals(num_files=num_files))
    line = capfd.readouterr().err.strip()
    assert line.endswith(f", {left}" if left else "failed")


@pytest.mark.parametrize(
    ("seconds_ago", "verbose", "num_lines"), [(9.0, False, 0), (10.5, False, 1), (0.5, True, 0), (1.5, True, 1)]
)
def test_plain_lines_do_not_come_too_often(
    seconds_ago: float, verbose: bool, num_lines: int, capfd: pytest.CaptureFixture[str], clock: Clock
) -> None:
    progress = Progress(Console(verbose=verbose), None)
    clock.now += seconds_ago
    for _ in range(3):
        progress.update(40, 100, "40 of 100")
    assert len(capfd.readouterr().err.splitlines()) == num_lines


def test_where_standard_error_is_no_terminal_progress_is_plain_lines(
    capfd: pytest.CaptureFixture[str], clock: Clock
) -> None:
    with Console().progress() as progress:
        progress.update(1, None, "1 MB")
        assert capfd.readouterr().err == ""
        clock.now += 60
        progress.update(2, None, "2 MB")
        assert capfd.readouterr().err == "2 MB\n"
        progress.update(3, None, "3 MB", at_once=True)
        assert capfd.readouterr().err == "3 MB\n"


def test_what_was_done_before_says_nothing_of_the_speed(capfd: pytest.CaptureFixture[str], clock: Clock) -> None:
    progress = begun_a_minute_ago(Console(), clock)
    progress.begin(80)
    clock.now += 10
    progress.update(90, 100, "90 of 100", at_once=True)
    assert capfd.readouterr().err == "90 of 100, 10 s left\n"


@dataclass
class Terminal:
    """What a terminal showed once nobody writes to it any more, without colours."""

    shown: str = ""


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """Make standard error a terminal of 120 columns."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    reader, writer = pty.openpty()
    seen = Terminal()
    with os.fdopen(writer, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        yield seen
    seen.shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", read_all(reader))
    os.close(reader)


def read_all(descriptor: int) -> str:
    """All that is left in a terminal whose other end is closed."""
    data = b""
    # The end of a terminal is an error, EIO.
    with suppress(OSError):
        while chunk := os.read(descriptor, 65_536):
            data += chunk
    return data.decode()


def test_on_a_terminal_progress_is_a_live_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as seen, Console().progress() as progress:
        show_progress(progress, 100, HALFWAY)
    last_state = seen.shown.strip().splitlines()[-1]
    assert "40/100 files" in last_state
    assert "2 failed" in last_state
    assert "left" in last_state


def test_on_a_terminal_quiet_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as seen, Console(quiet=True).progress() as progress:
        show_progress(progress, 100, HALFWAY)
    assert not seen.shown
