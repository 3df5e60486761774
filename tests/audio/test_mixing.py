"""Channels to one: their mean, but where they cancel out."""

from pathlib import Path

import numpy as np
import pytest

from ser_core.audio.decode import iter_segments
from ser_core.audio.mixing import Mixer
from ser_core.audio.segments import WindowSettings
from tests.support.audio_factory import RATE_HZ, encode, noise, speech
from tests.support.cli import files, predictions, ser_here

WINDOWS = WindowSettings()


def mixed(pcm_TC: np.ndarray, block: int = 2**16, rate_hz: int = RATE_HZ) -> tuple[np.ndarray, str | None]:
    mixer = Mixer(rate_hz, pcm_TC.shape[1])
    parts = [mixer.push(pcm_TC[at : at + block]) for at in range(0, len(pcm_TC), block)]
    return np.concatenate([*parts, mixer.finish()]), mixer.note


def turned_round(pcm_T: np.ndarray, *, like: float = -1.0, noise_level: float = 0.0) -> np.ndarray:
    """Stereo of which one side is the other one, turned round."""
    pcm_TC = np.stack([pcm_T, like * pcm_T], axis=1)
    return (pcm_TC + noise_level * noise(len(pcm_T) / RATE_HZ, num_channels=2)).astype(np.float32)


@pytest.mark.parametrize("pcm_TC", [turned_round(speech(3.2)), turned_round(speech(3.2), like=-0.9, noise_level=0.01)])
def test_where_channels_cancel_out_one_of_them_is_heard(pcm_TC: np.ndarray) -> None:
    pcm_T, note = mixed(pcm_TC)
    np.testing.assert_array_equal(pcm_T, pcm_TC[:, 0])
    assert note == "the channels cancel out for 3.2 s, where one of them is taken instead of the mix"


def test_the_rest_is_the_mean() -> None:
    voice_T = speech(4.0)
    pcm_TC = np.concatenate([np.stack([voice_T, voice_T], axis=1), turned_round(voice_T)])
    pcm_T, note = mixed(pcm_TC)
    np.testing.assert_array_equal(pcm_T, np.concatenate([voice_T, voice_T]))
    assert note is not None
    assert "for 4.0 s" in note


def test_of_many_channels_a_loud_one_is_taken() -> None:
    faint_T, loud_T = 0.001 * noise(2.0)[:, 0], noise(2.0, seed=1)[:, 0]
    pcm_T, _ = mixed(np.stack([faint_T, loud_T, -loud_T, faint_T], axis=1))
    np.testing.assert_array_equal(pcm_T, loud_T)


@pytest.mark.parametrize("pcm_TC", [noise(3.2, num_channels=2), 1e-5 * turned_round(speech(3.2)), noise(3.2)])
def test_what_does_not_cancel_out_or_cannot_be_heard_is_the_mean(pcm_TC: np.ndarray) -> None:
    pcm_T, note = mixed(pcm_TC.astype(np.float32))
    np.testing.assert_array_equal(pcm_T, pcm_TC.astype(np.float32).mean(axis=1))
    assert note is None


def test_samples_that_are_no_numbers_stay() -> None:
    pcm_TC = turned_round(speech(2.0))
    pcm_TC[100, 1], pcm_TC[101, 0] = np.nan, np.inf
    pcm_T, _ = mixed(pcm_TC)
    assert np.flatnonzero(~np.isfinite(pcm_T)).tolist() == [100, 101]


@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
@pytest.mark.parametrize("shared_hz", [(), (0,), (50, 100, 150), (60, 120, 180)], ids=str)
def test_what_both_channels_share_or_rustle_with_hides_nothing(shared_hz: tuple[int, ...], rate_hz: int) -> None:
    time_T = np.arange(4 * rate_hz) / rate_hz
    # Words that fade, until they are hardly more than the noise of -60 dBFS.
    voice_T = speech(4.0, rate_hz=rate_hz) * np.geomspace(1, 0.02, len(time_T))
    pcm_TC = np.stack([voice_T, -voice_T], axis=1) + 0.01 * noise(4.0, rate_hz=rate_hz, num_channels=2)
    for hz in shared_hz:
        pcm_TC += 0.02 * np.cos(2 * np.pi * hz * time_T)[:, np.newaxis]
    pcm_TC = pcm_TC.astype(np.float32)
    pcm_T, note = mixed(pcm_TC, rate_hz=rate_hz)
    np.testing.assert_array_equal(pcm_T, pcm_TC[:, 0])
    assert note is not None


def test_pauses_stay_with_the_channel_and_other_words_do_not() -> None:
    voice_T, pause_TC = speech(4.0), 0.001 * noise(3.0, num_channels=2, seed=5)
    cancelled_TC = turned_round(voice_T, noise_level=0.01)
    both_sides_TC = np.stack([voice_T, np.roll(speech(4.0, "sad"), 999)], axis=1)
    one_side_TC = np.stack([np.zeros(len(voice_T), np.float32), voice_T], axis=1)
    parts = [pause_TC, cancelled_TC, pause_TC, cancelled_TC, both_sides_TC, pause_TC, cancelled_TC, one_side_TC]
    pcm_T, note = mixed(np.concatenate(parts).astype(np.float32))
    means = [part_TC.mean(axis=1, dtype=np.float32) for part_TC in parts]
    left = [part_TC[:, 0] for part_TC in parts]
    expected = [means[0], left[1], left[2], left[3], means[4], means[5], left[6], means[7]]
    np.testing.assert_allclose(pcm_T, np.concatenate(expected), atol=1e-7)
    assert note is not None
    assert "for 15.0 s" in note


def test_one_of_many_channels_alone_does_not_cancel_out() -> None:
    pcm_TC = np.zeros((2 * RATE_HZ, 128), np.float32)
    pcm_TC[:, 7] = noise(2.0)[:, 0]
    pcm_T, note = mixed(pcm_TC)
    np.testing.assert_allclose(pcm_T, pcm_TC.mean(axis=1), atol=1e-7)
    assert note is None


def test_it_does_not_matter_in_which_blocks_a_file_is_read() -> None:
    voice_T = speech(6.0)
    # Cancelling out in some pieces, not in others, and hardly in the rest.
    unlike_T = np.where(np.arange(len(voice_T)) // 20_000 % 2, noise(6.0)[:, 0], -voice_T)
    pcm_TC = np.stack([voice_T, unlike_T], axis=1) + 0.001 * noise(6.0, num_channels=2)
    whole = mixed(pcm_TC, block=len(pcm_TC))
    assert whole[1] is not None
    assert "for 6.0 s" not in whole[1]
    for block in (1_000, 7_999, 8_000, 8_001):
        np.testing.assert_array_equal(mixed(pcm_TC, block)[0], whole[0])


def test_a_file_is_cut_as_its_one_channel_would_be() -> None:
    voice_T = speech(7.3, rate_hz=48_000)
    found, expected = (
        list(iter_segments(encode(pcm, rate_hz=48_000, subtype="FLOAT"), channels="mix", windows=WINDOWS))
        for pcm in (turned_round(voice_T), voice_T[:, np.newaxis])
    )
    np.testing.assert_array_equal(found[0].pcm_NS, expected[0].pcm_NS)
    assert found[0].level_dbfs == expected[0].level_dbfs
    assert found[0].audio_seconds == pytest.approx(7.3)


def test_a_run_answers_as_for_the_channel_and_says_so(tmp_path: Path) -> None:
    voice_T = speech(3.0, "angry")
    (tmp_path / "in").mkdir()
    for name, pcm in (("left", voice_T[:, np.newaxis]), ("both", turned_round(voice_T))):
        (tmp_path / "in" / f"{name}.wav").write_bytes(encode(pcm))
    assert ser_here("score", tmp_path / "in", tmp_path / "out", "--engine", "local").code == 0
    both, left = files(tmp_path / "out").sort_by("path").to_pylist()
    assert (both["status"], both["emotion"]) == ("scored", left["emotion"])
    assert both["confidence"] == pytest.approx(left["confidence"], abs=1e-3)
    assert both["detail"] == "the channels cancel out for 3.0 s, where one of them is taken instead of the mix"
    assert left["detail"] is None
    assert predictions(tmp_path / "out").num_rows == 2
