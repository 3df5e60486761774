"""The sample of an archive: which windows it has, and that these follow from nothing but the archive."""

import hashlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from cluster import sample
from cluster.sample import Sample, batch_windows, read_sample
from cluster.stages import LoadSettings
from jobs.interrupts import Interrupts
from ser_core.audio.segments import WindowSettings
from ser_core.errors import InterruptedRunError, ServiceError
from ser_core.models.output import ModelOutput
from ser_core.source.plan import write_plan
from ser_core.source.source import Source
from ser_core.speech import SpeechSettings
from tests.support.audio_factory import RATE_HZ, encode, speech
from tests.support.misbehaving_worker import WORKER, poisoned
from tests.support.models import tiny_artifact

WINDOWS = WindowSettings(window_seconds=1.0, hop_seconds=1.0)


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    children = psutil.Process().children()
    yield
    # What was told to end may take a moment to be gone.
    _, left = psutil.wait_procs(set(psutil.Process().children()) - set(children), timeout=10)
    assert not [(one.pid, one.status(), one.cmdline()) for one in left]
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("ser-sample")]
    for thread in threads:
        thread.join(1.0)
    assert not [thread for thread in threads if thread in threading.enumerate()]


def tone(*levels: float) -> np.ndarray:
    """A second of each level, one after the other."""
    return np.concatenate([np.full(RATE_HZ, level, np.float32) for level in levels])


def write(file: Path, pcm: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode(pcm))


def hash_of(path: str) -> bytes:
    return hashlib.sha256(path.encode()).digest()


def levels(batch_BS: np.ndarray) -> ModelOutput:
    """Of each window its mean, which tells it from all others, twice."""
    means_B1 = batch_BS.mean(axis=1, keepdims=True)
    components_B2 = np.concatenate([means_B1, -means_B1], axis=1)
    return ModelOutput(logits_NC=means_B1, probabilities_NC=means_B1, components_NR=components_B2)


def load_settings(folder: Path) -> LoadSettings:
    return LoadSettings(
        source=Source.parse(str(folder)),
        channels="mix",
        windows=WINDOWS,
        speech=SpeechSettings(mode="all"),
        features_on="cpu",
        file_timeout_seconds=60.0,
        block_bytes=2**20,
    )


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., Sample]:
    """Reads a sample of the folder `in`."""

    def read(num_windows: int = 512, num_threads: int = 1, **settings: object) -> Sample:
        load = load_settings(tmp_path / "in")
        write_plan(load.source, tmp_path / "plan.parquet", exclude=None)
        load = replace(load, **settings)  # type: ignore[arg-type]
        return read_sample(
            load,
            tiny_artifact(),
            tmp_path / "plan.parquet",
            levels,
            num_windows=num_windows,
            num_threads=num_threads,
        )

    return read


def heard(found: Sample) -> list[float]:
    assert found.components_NR.shape == (found.num_windows, 2)
    np.testing.assert_array_equal(found.components_NR[:, :1], found.logits_NC)
    return [round(float(level), 2) for level in found.logits_NC[:, 0]]


def test_files_come_by_the_hash_of_their_path_and_the_last_one_is_cut(
    tmp_path: Path, look: Callable[..., Sample]
) -> None:
    level_of = {f"{'ab'[index % 2]}/{index}.wav": 0.01 * (1 + index) for index in range(30)}
    for path, level in level_of.items():
        write(tmp_path / "in" / path, tone(level, level, level))
    found = look(num_windows=10)
    by_hash = sorted(level_of, key=hash_of)
    expected = [level_of[path] for path in by_hash for _ in range(3)][:10]
    assert heard(found) == pytest.approx(expected, abs=0.006)
    assert (found.num_windows, found.num_files, found.num_failed) == (10, 4, 0)


def test_a_plan_is_gone_through_in_rounds(
    tmp_path: Path, look: Callable[..., Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(7):
        write(tmp_path / "in" / f"{index}.wav", tone(0.1 * (1 + index)))
    whole = heard(look())
    monkeypatch.setattr(sample, "_ROUND_FILES", 3)
    assert heard(look()) == whole
    assert len(whole) == 7


def test_of_a_file_of_many_its_first_windows_and_of_one_alone_all_that_are_wanted(
    tmp_path: Path, look: Callable[..., Sample]
) -> None:
    ramp = [0.02 * (1 + second) for second in range(20)]
    write(tmp_path / "in" / "long.wav", tone(*ramp))
    assert heard(look(num_windows=12)) == pytest.approx(ramp[:12], abs=0.006)
    for index in range(3):
        write(tmp_path / "in" / f"{index}.wav", tone(0.9))
    found = look(num_windows=32)
    assert [level for level in heard(found) if level < 0.89] == pytest.approx(ramp[:8], abs=0.006)
    assert found.num_windows == 8 + 3


def test_threads_overlap_and_blocks_change_nothing(tmp_path: Path, look: Callable[..., Sample]) -> None:
    for index in range(12):
        write(tmp_path / "in" / f"{index}.wav", tone(*np.linspace(0.01, 0.9, 4 + index)))
    found = look(num_windows=40)
    other = look(num_windows=40, num_threads=3, windows=replace(WINDOWS, hop_seconds=0.25), block_bytes=1)
    np.testing.assert_array_equal(other.logits_NC, found.logits_NC)
    assert (other.num_files, found.num_windows) == (found.num_files, 40)


def test_both_channels_give_as_much_as_their_mix(tmp_path: Path, look: Callable[..., Sample]) -> None:
    left, right = tone(*[0.1] * 12), tone(*[0.5] * 12)
    for index in range(2):
        write(tmp_path / "in" / f"{index}.wav", np.stack([left, right], axis=1))
    assert heard(look(num_windows=16, channels="each")) == pytest.approx(([0.1] * 4 + [0.5] * 4) * 2, abs=0.006)


def test_silence_at_the_beginning_is_passed_over_and_a_long_file_not_read_whole(
    tmp_path: Path, look: Callable[..., Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "_LEAST_LOOK_SECONDS", 1.0)
    voice = speech(6.0, "angry")
    # Beyond the first look of 16 s, and the second one ends before the voice that comes after.
    parts = [np.zeros(20 * RATE_HZ, np.float32), voice, np.zeros(120 * RATE_HZ, np.float32), voice]
    write(tmp_path / "in" / "late.wav", np.concatenate(parts))
    listening = SpeechSettings()
    found = look(num_windows=8, speech=listening)
    assert found.num_windows > 6
    monkeypatch.setattr(sample, "_LOOKS", (2, 8))
    assert 4 <= look(num_windows=8, speech=listening).num_windows <= 6
    monkeypatch.setattr(sample, "_LOOKS", (2,))
    assert look(num_windows=8, speech=listening).num_windows == 0


def test_an_archive_without_speech_is_given_up(
    tmp_path: Path, look: Callable[..., Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(6):
        write(tmp_path / "in" / f"{index}.wav", np.zeros(3 * RATE_HZ, np.float32))
    found = look(speech=SpeechSettings())
    assert (found.num_windows, found.num_files, found.num_failed) == (0, 0, 0)
    write(tmp_path / "in" / max((f"{index}.wav" for index in range(50)), key=hash_of), speech(3.0, "angry"))
    assert look(num_windows=4, speech=SpeechSettings()).num_windows > 0
    monkeypatch.setattr(sample, "LISTENED_PER_WINDOW", 4)
    assert look(num_windows=4, speech=SpeechSettings()).num_windows == 0


def test_a_file_that_cannot_be_read_is_left_out_and_counted(tmp_path: Path, look: Callable[..., Sample]) -> None:
    write(tmp_path / "in" / "good.wav", tone(0.1, 0.2))
    (tmp_path / "in" / "text.wav").write_text("no sound")
    (tmp_path / "in" / "empty.wav").touch()
    (tmp_path / "in" / "killer.wav").write_bytes(poisoned(encode(tone(0.5)), "kill"))
    whole = encode(tone(0.3, 0.4, 0.5))
    (tmp_path / "in" / "half.wav").write_bytes(whole[: len(whole) // 2])
    found = look(decode_worker=WORKER)
    assert sorted(heard(found))[:3] == pytest.approx([0.1, 0.2, 0.3], abs=0.006)
    assert (found.num_files, found.num_failed) == (2, 3)


def test_a_service_that_failed_is_told(tmp_path: Path, look: Callable[..., Sample]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_bytes(poisoned(encode(tone(0.5)), "fault"))
    with pytest.raises(ServiceError, match="the disk is gone"):
        look(decode_worker=WORKER)


def test_a_signal_ends_it_at_once(tmp_path: Path, look: Callable[..., Sample]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_bytes(poisoned(encode(tone(0.5)), "hang"))
    timer = threading.Timer(1.0, signal.raise_signal, [signal.SIGTERM])
    timer.start()
    with Interrupts(), pytest.raises(InterruptedRunError, match="run the same command"):
        look(decode_worker=WORKER)


def test_batches_are_small_where_windows_are_long() -> None:
    assert [batch_windows(seconds) for seconds in (0.1, 5.0, 60.0, 600.0)] == [16, 16, 10, 1]
