"""A small archive of audio that was never spoken, and what must come out of it."""

import functools
import math
from pathlib import Path

import numpy as np
import pyarrow as pa

from ser_core.models.artifact import read_config
from tests.support.audio_factory import VOICES, encode, speech

#: The window length of the model that archives are scored with.
WINDOW_SECONDS = read_config("compact").window_seconds
_MIN_TAIL_SECONDS = 0.5


def write_clip(file: Path, seconds: float, seed: int, *, rate_hz: int = 16_000) -> None:
    """One clip in one of the voices."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_clip(seconds, seed, rate_hz, file.suffix[1:].upper()))


@functools.cache
def _clip(seconds: float, seed: int, rate_hz: int, format: str) -> bytes:
    """A clip's bytes, made once however many archives of a process have it."""
    voice = list(VOICES)[seed % len(VOICES)]
    return encode(speech(seconds, voice, rate_hz=rate_hz, seed=seed), rate_hz=rate_hz, format=format)


def write_archive(folder: Path, num_files: int) -> dict[str, float]:
    """Clips of 0.3 to 10 s in two folders; their seconds by path."""
    seconds_of = {}
    for index in range(num_files):
        seconds = 0.3 + (index * 7 % 97) / 10
        path = f"{'ab'[index % 2]}/{index:04}.{('wav', 'flac')[index % 3 == 0]}"
        write_clip(folder / path, seconds, index, rate_hz=(16_000, 44_100)[index % 5 == 0])
        seconds_of[path] = seconds
    return seconds_of


def num_windows(seconds: float) -> int:
    """Windows of the model's length: a tail under 0.5 s is dropped unless it is the only one."""
    whole = math.floor(seconds / WINDOW_SECONDS + 1e-9)
    return max(1, whole + (seconds - whole * WINDOW_SECONDS >= _MIN_TAIL_SECONDS - 1e-9))


def keys(predictions: pa.Table) -> list[tuple[str, int, int]]:
    """The key of every prediction row."""
    columns = (predictions[name].to_pylist() for name in ("path", "channel", "window_index"))
    return list(zip(*columns, strict=True))


def expected_keys(seconds_of: dict[str, float]) -> list[tuple[str, int, int]]:
    """Every window of every file once, in order."""
    return [(path, -1, index) for path in sorted(seconds_of) for index in range(num_windows(seconds_of[path]))]


def assert_same_predictions(ours: pa.Table, theirs: pa.Table, tolerance: float = 1e-5) -> None:
    """Same keys, probabilities and shares of speech within `tolerance`, and the same labels but for ties within it."""
    assert keys(ours) == keys(theirs)
    np.testing.assert_allclose(ours["speech_share"], theirs["speech_share"], rtol=0, atol=tolerance)
    names = [name for name in ours.column_names if name.startswith("p_")]
    p_ours = np.stack([ours[name].to_numpy() for name in names])
    p_theirs = np.stack([theirs[name].to_numpy() for name in names])
    np.testing.assert_allclose(p_ours, p_theirs, rtol=0, atol=tolerance)
    differ = np.array(ours["emotion"].to_pylist()) != np.array(theirs["emotion"].to_pylist())
    second, first = np.sort(p_ours, axis=0)[-2:]
    assert (first - second)[differ].max(initial=0.0) <= tolerance
