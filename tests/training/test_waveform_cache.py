import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ser_core import storage
from ser_core.audio.decode import iter_segments
from ser_core.audio.segments import WindowSettings
from ser_core.corpora.manifest import MANIFEST_SCHEMA, Manifest, write_manifest
from ser_core.errors import OutputError, SourceError
from ser_core.training.data import waveform_cache
from ser_core.training.data.waveform_cache import WaveformCache
from tests.conftest import S3Server
from tests.support.audio_factory import encode, noise, speech, write_sparse_rf64

ROOT = Path(__file__).parent.parent.parent


def manifest(*paths: object) -> Manifest:
    rows = [{"path": str(path), "corpus": "a", "emotion": "happy", "speaker": "a-1"} for path in paths]
    return Manifest(pa.Table.from_pylist(rows, MANIFEST_SCHEMA))


def write(path: Path, pcm_TC: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(pcm_TC, **options))
    return path


@pytest.fixture
def clips(tmp_path: Path) -> Manifest:
    """One of each kind: 16 kHz, stereo at 48 kHz, longer than a segment, Opus, quiet, and louder than full scale."""
    folder = tmp_path / "clips"
    return manifest(
        write(folder / "plain.wav", speech(1.3)),
        write(folder / "stereo.flac", noise(0.7, rate_hz=48_000, num_channels=2), rate_hz=48_000, format="FLAC"),
        write(folder / "long.wav", noise(250.5, rate_hz=8_000), rate_hz=8_000),
        write(folder / "coded.opus", noise(2, rate_hz=24_000), rate_hz=24_000, format="OGG", subtype="OPUS"),
        write(folder / "quiet.wav", 1e-4 * noise(1), subtype="FLOAT"),
        write(folder / "loud.wav", 30 * noise(1), subtype="FLOAT"),
        write(folder / "silent.wav", np.zeros(4_000, np.float32)),
    )


def as_scored(path: str) -> np.ndarray:
    settings = WindowSettings(window_seconds=300, hop_seconds=300)
    (segment,) = iter_segments(path, channels="mix", windows=settings)
    return segment.pcm_NS[0, : round(segment.end_seconds[0] * 16_000)]


def test_waveforms_are_those_of_scoring(clips: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waveform_cache, "_CLIPS_A_PROCESS", 3)
    cache = WaveformCache.open(clips, tmp_path / "cache")
    assert len(cache) == len(clips)
    for index, path in enumerate(clips.paths):
        expected_T, pcm_T = as_scored(path), cache.waveform(index)[:]
        assert pcm_T.dtype == np.float32
        assert len(pcm_T) == len(expected_T) == cache.num_samples(index)
        *_, last = iter_segments(path, channels="mix", windows=WindowSettings(), hashes_audio=True)
        assert cache.hash_N[index] == last.audio_hash
        np.testing.assert_allclose(pcm_T, expected_T, rtol=0, atol=2.0**-15 * np.abs(expected_T).max())
        assert pcm_T.flags.writeable


def test_16_bit_samples_are_kept_to_the_bit(tmp_path: Path) -> None:
    extremes = np.array([-1, 1 - 2.0**-15, -(2.0**-15), 0.5, 2.0**-15] * 1_000, np.float32)
    quiet = (np.arange(4_000) % 7 - 3).astype(np.float32) * 2.0**-15
    clips = manifest(write(tmp_path / "extremes.wav", extremes), write(tmp_path / "quiet.wav", quiet))
    cache = WaveformCache.open(clips, tmp_path / "cache")
    np.testing.assert_array_equal(cache.waveform(0)[:], extremes)
    np.testing.assert_array_equal(cache.waveform(1)[:], quiet)


def test_what_is_there_is_taken_and_travels_as_a_name(clips: Manifest, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    first = WaveformCache.open(clips, folder)
    before = {file: file.stat().st_ino for file in folder.rglob("*") if file.is_file()}
    second = WaveformCache.open(clips, folder)
    assert {file: file.stat().st_ino for file in folder.rglob("*") if file.is_file()} == before
    travelled = pickle.dumps(second)
    assert len(travelled) < 1_000
    np.testing.assert_array_equal(pickle.loads(travelled).waveform(2)[:], first.waveform(2)[:])
    assert WaveformCache.open(clips, folder, 8_000).num_samples(0) == first.num_samples(0) // 2


def test_a_changed_clip_is_decoded_anew(tmp_path: Path) -> None:
    file = write(tmp_path / "clip.wav", noise(1))
    clips = manifest(file)
    first = WaveformCache.open(clips, tmp_path / "cache")
    status = file.stat()
    write(file, noise(1, seed=1))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    second = WaveformCache.open(clips, tmp_path / "cache")
    assert not np.array_equal(first.waveform(0)[:], second.waveform(0)[:])
    np.testing.assert_array_equal(first.waveform(0)[:], as_scored_noise(0))


def as_scored_noise(seed: int) -> np.ndarray:
    samples = encode(noise(1, seed=seed))[44:]
    return np.frombuffer(samples, "<i2").astype(np.float32) / 2**15


def test_a_clip_that_cannot_be_decoded_is_named_and_the_others_counted(clips: Manifest, tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("no sound")
    cut = tmp_path / "cut.wav"
    cut.write_bytes(encode(noise(2))[:40_000])
    with pytest.raises(SourceError, match=r"^[^\n]*$") as error:
        WaveformCache.open(manifest(*clips.paths, text, cut, tmp_path / "gone.wav"), tmp_path / "cache")
    message = str(error.value)
    assert message.startswith(f"{text}: unreadable (this is no audio file of a known format); mend that")
    assert message.endswith("; 2 more cannot be read either")
    with pytest.raises(SourceError, match=r"gone.wav: not_found .*manifest$"):
        WaveformCache.open(manifest(tmp_path / "gone.wav"), tmp_path / "cache")
    with pytest.raises(SourceError, match="no clip"):
        WaveformCache.open(manifest(), tmp_path / "cache")
    assert [file.name for file in (tmp_path / "cache").iterdir() if file.suffix != ".lock"] == []


def test_a_folder_that_cannot_be_written_is_named(clips: Manifest, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/cache: cannot cache waveforms \(Not a directory\)"):
        WaveformCache.open(clips, tmp_path / "file" / "cache")


_OPEN = """
import sys
from pathlib import Path
from ser_core.corpora.manifest import read_manifests
from ser_core.training.data.waveform_cache import WaveformCache
cache = WaveformCache.open(read_manifests([sys.argv[1]]), Path(sys.argv[2]))
print(cache._entry.stat().st_ino, cache.waveform(0)[:].sum())
"""


def start(clips: Manifest, folder: Path) -> "subprocess.Popen[str]":
    file = folder.with_suffix(".parquet")
    write_manifest(clips.table, str(file))
    command = [sys.executable, "-c", _OPEN, str(file), str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_of_several_processes_one_builds(clips: Manifest, tmp_path: Path) -> None:
    processes = [start(clips, tmp_path / "cache") for _ in range(2)]
    answers = {process.communicate(timeout=120)[0] for process in processes}
    assert len(answers) == 1
    assert answers.pop().strip()


def test_a_build_that_was_killed_is_done_again(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{number:02}.wav", noise(5)) for number in range(20)]
    folder = tmp_path / "cache"
    process = start(manifest(*paths), folder)
    until = time.monotonic() + 60
    while not list(folder.glob(".*.building/waveforms.int16")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [file.suffix for file in folder.iterdir() if file.suffix != ".lock"] == [".building"]
    cache = WaveformCache.open(manifest(*paths), folder)
    assert [cache.num_samples(index) for index in range(len(cache))] == [80_000] * 20
    assert not list(folder.glob(".*.building"))


@pytest.mark.parametrize("name", ["waveforms.int16", "offsets.npy", "steps.npy"])
def test_an_entry_that_lost_a_part_is_built_anew(name: str, tmp_path: Path) -> None:
    clips = manifest(write(tmp_path / "clip.wav", noise(1)))
    entry = WaveformCache.open(clips, tmp_path / "cache")._entry
    os.truncate(entry / name, 100)
    np.testing.assert_array_equal(WaveformCache.open(clips, tmp_path / "cache").waveform(0)[:], as_scored_noise(0))


def test_clips_of_a_bucket(moto_s3: S3Server, tmp_path: Path) -> None:
    paths = [moto_s3.location.join("a b", f"{number}.wav") for number in range(5)]
    for number, path in enumerate(paths):
        storage.put(path, encode(noise(1, seed=number)))
    clips = manifest(*paths, write(tmp_path / "local.wav", noise(1, seed=5)))
    cache = WaveformCache.open(clips, tmp_path / "cache")
    for number in range(6):
        np.testing.assert_array_equal(cache.waveform(number)[:], as_scored_noise(number))
    storage.put(paths[3], encode(noise(1, seed=9)))
    np.testing.assert_array_equal(WaveformCache.open(clips, tmp_path / "cache").waveform(3)[:], as_scored_noise(9))
    storage.delete(paths[4])
    with pytest.raises(SourceError, match=r"^s3://.*/a b/4.wav: not_found"):
        WaveformCache.open(clips, tmp_path / "cache")


_FULL_DISK = """
mount -t tmpfs -o size=256k none "$1" || exit 77
exec "$2" -c '
import sys
from pathlib import Path
from ser_core.errors import ServiceError
from ser_core.corpora.manifest import read_manifests
from ser_core.training.data.waveform_cache import WaveformCache
try:
    WaveformCache.open(read_manifests([sys.argv[2]]), Path(sys.argv[1]))
except ServiceError as error:
    print(error)
print([file.name for file in Path(sys.argv[1]).iterdir() if file.suffix != ".lock"])
' "$1" "$3"
"""


def test_a_full_disk_is_said_in_a_line(clips: Manifest, tmp_path: Path) -> None:
    folder, file = tmp_path / "cache", tmp_path / "clips.parquet"
    folder.mkdir()
    write_manifest(clips.table, str(file))
    script = ["sh", "-c", _FULL_DISK, "sh", str(folder), sys.executable, str(file)]
    command = ["unshare", "--mount", "--map-root-user", *script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("a small file system cannot be mounted here: a full disk is not tried")
    assert done.stdout.splitlines() == [f"{folder}: the disk is full; free some space", "[]"], done.stderr


_OPEN_AND_CUT = """
import sys
from pathlib import Path
from ser_core.corpora.manifest import read_manifests
from ser_core.training.data.waveform_cache import WaveformCache
from tests.support.processes import peak_memory_bytes
clips, folder = read_manifests([sys.argv[1]]), Path(sys.argv[2])
WaveformCache.open(clips.take([0]), folder)
before = peak_memory_bytes()
cache = WaveformCache.open(clips, folder)
print(peak_memory_bytes() - before, cache.num_samples(1), *cache.waveform(1)[16_000 * 3_000 :][:3])
"""


def test_a_long_clip_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    """An hour: 115 MB as it is, 230 MB as float32."""
    long = tmp_path / "long.wav"
    write_sparse_rf64(long, 3_600, rate_hz=16_000, num_channels=1)
    clips = manifest(write(tmp_path / "a.wav", noise(2)), long)
    write_manifest(clips.table, str(tmp_path / "clips.parquet"))
    command = [sys.executable, "-c", _OPEN_AND_CUT, str(tmp_path / "clips.parquet"), str(tmp_path / "cache")]
    growth, num_samples, *silence = subprocess.check_output(command, cwd=ROOT, text=True, timeout=240).split()
    assert int(num_samples) == 3_600 * 16_000
    assert {float(sample) for sample in silence} == {0.0}
    assert int(growth) < 100e6
