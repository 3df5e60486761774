"""Where windows begin and end, whatever the blocks in which the samples come."""

from collections.abc import Iterator

import numpy as np
import pytest

from ser_core.audio.segments import MAX_SEGMENT_SECONDS, MAX_SEGMENT_WINDOWS, Cutter, Segment, WindowSettings

RATE_HZ = 16_000


def cut(pcm_T: np.ndarray, windows: WindowSettings, *, block: int = 7_919, bad: tuple[int, ...] = ()) -> list[Segment]:
    cutter = Cutter(windows, channel=-1, num_channels=1)
    cutter.mark_not_finite(np.array(bad, np.int64))

    def segments() -> Iterator[Segment]:
        for start in range(0, len(pcm_T), block):
            yield from cutter.push(pcm_T[start : start + block])
        yield from cutter.finish()

    return list(segments())


def expected_windows(num_samples: int, windows: WindowSettings) -> list[tuple[int, int]]:
    """(start, end) in samples, straight from the definition."""
    tail = min(windows.window_samples, round(windows.min_tail_seconds * windows.sample_rate_hz))
    starts = range(0, num_samples, windows.hop_samples)
    return [
        (start, min(start + windows.window_samples, num_samples))
        for start in starts
        if start == 0 or num_samples - start >= tail
    ]


@pytest.mark.parametrize("seconds", [0.1, 0.4, 2.9, 3.0, 3.4, 3.5, 6.0, 6.4999, 6.5, 61.3])
@pytest.mark.parametrize(
    ("window_seconds", "hop_seconds"), [(3, 3), (3, 1), (3, 0.7), (3, 5), (1, 20), (0.3, 0.1), (0.1, 0.01)]
)
def test_windows_are_those_of_the_definition(seconds: float, window_seconds: float, hop_seconds: float) -> None:
    windows = WindowSettings(window_seconds=window_seconds, hop_seconds=hop_seconds)
    pcm_T = np.random.default_rng(0).standard_normal(round(seconds * RATE_HZ)).astype(np.float32)
    segments = cut(pcm_T, windows)
    expected = expected_windows(len(pcm_T), windows)
    assert [index for segment in segments for index in segment.window_index] == list(range(len(expected)))
    pcm_NS = np.concatenate([segment.pcm_NS for segment in segments])
    ends = [end for segment in segments for end in segment.end_seconds]
    for window_S, end_seconds, (start, end) in zip(pcm_NS, ends, expected, strict=True):
        np.testing.assert_array_equal(window_S[: end - start], pcm_T[start:end])
        assert not window_S[end - start :].any()
        assert end_seconds == end / RATE_HZ
    assert sum(segment.audio_seconds for segment in segments) == pytest.approx(seconds, abs=1 / RATE_HZ)
    assert not any(segment.gaps for segment in segments)


@pytest.mark.parametrize("block", [1_000, 16_000, 48_000, 10**7])
def test_blocks_do_not_matter(block: int) -> None:
    windows = WindowSettings(hop_seconds=2)
    pcm_T = np.random.default_rng(1).standard_normal(600 * RATE_HZ).astype(np.float32)
    whole = cut(pcm_T, windows, block=len(pcm_T))
    pieces = cut(pcm_T, windows, block=block)
    assert [segment.window_index for segment in pieces] == [segment.window_index for segment in whole]
    for one, other in zip(pieces, whole, strict=True):
        np.testing.assert_array_equal(one.pcm_NS, other.pcm_NS)


@pytest.mark.parametrize(("window_seconds", "hop_seconds"), [(3, 3), (3, 0.1), (0.1, 0.01), (600, 600)])
def test_a_segment_has_a_bounded_number_of_windows(window_seconds: float, hop_seconds: float) -> None:
    windows = WindowSettings(window_seconds=window_seconds, hop_seconds=hop_seconds)
    for segment in cut(np.zeros(300 * RATE_HZ, np.float32), windows, block=10**6):
        assert len(segment.window_index) <= MAX_SEGMENT_WINDOWS
        assert len(segment.window_index) * hop_seconds <= max(MAX_SEGMENT_SECONDS, hop_seconds)
        assert segment.pcm_NS.nbytes <= 64 * 2**20


def test_bad_samples_cost_the_windows_that_hold_them_and_no_other() -> None:
    windows = WindowSettings(hop_seconds=1)
    bad = (0, 5 * RATE_HZ, 11 * RATE_HZ - 1)
    segments = cut(np.zeros(12 * RATE_HZ, np.float32), windows, bad=bad)
    kept = [index for segment in segments for index in segment.window_index]
    hit = {i for i in range(12) for sample in bad if i * RATE_HZ <= sample < min((i + 3), 12) * RATE_HZ}
    assert kept == [i for i in range(12) if i not in hit]
    gaps = [gap for segment in segments for gap in segment.gaps]
    assert gaps == [(0.0, 12.0)]
    assert segments[0].fault.reason == "not_finite"
    assert "0.000 s" in segments[0].fault.detail


@pytest.mark.parametrize(
    ("level", "expected_dbfs"), [(0.0, -120.0), (1e-9, -120.0), (1.0, 0.0), (0.1, -20.0), (1e11, 220.0)]
)
def test_levels_are_of_the_windows_own_samples(level: float, expected_dbfs: float) -> None:
    (segment,) = cut(np.full(RATE_HZ, level, np.float32), WindowSettings())
    assert segment.level_dbfs == pytest.approx([expected_dbfs], abs=1e-4)
