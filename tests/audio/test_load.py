"""Planned files to segments: one size rule, in order, and a file that cannot be had is a fault in its place."""

from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from ser_core.audio.decode import Named
from ser_core.audio.isolated import Decoder
from ser_core.audio.load import CLIP_SOURCE, MAX_WHOLE_FILE_BYTES, file_contents, load_segments, look_at_clips
from ser_core.audio.segments import WindowSettings
from ser_core.faults import Fault
from ser_core.source.listing import PlannedFile
from ser_core.source.opening import FileOpener
from tests.support.audio_factory import encode, noise, write_sparse_rf64


def clips(folder: Path) -> list[PlannedFile]:
    """A small one, one over the limit (12 minutes at 16 kHz and more), one that is missing, one that changed."""
    small, changed = folder / "a.wav", folder / "d.wav"
    small.write_bytes(encode(noise(2)))
    write_sparse_rf64(folder / "b.wav", MAX_WHOLE_FILE_BYTES / 32_000 + 1, rate_hz=16_000, num_channels=1)
    changed.write_bytes(encode(noise(3)))
    files = look_at_clips(str(folder / f"{letter}.wav") for letter in "abcd")
    changed.write_bytes(encode(noise(4)))
    return files


def test_small_files_come_whole_and_large_ones_as_what_opens_them(tmp_path: Path) -> None:
    small, large, missing, changed = file_contents(CLIP_SOURCE, clips(tmp_path))
    assert small == Named((tmp_path / "a.wav").read_bytes(), "wav")
    assert isinstance(large, Named)
    assert isinstance(large.source, FileOpener)
    assert isinstance(missing, Fault)
    assert isinstance(changed, Fault)
    assert (missing.reason, changed.reason) == ("not_found", "changed")


class Known(NamedTuple):
    """A row of a plan that has a column more."""

    path: str
    size: int
    version: str
    more: int = 1


def test_a_plan_may_know_more_of_a_file(tmp_path: Path) -> None:
    rows: Any = [Known(*file) for file in clips(tmp_path)[:2]]
    small, large = file_contents(CLIP_SOURCE, rows)
    assert small == Named((tmp_path / "a.wav").read_bytes(), "wav")
    assert isinstance(large, Named)


def test_segments_come_in_the_order_of_their_files(tmp_path: Path) -> None:
    files = clips(tmp_path)
    seconds, faults = [0.0] * len(files), [""] * len(files)
    order = []
    with (
        Decoder(channels="mix", windows=WindowSettings(), timeout_seconds=60) as decoder,
        closing(load_segments(decoder, CLIP_SOURCE, files)) as segments,
    ):
        for index, segment in segments:
            order.append(index)
            seconds[index] += segment.audio_seconds
            faults[index] += segment.fault.reason if segment.fault else ""
    assert order == sorted(order)
    assert order.count(1) > 1
    assert [round(length, 3) for length in seconds] == [2.0, round(MAX_WHOLE_FILE_BYTES / 32_000 + 1, 3), 0.0, 0.0]
    assert faults == ["", "", "not_found", "changed"]


def test_a_decoder_that_was_left_midway_takes_other_files(tmp_path: Path) -> None:
    files = clips(tmp_path)
    with Decoder(channels="mix", windows=WindowSettings(), timeout_seconds=60) as decoder:
        with closing(load_segments(decoder, CLIP_SOURCE, files[1:])) as segments:
            next(segments)
        [(_, segment)] = load_segments(decoder, CLIP_SOURCE, files[:1])
    assert segment.audio_seconds == 2
