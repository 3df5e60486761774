"""The sample of an archive where an output's embeddings take the place of audio."""

import pytest

from cluster.embedded.sample import SampleCut
from ser_core.audio.segments import WindowSettings, count_windows


@pytest.mark.parametrize("look_seconds", [0.05, 0.5, 1.0, 3.4, 3.6])
@pytest.mark.parametrize("window_seconds", [0.2, 0.5, 3.0])
def test_a_look_at_a_file_has_the_windows_that_are_cut_of_as_much(window_seconds: float, look_seconds: float) -> None:
    windows = WindowSettings(window_seconds=window_seconds, hop_seconds=window_seconds)
    cut = SampleCut(windows=windows, is_by_channel=False)
    within = [index for index in range(40) if cut.is_within(index, look_seconds)]
    assert within == list(range(count_windows(round(look_seconds * windows.sample_rate_hz), windows)))


@pytest.mark.parametrize(("hop_seconds", "stride"), [(3.0, 1), (1.5, 2), (0.3, 10), (2.0, 2)])
def test_windows_of_a_sample_do_not_overlap(hop_seconds: float, stride: int) -> None:
    windows = WindowSettings(window_seconds=3.0, hop_seconds=hop_seconds)
    assert SampleCut(windows=windows, is_by_channel=False).stride == stride
