"""The waveforms of all clips of a manifest, decoded once per machine into one memory-mapped file.

Shape letters: N clips, S samples of a window, T samples of a clip.

    FOLDER/<key>/waveforms.int16   the samples of all clips, one after the other
    FOLDER/<key>/offsets.npy       (N + 1,) int64: where each clip begins in it, and where the last one ends
    FOLDER/<key>/steps.npy         (N,) float32: what one step of each clip's integers is worth, a power of two
    FOLDER/<key>/hashes.npy        (N,) of each clip's samples as they are in its file

A step is as fine as the clip's peak allows: 16-bit samples come back to the bit, quiet clips lose nothing to rounding,
and what is louder than full scale is not clipped. No clip is held whole in memory, however long it is. The key is made
of the paths and versions of the clips, so another source, another order or a changed file is another entry; nothing is
ever changed in one that is there.
"""

import hashlib
import json
import os
import queue
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any, BinaryIO

import joblib
import numpy as np
import numpy.typing as npt
from filelock import FileLock

from ser_core.audio import CLIP_SOURCE, Decoder, Named, WindowSettings, file_contents, look_at_clips
from ser_core.corpora import Manifest
from ser_core.errors import OutputError, SourceError
from ser_core.faults import Fault
from ser_core.ordered import in_order
from ser_core.source import PlannedFile
from ser_core.storage import Location, faults_of
from ser_core.temporary import private_folder

_SAMPLES, _OFFSETS, _STEPS, _HASHES = "waveforms.int16", "offsets.npy", "steps.npy", "hashes.npy"
#: Number of the format on disk, and of the way of decoding.
_FORMAT = 1
_KEY_DIGITS = 32
_DECODE_SECONDS = 300.0
#: Number of clips that are decoded in the time that it takes to start a process.
_CLIPS_A_PROCESS = 100
#: Length of the pieces that a clip comes in.
_WINDOW_SECONDS = 1.0
#: A decoded clip that waits is held in memory up to here, and else on the disk: 65 s at 16 kHz.
_MAX_BYTES_IN_MEMORY = 4 * 2**20
_BLOCK_BYTES = 2**20
#: Number of clips that wait, for each decoding process.
_CLIPS_AHEAD = 4
_MAX_BYTES_AHEAD = 256 * 2**20
#: Below this a peak is less than one step of 16 bits.
_LEAST_EXPONENT = -15


class WaveformCache:
    """Clips by their row number in the manifest it was opened for. Pickles as its folder's name."""

    def __init__(self, entry: Path) -> None:
        self._entry = entry
        self._offsets: npt.NDArray[np.int64] = np.load(entry / _OFFSETS)
        self._steps: npt.NDArray[np.float32] = np.load(entry / _STEPS)
        #: (N,) The hash of each clip's samples as they are in its file, see `Segment.audio_hash`.
        self.hash_N: npt.NDArray[np.str_] = np.load(entry / _HASHES)

    @classmethod
    def open(cls, manifest: Manifest, folder: Path, sample_rate_hz: int = 16_000) -> "WaveformCache":
        """The cache of these clips, all channels mixed, built when it is not there.

        Several processes may open it at once: one builds, the others wait. A build that was killed leaves nothing that
        counts.

        Raises:
            SourceError: clips are missing or cannot be decoded to their end; one is named, the others are counted.
            OutputError: the folder cannot be written.
            ServiceError: the disk is full, or the bucket failed as a whole.
        """
        if not len(manifest):
            raise SourceError("the manifest holds no clip; name one that does")
        files = look_at_clips(manifest.paths)
        entry = folder / _key(files, sample_rate_hz)
        try:
            with faults_of(Location(str(folder))):
                private_folder(folder)
                with FileLock(folder / f".{entry.name}.lock"):
                    if not _is_whole(entry):
                        _build(files, entry, sample_rate_hz)
                return cls(entry)
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or "it cannot be locked"
            raise OutputError(f"{folder}: cannot cache waveforms ({reason}); name another cache_dir") from error

    def __len__(self) -> int:
        return len(self._steps)

    def __reduce__(self) -> tuple[Any, ...]:
        return WaveformCache, (self._entry,)

    @property
    def key(self) -> str:
        """The name of these clips, in these versions and this order."""
        return self._entry.name

    def num_samples(self, index: int) -> int:
        """How long a clip is."""
        return int(self._offsets[index + 1] - self._offsets[index])

    def waveform(self, index: int) -> "Waveform":
        """A clip's samples."""
        return Waveform(self._samples[self._offsets[index] : self._offsets[index + 1]], self._steps[index])

    @cached_property
    def _samples(self) -> npt.NDArray[np.int16]:
        return np.memmap(self._entry / _SAMPLES, np.int16, mode="r")


@dataclass(frozen=True)
class Waveform:
    """A clip's T samples on the disk; a slice of them is read, float32 at full scale 1, the caller's own to change."""

    _pcm_T: npt.NDArray[np.int16]
    _step: np.float32

    def __len__(self) -> int:
        return len(self._pcm_T)

    def __getitem__(self, samples: slice) -> npt.NDArray[np.float32]:
        return np.multiply(self._pcm_T[samples], self._step, dtype=np.float32)


@dataclass(frozen=True)
class _Clip:
    """A decoded clip: a file of float32 samples, and what one step of its integers is worth."""

    pcm: IO[bytes]
    step: float
    hash: str

    def write(self, out: BinaryIO) -> int:
        """Write its samples as integers; how many they are."""
        num_samples = 0
        self.pcm.seek(0)
        while block := self.pcm.read(_BLOCK_BYTES):
            integers_T = np.rint(np.frombuffer(block, np.float32) / np.float32(self.step)).clip(-(2**15), 2**15 - 1)
            out.write(integers_T.astype(np.int16).data)
            num_samples += len(integers_T)
        return num_samples


def _key(files: list[PlannedFile], sample_rate_hz: int) -> str:
    versions = [[file.path, file.size, file.version] for file in files]
    return hashlib.sha256(json.dumps([_FORMAT, sample_rate_hz, versions]).encode()).hexdigest()[:_KEY_DIGITS]


def _is_whole(entry: Path) -> bool:
    try:
        offsets, steps, hashes = (np.load(entry / name) for name in (_OFFSETS, _STEPS, _HASHES))
        num_bytes = (entry / _SAMPLES).stat().st_size
    except (OSError, ValueError, EOFError):
        return False
    return len(hashes) == len(steps) == len(offsets) - 1 and num_bytes == offsets[-1] * np.int16().itemsize


def _build(files: list[PlannedFile], entry: Path, sample_rate_hz: int) -> None:
    """Write an entry beside its place, and put it there whole."""
    building = entry.with_name(f".{entry.name}.building")
    for left in (entry, building):
        shutil.rmtree(left, ignore_errors=True)
    try:
        building.mkdir()
        _write(files, building, sample_rate_hz)
        building.rename(entry)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def _write(files: list[PlannedFile], folder: Path, sample_rate_hz: int) -> None:
    offsets, steps, hashes = [0], [], []
    failures: list[tuple[str, Fault]] = []
    with (folder / _SAMPLES).open("wb") as out:
        for file, clip in zip(files, _decode_all(files, folder, sample_rate_hz), strict=True):
            if isinstance(clip, Fault):
                failures.append((file.path, clip))
                continue
            with clip.pcm:
                if not failures:
                    offsets.append(offsets[-1] + clip.write(out))
                    steps.append(clip.step)
                    hashes.append(clip.hash)
        _sync(out)
    if failures:
        path, failure = failures[0]
        more = f"; {len(failures) - 1} more cannot be read either" if failures[1:] else ""
        what = f"{Location(path)}: {failure}"
        raise SourceError(f"{what}; mend that, or take the clip out of the manifest{more}")
    for name, values, kind in ((_OFFSETS, offsets, np.int64), (_STEPS, steps, np.float32), (_HASHES, hashes, np.str_)):
        with (folder / name).open("wb") as out:
            np.save(out, np.array(values, kind))
            _sync(out)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _decode_all(files: list[PlannedFile], folder: Path, sample_rate_hz: int) -> Iterator[_Clip | Fault]:
    """Every clip, or why there is none, in order; a process for each core decodes, so that a clip may crash it."""
    num_decoders = min(joblib.cpu_count(), 1 + len(files) // _CLIPS_A_PROCESS)
    windows = WindowSettings(
        sample_rate_hz=sample_rate_hz, window_seconds=_WINDOW_SECONDS, hop_seconds=_WINDOW_SECONDS, min_tail_seconds=0
    )
    idle: queue.SimpleQueue[Decoder] = queue.SimpleQueue()
    with ExitStack() as stack:
        for _ in range(num_decoders):
            decoder = Decoder(channels="mix", windows=windows, timeout_seconds=_DECODE_SECONDS, hashes_audio=True)
            idle.put(stack.enter_context(decoder))
        threads = stack.enter_context(ThreadPoolExecutor(num_decoders, thread_name_prefix="decode"))
        yield from in_order(
            file_contents(CLIP_SOURCE, files),
            lambda contents: threads.submit(_decode, idle, contents, windows, folder),
            max_in_flight=_CLIPS_AHEAD * num_decoders,
            weigh=_num_bytes,
            max_weight=_MAX_BYTES_AHEAD,
        )


def _num_bytes(contents: Named | Fault) -> int:
    return len(contents.source) if isinstance(contents, Named) and isinstance(contents.source, bytes) else 0


def _decode(
    idle: "queue.SimpleQueue[Decoder]", contents: Named | Fault, windows: WindowSettings, folder: Path
) -> _Clip | Fault:
    if isinstance(contents, Fault):
        return contents
    decoder = idle.get()
    fault: Fault | None = None
    # Who writes the clip closes it.
    pcm: IO[bytes] = SpooledTemporaryFile(_MAX_BYTES_IN_MEMORY, dir=str(folder))  # noqa: SIM115
    lowest = highest = 0.0
    audio_hash = ""
    try:
        # To the end, whatever comes: a child that is left at work is ended.
        for segment in decoder.segments(contents):
            fault = fault or segment.fault
            audio_hash = segment.audio_hash or audio_hash
            if fault is None and segment.window_index:
                num_samples = round(segment.end_seconds[-1] * windows.sample_rate_hz)
                num_samples -= segment.window_index[0] * windows.hop_samples
                pcm_T = segment.pcm_NS.reshape(-1)[:num_samples]
                pcm.write(pcm_T.data)
                lowest, highest = min(lowest, float(pcm_T.min())), max(highest, float(pcm_T.max()))
    finally:
        idle.put(decoder)
    return fault or _Clip(pcm, _step(lowest, highest), audio_hash)


def _step(lowest: float, highest: float) -> float:
    """What one step of the integers of a clip between these two samples is worth."""
    # The lowest integer is one further from zero than the highest: a negative peak at a power of two still fits.
    peak = max(highest, float(np.nextafter(np.float32(-lowest), np.float32(0))))
    _, exponent = np.frexp(peak)
    return float(2.0 ** (max(int(exponent), _LEAST_EXPONENT) - 15))
