"""The sample of an archive, from which its adaptation is estimated, where an output's embeddings take the place of
audio: the windows that `cluster.sample` would take of the recordings.

Shape letters: N windows of the sample, E values of an embedding.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cluster.sample import LISTENED_PER_WINDOW, Sample, in_hash_order, looks_seconds, windows_per_file
from ser_core.audio import WindowSettings
from ser_core.errors import DamagedOutputError
from ser_core.tables import EmbeddedOutput
from ser_core.vocabulary import NO_SPEECH

if TYPE_CHECKING:
    from ser_core.models import ModelOutput

#: Embeddings (N, E) of windows -> what the model says of them, components too.
PredictEmbedded = Callable[[np.ndarray], "ModelOutput"]

#: Files whose rows are read together.
_FILES_AT_A_TIME = 64

#: (path, channel, window_index)
_Key = tuple[str, int, int]


@dataclass(frozen=True, kw_only=True)
class SampleCut:
    """How the files of an output were cut, and which of their windows may be in a sample: every `stride`-th."""

    windows: WindowSettings
    is_by_channel: bool

    @property
    def stride(self) -> int:
        """Windows of a sample do not overlap."""
        return math.ceil(round(self.windows.window_seconds / self.windows.hop_seconds, 6))

    def is_within(self, window_index: int, look_seconds: float) -> bool:
        """Whether a look at the first seconds of a file has that window."""
        num_samples = round(look_seconds * self.windows.sample_rate_hz) - window_index * self.windows.hop_samples
        return window_index == 0 or num_samples >= self.windows.least_samples


@dataclass(frozen=True)
class _Channel:
    """What an output tells of one channel of a file."""

    channel: int
    audio_seconds: float
    #: The index of every `stride`-th window, and whether it is judged.
    windows: list[tuple[int, bool]]


def read_embedded_sample(
    output: EmbeddedOutput, plan_file: Path, predict: PredictEmbedded, cut: SampleCut, *, num_windows: int
) -> Sample:
    """Look at a sample of what is planned.

    Args:
        output: what is planned is of it.
        plan_file: the plan (PLAN_SCHEMA).
        predict: asks the model.
        cut: how its files were cut.
        num_windows: most windows of the sample.
    """
    per_file = windows_per_file(num_windows, pq.read_metadata(plan_file).num_rows)
    chosen: list[_Key] = []
    num_failed = num_listened = 0
    for path, channels in _files(output, plan_file, cut):
        of_file, listened = _chosen(channels, cut, per_file)
        chosen += [(path, channel, index) for channel, index in of_file]
        num_failed += not listened
        num_listened += listened
        if len(chosen) >= num_windows or num_listened >= num_windows * LISTENED_PER_WINDOW:
            break
    chosen = _in_order(chosen[:num_windows])
    nothing = np.zeros((0, 0), np.float32)
    if not chosen:
        return Sample(logits_NC=nothing, components_NR=nothing, num_files=0, num_failed=num_failed)
    said = predict(_embeddings(output, chosen))
    assert said.components_NR is not None
    num_files = len({path for path, *_ in chosen})
    return Sample(
        logits_NC=said.logits_NC, components_NR=said.components_NR, num_files=num_files, num_failed=num_failed
    )


def _files(output: EmbeddedOutput, plan_file: Path, cut: SampleCut) -> Iterator[tuple[str, list[_Channel]]]:
    """What the output tells of each planned file, by the hash of its path."""
    in_hashed = in_hash_order(plan_file)
    while some := list(islice(in_hashed, _FILES_AT_A_TIME)):
        in_order = [file["path"][0].as_py() for file in some]
        paths = pa.array(sorted(in_order))
        files = output.files.sorted_of_paths(paths, ["path", "channel", "audio_seconds"], ["path", "channel"])
        windows = output.predictions.sorted_of_paths(
            paths, ["path", "channel", "window_index", "emotion"], ["path", "channel", "window_index"]
        )
        of_key: dict[tuple[str, int], list[tuple[int, bool]]] = {}
        for path, channel, index, emotion in zip(*(column.to_pylist() for column in windows.columns), strict=True):
            if index % cut.stride == 0:
                of_key.setdefault((path, channel), []).append((index, emotion != NO_SPEECH))
        of_path: dict[str, list[_Channel]] = {path: [] for path in in_order}
        for path, channel, seconds in zip(*(column.to_pylist() for column in files.columns), strict=True):
            of_path[path].append(_Channel(channel, seconds, of_key.get((path, channel), [])))
        yield from of_path.items()


def _chosen(channels: list[_Channel], cut: SampleCut, per_file: int) -> tuple[list[tuple[int, int]], int]:
    """Channel and index of the windows that a file gives, and how many were looked at for them."""
    per_channel = math.ceil(per_file / 2) if cut.is_by_channel else per_file
    given: list[tuple[int, int]] = []
    num_listened = 0
    for look_seconds in looks_seconds(per_file, cut.windows.window_seconds, cut.windows.max_file_seconds):
        is_short = False
        for one in channels:
            seen = [pair for pair in one.windows if cut.is_within(pair[0], look_seconds)]
            num_listened += len(seen)
            judged = [(one.channel, index) for index, is_judged in seen if is_judged][:per_channel]
            given += [pair for pair in judged if pair not in given]
            is_short |= one.audio_seconds >= look_seconds and len(judged) < per_channel
        if not is_short:
            break
    return given, num_listened


def _in_order(keys: list[_Key]) -> list[_Key]:
    """By the file, as they come, then channel and index."""
    rank = {path: number for number, path in enumerate(dict.fromkeys(path for path, *_ in keys))}
    return sorted(keys, key=lambda key: (rank[key[0]], *key[1:]))


def _embeddings(output: EmbeddedOutput, keys: list[_Key]) -> np.ndarray:
    """Those of some windows (N, E), in their order."""
    number_of = {key: number for number, key in enumerate(keys)}
    values_NE: np.ndarray | None = None
    num_found = 0
    for found in output.of_paths(pa.array(sorted({path for path, *_ in keys}))):
        columns = [found.keys[name].to_pylist() for name in ("path", "channel", "window_index")]
        rows = [(row, number_of[key]) for row, key in enumerate(zip(*columns, strict=True)) if key in number_of]
        if values_NE is None:
            values_NE = np.zeros((len(keys), found.values_NE.shape[1]), np.float32)
        for row, number in rows:
            values_NE[number] = found.values_NE[row]
        num_found += len(rows)
    if values_NE is None or num_found != len(keys):
        raise DamagedOutputError(f"{output.location}: its tables do not go together; see 'ser verify'")
    return values_NE
