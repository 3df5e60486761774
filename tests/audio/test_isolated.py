"""Decoding in a child: the same segments, and whatever a file does to the child costs that file alone."""

import functools
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import psutil
import pytest

from ser_core.audio.child import started_ahead
from ser_core.audio.decode import iter_segments
from ser_core.audio.isolated import DECODE_WORKER, Decoder
from ser_core.audio.segments import Segment, WindowSettings
from ser_core.errors import ServiceError
from ser_core.faults import Fault
from ser_core.vocabulary import Channels
from tests.support.audio_factory import ODD_FILES, RATE_HZ, encode, noise, write_sparse_rf64
from tests.support.misbehaving_worker import WORKER, poisoned
from tests.support.processes import first_line, launch, peak_memory_bytes

WINDOWS = WindowSettings()
MIB = 2**20


def make_decoder(
    *, channels: Channels = "mix", timeout_seconds: float = 60, memory_mib: int = 256, worker: str = DECODE_WORKER
) -> Decoder:
    return Decoder(
        channels=channels,
        windows=WINDOWS,
        timeout_seconds=timeout_seconds,
        memory_limit_bytes=memory_mib * MIB,
        retries=1,
        worker=worker,
    )


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "worker import main" in " ".join(child.cmdline())]


def assert_equal(ours: list[Segment], theirs: list[Segment]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.pcm_NS, other.pcm_NS)
        values, others = vars(one) | {"pcm_NS": None}, vars(other) | {"pcm_NS": None}
        assert values == others


def test_a_child_that_was_started_ahead_is_taken_once_and_ended() -> None:
    with started_ahead(DECODE_WORKER):
        [ahead] = children()
        with make_decoder() as first, make_decoder() as second:
            for decoder in (first, second):
                assert len(list(decoder.segments(encode(noise(1.0))))) == 1
            assert len(children()) == 2
            assert ahead in children()
    assert not children()
    with started_ahead(DECODE_WORKER):
        assert len(children()) == 1
    assert not children()


@pytest.mark.parametrize("channels", ["mix", "each"])
def test_the_child_gives_what_this_process_would(channels: Channels) -> None:
    with make_decoder(channels=channels) as decoder:
        for contents, _ in ODD_FILES.values():
            data = contents()
            here = list(iter_segments(data, channels=channels, windows=WINDOWS))
            assert_equal(list(decoder.segments(data)), here)


def test_many_files_come_in_order_each_with_its_index(tmp_path: Path) -> None:
    contents = [encode(noise(seconds, seed=seconds)) for seconds in (2, 700, 4)]
    path = tmp_path / "file.wav"
    path.write_bytes(contents[2])
    with make_decoder() as decoder:
        found = list(decoder.segments_of([contents[0], contents[1], str(path)]))
    for index, data in enumerate(contents):
        here = list(iter_segments(data, channels="mix", windows=WINDOWS))
        assert_equal([segment for at, segment in found if at == index], here)
    assert [index for index, _ in found] == sorted(index for index, _ in found)


def test_a_fault_in_the_place_of_a_file_is_its_only_segment() -> None:
    gone, good = Fault("not_found", "the file does not exist"), encode(noise(2))
    with make_decoder() as decoder:
        found = list(decoder.segments_of([gone, gone, good, gone, good, gone]))
    assert [(index, segment.fault, segment.is_last) for index, segment in found] == [
        (index, None if index in (2, 4) else gone, True) for index in range(6)
    ]


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


@pytest.mark.parametrize(
    ("verb", "reason", "words"),
    [
        ("abort", "crashed", "SIGABRT"),
        ("raise", "crashed", "an error of the decoder itself"),
        ("hang", "timeout", "more than 0.3 s"),
        ("spin", "timeout", "more than 0.3 s"),
        ("stop", "timeout", "more than 0.3 s"),
        ("stammer", "timeout", "more than 0.3 s"),
        ("eat", "memory", "more than 256 MiB"),
        ("kill", "crashed", "ran out of memory"),
    ],
)
def test_a_deadly_file_fails_alone(verb: str, reason: str, words: str) -> None:
    good = encode(noise(4))
    with make_decoder(worker=WORKER) as decoder:

        def sources() -> Iterator[bytes]:
            """What takes its time alone is waited for briefly: on a busy machine a good file may take longer."""
            yield good
            decoder._timeout_seconds = 0.3 if reason == "timeout" else 60
            yield poisoned(good, verb)
            decoder._timeout_seconds = 60
            yield good

        found = list(decoder.segments_of(sources()))
    (before,), (failed,), (after,) = ([segment for at, segment in found if at == index] for index in range(3))
    assert before.fault is None
    assert after.fault is None
    assert (failed.fault.reason, len(failed.pcm_NS), failed.is_last) == (reason, 0, True)
    assert words in failed.fault.detail
    # What takes too much memory takes it each time.
    assert failed.fault.retryable == (reason != "memory")
    assert "each of 2 attempts" in failed.fault.detail
    assert not children()


def test_what_goes_wrong_once_is_tried_again(tmp_path: Path) -> None:
    contents = encode(noise(700))
    with make_decoder(worker=WORKER) as decoder:
        again = list(decoder.segments(poisoned(contents, f"once {tmp_path}/flag abort")))
    assert_equal(again, list(iter_segments(contents, channels="mix", windows=WINDOWS)))


def test_a_child_that_stops_taking_data_is_replaced() -> None:
    """Contents of more than a socket holds: who sends them would wait for ever."""
    large = encode(noise(200))
    with make_decoder(timeout_seconds=1.5) as decoder:
        list(decoder.segments(encode(noise(2))))
        (child,) = children()
        child.suspend()
        (segment,) = decoder.segments(large)
        assert segment.fault is None
        assert children() != [child]


def test_a_file_whose_children_all_stop_taking_data_is_a_timeout() -> None:
    large = encode(noise(200))
    with make_decoder(timeout_seconds=0.5, worker="tests.support.deaf_worker") as decoder:
        (segment,) = decoder.segments(large)
    assert segment.fault == Fault("timeout", "the decoding process took no data for 0.5 s, in each of 2 attempts")
    assert not children()


def test_the_working_folder_is_not_imported_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "was-executed"
    loaded = {name.partition(".")[0] for name in sys.modules} - {"__main__"}
    for name in sorted(loaded | {"soxr", "numpy", "ser_core", "sitecustomize", "usercustomize"}):
        (tmp_path / f"{name}.py").write_text(f"open({str(marker)!r}, 'a').write({name!r})")
    monkeypatch.chdir(tmp_path)
    # As it is where a program is started by -c, or by -m.
    monkeypatch.syspath_prepend("")
    with make_decoder() as decoder:
        assert list(decoder.segments(encode(noise(1.0))))
    assert not marker.exists(), marker.read_text()


class _Deadly(io.FileIO):
    """Kills who reads behind two thirds of it, but for its very end."""

    def read(self, size: int | None = -1, /) -> bytes:
        num_bytes = os.fstat(self.fileno()).st_size
        if self.tell() in range(2 * num_bytes // 3, 3 * num_bytes // 4):
            os.abort()
        return super().read(size)


@pytest.mark.parametrize(("channels", "numbers"), [("mix", [-1]), ("each", [0, 1])])
def test_a_file_that_kills_later_keeps_what_it_gave(channels: Channels, numbers: list[int], tmp_path: Path) -> None:
    write_sparse_rf64(tmp_path / "deadly.wav", 450, rate_hz=RATE_HZ)
    with make_decoder(channels=channels) as decoder:
        segments = list(decoder.segments(functools.partial(_Deadly, str(tmp_path / "deadly.wav"))))
    assert [segment.segment_index for segment in segments] == list(range(len(segments)))
    assert [segment.is_last for segment in segments] == [False] * (len(segments) - 1) + [True]
    for number in numbers:
        *given, last = (segment for segment in segments if segment.channel == number)
        seconds = sum(segment.audio_seconds for segment in given)
        assert 0 < seconds <= 300
        assert [index for segment in given for index in segment.window_index] == list(range(round(seconds / 3)))
        assert last.fault.reason == "crashed"
        assert last.gaps == [(seconds, 450.0)]


def test_a_caller_that_stops_midway_spoils_nothing() -> None:
    long, short = encode(noise(1_500)), encode(noise(2))
    with make_decoder() as decoder:
        assert next(decoder.segments(long)).segment_index == 0
        (segment,) = decoder.segments(short)
        assert segment.audio_seconds == 2


@pytest.mark.parametrize("retries", [0, 2])
def test_a_decoder_that_is_stopped_says_so_and_blames_no_file(retries: int) -> None:
    hanging = poisoned(encode(noise(2)), "hang")
    decoder = Decoder(channels="mix", windows=WINDOWS, timeout_seconds=60, retries=retries, worker=WORKER)
    with decoder:
        segments = decoder.segments_of([encode(noise(2)), hanging])
        # While the caller has the first, the child is at the second.
        next(segments)
        threading.Timer(0.2, decoder.stop).start()
        with pytest.raises(ServiceError, match="decoding was stopped"):
            next(segments)
        with pytest.raises(ServiceError, match="decoding was stopped"):
            list(decoder.segments(encode(noise(2))))
    assert not children()


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
    # The samples that wait for their segment to fill are bounded: after 128 s of 8 channels there are no more.
    write_sparse_rf64(tmp_path / "long.wav", 5 * 60, num_channels=8)
    with make_decoder(channels="each", memory_mib=512) as decoder:
        faults = {segment.fault for segment in decoder.segments(str(tmp_path / "long.wav"))}
    assert faults == {None}


def _peak_of_child(path: Path, seconds: float) -> int:
    write_sparse_rf64(path, seconds, rate_hz=RATE_HZ, num_channels=1)
    with make_decoder() as decoder:
        for _ in decoder.segments(str(path)):
            pass
        return peak_memory_bytes(children()[0].pid)


def test_the_childs_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    growth = _peak_of_child(tmp_path / "long.wav", 60 * 60) - _peak_of_child(tmp_path / "short.wav", 20 * 60)
    assert growth < 40e6


_PARENT = """
import sys
from ser_core.audio.segments import WindowSettings
from ser_core.audio.isolated import Decoder
from tests.support.audio_factory import encode, noise
from tests.support.misbehaving_worker import WORKER, poisoned
good, decoders = encode(noise(2)), []
for verb in sys.argv[1:]:
    decoders.append(Decoder(channels="mix", windows=WindowSettings(), timeout_seconds=60, worker=WORKER))
    files = decoders[-1].segments_of([good, poisoned(good, verb)])
    # While this process has the first, the child is at work on the second.
    decoders.append((files, next(files)))
    print(decoders[-2]._child._process.pid, flush=True)
sys.stdin.read()
"""


def test_children_die_with_their_parent_whatever_they_do() -> None:
    verbs = ["idle", "hang", "spin", "stop"]
    parent = launch([sys.executable, "-c", _PARENT, *verbs], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    orphans = [psutil.Process(int(first_line(parent))) for _ in verbs]
    parent.send_signal(signal.SIGKILL)
    parent.communicate(timeout=30)
    psutil.wait_procs(orphans, timeout=10)
    assert [child for child in orphans if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []


def test_the_child_is_lean() -> None:
    with make_decoder() as decoder:
        list(decoder.segments(encode(noise(2))))
        maps = {mapping.path for mapping in children()[0].memory_maps()}
    heavy = ("torch", "pyarrow", "/ray/", "pydantic", "/scipy/")
    assert not [path for path in maps for name in heavy if name in path]
