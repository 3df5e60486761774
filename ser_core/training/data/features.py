"""Windows -> what a model in training takes: by the scoring code, now or once for all in a memory-mapped cache.

Shape letters: W windows of a cache, B windows of a call, S samples of a window, F mel bands, T frames, C labels.

    FOLDER/<key>-<shape>-<dtype>/features.bin   (W, ...): a row for each window; holes where nothing was computed yet
    FOLDER/<key>-<shape>-<dtype>/done.bin       one byte for each block of 64 rows: 1 when it is there

A block is computed whole and in one way, so what is in it depends neither on who computed it nor on what was there
before. Two processes that compute the same block write the same bytes: nothing needs a lock, and what a killed
process has done is not lost.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ser_core.audio import LogMel
from ser_core.distributed import ProcessGroup
from ser_core.models import Artifact, SpeechModel
from ser_core.settings import ResolvedPrecision
from ser_core.storage import Location, one_line_faults
from ser_core.temporary import private_folder

Array = npt.NDArray[Any]
Windows = npt.NDArray[np.int64]
#: Window numbers -> the rows of these windows.
Compute = Callable[[Windows], Array]
#: Takes the number of blocks done, and of those to do.
Progress = Callable[[int, int], None]
#: Number of what is in a cache; another one when the code that computes it gives something else.
_FORMAT = 3
_ROWS, _DONE = "features.bin", "done.bin"
_BLOCK = 64
#: Number of blocks that a kill may cost.
_BLOCKS_PER_SYNC = 16


class FrontEnd:
    """The part of a model that does not learn: its log-mel, and its frozen layers.

    The cached features of a window are its log-mel before `mean_db` and `std_db`, or the output of the frozen layers as
    float16.
    """

    def __init__(
        self, model: SpeechModel, log_mel: LogMel, device: torch.device, *, caches_encoded: bool,
        precision: ResolvedPrecision = "fp32",
    ) -> None:  # fmt: skip
        """Take over a model that is on the device already.

        Args:
            model: whose front end it is.
            log_mel: its features.
            device: where both are computed.
            caches_encoded: whether the output of frozen layers is cached, where there are any.
            precision: of the frozen layers.
        """
        self._model, self._device, self._precision = model, device, precision
        self._log_mel = log_mel.to(device)
        raw = log_mel.settings
        if raw.scale == "db":
            raw = raw.replace(mean_db=0.0, std_db=1.0)
        self._raw_mel = LogMel(raw, log_mel.filterbank_FK).to(device)
        self.caches_encoded = caches_encoded and model.has_frozen_layers

    @property
    def key(self) -> str:
        """Names whatever changes the cached features."""
        if not self.caches_encoded:
            return _digest([_FORMAT, self._device.type, self._raw_mel.settings.to_dict()])
        digest = hashlib.sha256()
        for name, parameter in sorted(self._model.named_parameters()):
            if not parameter.requires_grad:
                digest.update(name.encode() + parameter.detach().cpu().contiguous().numpy().tobytes())
        parts: list[Any] = [_FORMAT, self._device.type, self._log_mel.settings.to_dict()]
        return _digest([*parts, digest.hexdigest(), self._model.encoding_key, self._precision])

    @torch.no_grad()
    def features(self, pcm_BS: Array) -> Array:
        """The features of windows that are cached: float32 (B, F, T), or float16 (B, ...)."""
        pcm = torch.from_numpy(pcm_BS).to(self._device)
        if not self.caches_encoded:
            return self._raw_mel(pcm).cpu().numpy()  # type: ignore[no-any-return]
        self._model.eval()
        return self.encode(self._log_mel(pcm)).half().cpu().numpy()

    @torch.no_grad()
    def mel(self, pcm_BS: Array) -> Tensor:
        """Normalised log-mel (B, F, T), on the device, of samples."""
        mel_BFT: Tensor = self._log_mel(torch.from_numpy(pcm_BS).to(self._device))
        return mel_BFT

    def cached_mel(self, features: Array) -> Tensor:
        """Normalised log-mel (B, F, T), on the device, of cached features."""
        mel_BFT = torch.from_numpy(features).to(self._device)
        settings = self._log_mel.settings
        return mel_BFT if settings.scale == "whisper" else (mel_BFT - settings.mean_db) / settings.std_db

    def encode(self, mel_BFT: Tensor) -> Tensor:
        """What `forward_encoded` takes, of normalised log-mel."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == "bf16"):
            return self._model.encode_frozen(mel_BFT)

    def encoded(self, features: Array) -> Tensor:
        """What `forward_encoded` takes, on the device, of cached features."""
        return self.on_device(features) if self.caches_encoded else self.encode(self.cached_mel(features))

    def on_device(self, values: Array) -> Tensor:
        """A tensor of these, where the model is."""
        return torch.from_numpy(values).to(self._device)

    @property
    def num_mels(self) -> int:
        """Rows of a log-mel that are bands."""
        return self._log_mel.settings.num_mels

    @property
    def num_regression_features(self) -> int:
        """Number of features that the model's regression reads."""
        return 0 if self._model.regression is None else self._model.regression.weight_CP.shape[1]

    @torch.no_grad()
    def regression_features(self, encoded: Tensor) -> Array:
        """The features (B, P) that the model's regression reads."""
        self._model.eval()
        return self._model.regression_features(encoded).cpu().numpy()

    @torch.no_grad()
    def regression_views(self, encoded: Tensor) -> Array:
        """What the model's regression is fitted to (B, V, P), V views of each window."""
        self._model.eval()
        return torch.stack(self._model.regression_views(encoded), dim=1).cpu().numpy()


class Teachers:
    """Models whose predictions are learned from: the mean of their probabilities at a temperature."""

    def __init__(self, artifacts: Sequence[Artifact], temperature: float, device: torch.device) -> None:
        self._models = [artifact.model().to(device) for artifact in artifacts]
        self._log_mels = [artifact.log_mel().to(device) for artifact in artifacts]
        self._temperatures = [temperature * artifact.config.temperature for artifact in artifacts]
        self._device = device
        names = [artifact.content_hash for artifact in artifacts]
        self.key = _digest([names, temperature, device.type])

    @torch.no_grad()
    def predict(self, pcm_BS: Array) -> Tensor:
        """Probabilities (B, C) on the device."""
        pcm = torch.from_numpy(pcm_BS).to(self._device)
        teachers = zip(self._models, self._log_mels, self._temperatures, strict=True)
        predictions = [(model(log_mel(pcm)) / temperature).softmax(dim=1) for model, log_mel, temperature in teachers]
        return torch.stack(predictions).mean(dim=0)


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


class FeatureCache:
    """Rows by window number, after `fill` has seen to them."""

    def __init__(self, entry: Path, num_windows: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        """Open a cache of `num_windows` rows of a shape, or make an empty one.

        Raises:
            OutputError: the folder cannot be written.
            ServiceError: the disk is full.
        """
        self._num_windows = num_windows
        # Rows of another shape are another cache's: neither may write into the other's.
        self._entry = entry.with_name(f"{entry.name}-{'x'.join(map(str, shape))}-{np.dtype(dtype).name}")
        with _faults(self._entry):
            private_folder(self._entry.parent)
            private_folder(self._entry)
            self._rows = _map(self._entry / _ROWS, (num_windows, *shape), dtype)
            self._done = _map(self._entry / _DONE, (-(-num_windows // _BLOCK),), np.uint8)

    def fill(self, window_B: Windows, compute: Compute, group: ProcessGroup, progress: Progress) -> None:
        """See to these windows' rows, and their blocks'; the workers of a machine divide the work, all must call it.

        Args:
            window_B: window numbers.
            compute: called with the numbers of a whole block.
            group: whose workers call it.
            progress: called with the number of blocks done, of those to do, by this worker.
        """
        blocks = np.unique(window_B // _BLOCK)
        missing = self._missing(blocks)
        # What is missing is looked up before anyone adds to it, so that all divide the same list.
        group.barrier()
        mine = missing[group.local_rank :: group.local_size]
        group.together(lambda: self._compute(mine, compute, progress))
        # Unless another training, on the same clips at the same time, had added to it.
        group.together(lambda: self._compute(self._missing(blocks), compute, progress))

    def _missing(self, blocks: Windows) -> Windows:
        missing: Windows = blocks[self._done[blocks] == 0]
        return missing

    def _compute(self, blocks: Windows, compute: Compute, progress: Progress) -> None:
        with _faults(self._entry), (self._entry / _ROWS).open("r+b") as rows, (self._entry / _DONE).open("r+b") as done:
            for start in range(0, len(blocks), _BLOCKS_PER_SYNC):
                group = blocks[start : start + _BLOCKS_PER_SYNC].tolist()
                for block in group:
                    self._write(rows.fileno(), block, compute)
                os.fsync(rows.fileno())
                for block in group:
                    os.pwrite(done.fileno(), b"\1", block)
                progress(start + len(group), len(blocks))

    def _write(self, descriptor: int, block: int, compute: Compute) -> None:
        """Not through the memory map: on a full disk that would end the process."""
        window_B = np.arange(block * _BLOCK, min((block + 1) * _BLOCK, self._num_windows))
        row_bytes = self._rows.itemsize * int(np.prod(self._rows.shape[1:]))
        data = np.ascontiguousarray(compute(window_B), self._rows.dtype).tobytes()
        written = 0
        while written < len(data):
            written += os.pwrite(descriptor, memoryview(data)[written:], int(window_B[0]) * row_bytes + written)

    def __getitem__(self, window_B: Windows) -> Array:
        """A copy of these rows (B, ...)."""
        rows: Array = self._rows[window_B]
        return rows


def _faults(entry: Path) -> AbstractContextManager[None]:
    return one_line_faults(Location(str(entry.parent)), "cannot cache features", "name another cache_dir")


def _map(file: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> "np.memmap[Any, Any]":
    with file.open("ab") as opened:
        # As large as it is already where another process was first.
        opened.truncate(int(np.prod(shape)) * np.dtype(dtype).itemsize)
    return np.memmap(file, dtype, mode="r", shape=shape)
