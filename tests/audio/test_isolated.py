"""Decoding in a child: the same segments, and whatever a file does to the child costs that file alone."""

import functools
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

import numpy as np
import psutil
import pytest

from ser_core.audio.decode import iter_segments
from ser_core.audio.isolated import Decoder
from ser_core.audio.messages import HOOK_VARIABLE
from ser_core.audio.segments import Segment
from ser_core.audio.settings import WindowSettings
from ser_core.errors import ServiceError
from ser_core.faults import Fault
from ser_core.settings import Channels
from tests.support.audio_factory import ODD_FILES, RATE_HZ, encode, noise, write_sparse_rf64
from tests.support.processes import first_line, launch

WINDOWS = WindowSettings()
MIB = 2**20


def make_decoder(*, channels: Channels = "mix", timeout_seconds: float = 60, memory_mib: int = 256) -> Decoder:
    return Decoder(
        channels=channels, windows=WINDOWS, timeout_seconds=timeout_seconds, memory_limit_bytes=memory_mib * MIB
    )


@pytest.fixture
def misbehaving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children heed the names of files."""
    monkeypatch.setenv(HOOK_VARIABLE, "tests.support.decode_hooks:misbehave")


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "ser_core.audio.worker" in child.cmdline()]


def assert_equal(ours: list[Segment], theirs: list[Segment]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.pcm_NS, other.pcm_NS)
        values, others = vars(one) | {"pcm_NS": None}, vars(other) | {"pcm_NS": None}
        assert values == others


@pytest.mark.parametrize("channels", ["mix", "each"])
def test_the_child_gives_what_this_process_would(channels: Channels) -> None:
    with make_decoder(channels=channels) as decoder:
        for name, (contents, _) in ODD_FILES.items():
            data = contents()
            here = list(iter_segments(data, channels=channels, windows=WINDOWS))
            assert_equal(list(decoder.segments(data, name=name)), here)


def test_many_files_come_in_order_each_with_its_place(tmp_path: Path) -> None:
    contents = [encode(noise(seconds, seed=seconds)) for seconds in (2, 700, 4)]
    path = tmp_path / "file.wav"
    path.write_bytes(contents[2])
    with make_decoder() as decoder:
        answers = list(decoder.segments_of([("a", contents[0]), ("b", contents[1]), ("c", str(path))]))
    for place, data in enumerate(contents):
        here = list(iter_segments(data, channels="mix", windows=WINDOWS))
        assert_equal([segment for at, segment in answers if at == place], here)
    assert [place for place, _ in answers] == sorted(place for place, _ in answers)


def open_noise(seconds: float) -> BinaryIO:
    return io.BytesIO(encode(noise(seconds)))


def open_fault(reason: str) -> BinaryIO:
    if reason == "service":
        raise ServiceError("the credentials have expired")
    raise Fault("changed", "the file changed after it was listed")


def test_a_call_opens_the_file_in_the_child() -> None:
    with make_decoder() as decoder:
        (segment,) = decoder.segments(functools.partial(open_noise, 2.0))
        assert segment.audio_seconds == 2
        (segment,) = decoder.segments(functools.partial(open_fault, "changed"))
        assert segment.fault == Fault("changed", "the file changed after it was listed")


def test_a_fault_of_the_storage_is_raised_here_and_the_child_lives_on() -> None:
    with make_decoder() as decoder:
        with pytest.raises(ServiceError, match="credentials have expired"):
            list(decoder.segments(functools.partial(open_fault, "service")))
        (child,) = children()
        (segment,) = decoder.segments(encode(noise(2)))
        assert segment.fault is None
        assert children() == [child]


@pytest.mark.usefixtures("misbehaving")
@pytest.mark.parametrize(
    ("verb", "reason", "words"),
    [
        ("abort", "crashed", "SIGABRT"),
        ("raise", "crashed", "an error of the decoder itself"),
        ("hang", "timeout", "more than 1 s"),
        ("spin", "timeout", "more than 1 s"),
        ("eat", "memory", "more than 256 MiB"),
        ("kill", "memory", "ran out of memory"),
    ],
)
def test_a_deadly_file_fails_alone_and_in_bounded_time(verb: str, reason: str, words: str) -> None:
    good = encode(noise(4))
    started = time.monotonic()
    with make_decoder(timeout_seconds=1 if reason == "timeout" else 60) as decoder:
        answers = list(decoder.segments_of([("good", good), (verb, good), ("good", good)]))
    assert time.monotonic() - started < 15
    (before,), (failed,), (after,) = ([segment for at, segment in answers if at == place] for place in range(3))
    assert before.fault is None
    assert after.fault is None
    assert (failed.fault.reason, len(failed.pcm_NS), failed.is_last) == (reason, 0, True)
    assert words in failed.fault.detail
    assert "each of 3 attempts" in failed.fault.detail
    assert not children()


@pytest.mark.usefixtures("misbehaving")
def test_what_goes_wrong_once_is_tried_again(tmp_path: Path) -> None:
    contents = encode(noise(700))
    with make_decoder() as decoder:
        again = list(decoder.segments(contents, name=str(tmp_path / "once_abort")))
    assert_equal(again, list(iter_segments(contents, channels="mix", windows=WINDOWS)))


class _Deadly(io.BytesIO):
    def __init__(self, contents: bytes, deadly: range) -> None:
        super().__init__(contents)
        self._deadly = deadly

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() in self._deadly:
            os.abort()
        return super().read(size)


def open_deadly(num_channels: int) -> BinaryIO:
    """600 s that kill their reader after 400 s."""
    contents = encode(np.zeros((600 * RATE_HZ, num_channels), np.float32))
    return _Deadly(contents, range(2 * len(contents) // 3, 3 * len(contents) // 4))


@pytest.mark.parametrize(("channels", "numbers"), [("mix", [-1]), ("each", [0, 1])])
def test_a_file_that_kills_later_keeps_what_it_gave(channels: Channels, numbers: list[int]) -> None:
    with make_decoder(channels=channels, memory_mib=1024) as decoder:
        segments = list(decoder.segments(functools.partial(open_deadly, 2)))
    assert [segment.segment_index for segment in segments] == list(range(len(segments)))
    assert [segment.is_last for segment in segments] == [False] * (len(segments) - 1) + [True]
    for number in numbers:
        *given, last = (segment for segment in segments if segment.channel == number)
        seconds = sum(segment.audio_seconds for segment in given)
        assert 0 < seconds <= 400
        assert [index for segment in given for index in segment.window_index] == list(range(round(seconds / 3)))
        assert last.fault.reason == "crashed"
        assert last.gaps == [(seconds, 600.0)]


def test_a_caller_that_stops_midway_spoils_nothing() -> None:
    long, short = encode(noise(1_500)), encode(noise(2))
    with make_decoder() as decoder:
        assert next(decoder.segments(long)).segment_index == 0
        (segment,) = decoder.segments(short)
        assert segment.audio_seconds == 2


def test_a_child_that_died_idle_is_replaced() -> None:
    contents = encode(noise(2))
    with make_decoder() as decoder:
        list(decoder.segments(contents))
        (child,) = children()
        child.kill()
        child.wait(10)
        (segment,) = decoder.segments(contents)
        assert segment.fault is None


def test_it_works_from_any_thread_and_outlives_it() -> None:
    contents = encode(noise(2))
    found: list[Segment] = []
    with make_decoder() as decoder:
        thread = threading.Thread(target=lambda: found.extend(decoder.segments(contents)))
        thread.start()
        thread.join(60)
        (child,) = children()
        found.extend(decoder.segments(contents))
        assert children() == [child]
    assert len(found) == 2


def test_a_normal_long_file_fits_the_memory_limit(tmp_path: Path) -> None:
    write_sparse_rf64(tmp_path / "long.wav", 20 * 60, num_channels=8)
    with make_decoder(channels="each", memory_mib=512) as decoder:
        faults = {segment.fault for segment in decoder.segments(str(tmp_path / "long.wav"))}
    assert faults == {None}


def _top_memory_bytes(path: Path, seconds: float) -> int:
    write_sparse_rf64(path, seconds)
    top = 0
    with make_decoder() as decoder:
        for _ in decoder.segments(str(path)):
            top = max(top, children()[0].memory_full_info().uss)
    return top


def test_the_childs_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    growth = _top_memory_bytes(tmp_path / "long.wav", 20 * 60) - _top_memory_bytes(tmp_path / "short.wav", 5 * 60)
    assert growth < 30e6


_PARENT = """
import sys
from ser_core.audio.settings import WindowSettings
from ser_core.audio.isolated import Decoder
from tests.support.audio_factory import encode, noise
decoder = Decoder(channels="mix", windows=WindowSettings(), timeout_seconds=60)
files = decoder.segments_of([("good", encode(noise(2))), (sys.argv[1], encode(noise(2)))])
next(files)
print(decoder._child._process.pid, flush=True)
list(files)
sys.stdin.read()
"""


@pytest.mark.usefixtures("misbehaving")
@pytest.mark.parametrize("verb", ["good", "hang", "spin"])
def test_the_child_dies_with_its_parent(verb: str) -> None:
    parent = launch([sys.executable, "-c", _PARENT, verb], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(first_line(parent)))
    parent.send_signal(signal.SIGKILL)
    parent.communicate(timeout=30)
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_the_child_is_lean() -> None:
    with make_decoder() as decoder:
        list(decoder.segments(encode(noise(2))))
        maps = {mapping.path for mapping in children()[0].memory_maps()}
    assert not [path for path in maps if "torch" in path or "pyarrow" in path or "/ray/" in path]
