"""What every peer is made of, written as one writes it without this project's engine: librosa, log-mel, the network.

The weights, the log-mel, the windows and the columns are those of `ser score`, so that rows differ in nothing but how
the work is arranged. The log-mel is this project's, on torch: librosa's takes twice as long, and these weights need
what is done to the samples before.
Shape letters: N windows, S samples of a window, T samples of a file, C labels.
"""

import functools
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import fsspec
import librosa
import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from ser_core.audio import count_windows
from ser_core.models import Artifact

#: Columns of windows, by name; every array has one row a window.
Columns = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, kw_only=True)
class PeerSettings:
    """What a peer is run with; a sweep chooses the last three."""

    model: str
    precision: str
    device: str
    batch_size: int
    workers: int
    threads: int


@functools.cache
def artifact_of(model: str) -> Artifact:
    """The model, loaded once a process."""
    return Artifact.load(model)


class Features:
    """Files -> log-mels of their windows, and what rows say of these."""

    def __init__(self, model: str) -> None:
        artifact = artifact_of(model)
        self._windows = artifact.windows()
        self._log_mel = artifact.log_mel()

    def __call__(self, files: Sequence[tuple[str, str | bytes, str]]) -> Columns:
        """The windows of some files.

        Args:
            files: of each the path that its rows carry, where it is read from or what is in it, and its version.
        """
        return concatenated([self._of_file(*file) for file in files])

    def _of_file(self, path: str, content: str | bytes, version: str) -> Columns:
        rate_hz, hop, length = self._windows.sample_rate_hz, self._windows.hop_samples, self._windows.window_samples
        pcm_T, _ = librosa.load(io.BytesIO(content) if isinstance(content, bytes) else content, sr=rate_hz, mono=True)
        count = count_windows(len(pcm_T), self._windows)
        pcm_NS = np.zeros((count, length), np.float32)
        for index in range(count):
            part = pcm_T[index * hop : index * hop + length]
            pcm_NS[index, : len(part)] = part
        with torch.inference_mode():
            mel_NFT = self._log_mel(torch.from_numpy(pcm_NS)).numpy()
        starts = np.arange(count) * hop
        ends = np.minimum(starts + length, len(pcm_T))
        power = np.square(pcm_NS).sum(axis=1) / (ends - starts)
        return {
            "path": np.array([path] * count, object),
            "file_version": np.array([version] * count, object),
            "window_index": np.arange(count),
            "start_seconds": starts / rate_hz,
            "end_seconds": ends / rate_hz,
            "level_dbfs": (10 * np.log10(np.maximum(power, 1e-12))).astype(np.float32),
            "mel": mel_NFT,
        }


class Network:
    """Log-mels -> the columns of `predictions`."""

    def __init__(self, settings: PeerSettings) -> None:
        artifact = artifact_of(settings.model)
        self._settings = settings
        self._labels, self._temperature = artifact.config.labels, artifact.config.temperature
        self._identity = artifact.identity
        self._model = artifact.model().to(settings.device)

    def __call__(self, columns: Columns) -> Columns:
        """The same windows with their predictions in the place of `mel`."""
        torch.set_num_threads(self._settings.threads)
        mel_NFT = torch.from_numpy(np.array(columns["mel"], np.float32)).to(self._settings.device)
        is_bf16 = self._settings.precision == "bf16"
        with torch.inference_mode(), torch.autocast(self._settings.device, torch.bfloat16, enabled=is_bf16):
            logits_NC = self._model(mel_NFT)
        p_NC = (logits_NC.float() / self._temperature).softmax(dim=1).cpu().numpy()
        best_N = p_NC.argmax(axis=1)
        return {
            **{name: column for name, column in columns.items() if name != "mel"},
            "channel": np.full(len(p_NC), -1, np.int32),
            "emotion": np.array(self._labels, object)[best_N],
            "confidence": p_NC.max(axis=1),
            **{f"p_{label}": p_NC[:, index] for index, label in enumerate(self._labels)},
            "model": np.array([self._identity] * len(p_NC), object),
        }


def concatenated(parts: Sequence[Columns]) -> Columns:
    """Columns of several parts as one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def table_of(parts: Sequence[Columns]) -> pa.Table:
    """Columns of all windows as a table to be written."""
    return pa.table({name: pa.array(column) for name, column in concatenated(parts).items()})


@dataclass(frozen=True)
class Listing:
    """The files below a folder or an s3:// URL, and how each is read."""

    paths: list[str]
    root: str
    #: None: files of this machine, which librosa opens by itself.
    read: Callable[[str], bytes] | None

    @classmethod
    def of(cls, source: str) -> "Listing":
        """List `source`."""
        system, root = fsspec.core.url_to_fs(source)
        is_local = not source.startswith("s3://")
        return cls(sorted(system.find(root)), root, None if is_local else functools.partial(_read, source))

    def file(self, path: str) -> tuple[str, str | bytes, str]:
        """A file as `Features` takes it; the version is left empty, as none of these programs looks at it."""
        return self.relative(path), path if self.read is None else self.read(path), ""

    def relative(self, path: str) -> str:
        """A path as rows carry it."""
        return path.removeprefix(self.root).lstrip("/")


def _read(source: str, path: str) -> bytes:
    """What is in an object; the client is this process's own."""
    system, _ = fsspec.core.url_to_fs(source)
    content: bytes = system.cat_file(path)
    return content
