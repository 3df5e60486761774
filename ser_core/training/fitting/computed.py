"""What is computed of windows, each by one of the workers, and given to all.

Shape letters: W windows, P features, V views.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from ser_core.training.data import Numbers, TrainingData, stretch

_BATCH = 64
#: Tempos, of what they are, that windows are heard at in turn.
_TEMPOS = (0.6, 1.3, 0.75, 1.7)
#: Enough for the few directions in which a tempo moves features.
_MAX_TEMPO_WINDOWS = 1_000
Floats = npt.NDArray[np.floating]


def of_windows(data: TrainingData, window_W: Numbers, compute: Callable[[torch.Tensor], Floats]) -> Floats:
    """What is computed (W, ...) of cached windows; all workers must call it.

    Args:
        data: prepared for these windows.
        window_W: their numbers.
        compute: makes (B, ...) of what `TrainingData.encoded` gives.
    """
    return _shared(data, len(window_W), lambda row_B: compute(data.encoded(window_W[row_B])))


def tempo_changes(data: TrainingData, window_W: Numbers) -> Floats:
    """What another tempo changes of a regression's features (V W, P); all workers must call it.

    Args:
        data: prepared for these windows.
        window_W: their numbers; some of them are heard.
    """
    front_end = data.front_end
    window_W = window_W[:: -(-len(window_W) // _MAX_TEMPO_WINDOWS)]
    tempo_W = np.resize(_TEMPOS, len(window_W))

    def changes(row_B: Numbers) -> Floats:
        mel_BFT = front_end.mel(data.windows.read(data.waveforms, window_W[row_B]))
        for mel_FT, tempo in zip(mel_BFT, tempo_W[row_B].tolist(), strict=True):
            # Another tempo of the samples is not made: what reads them is as it was.
            stretch(mel_FT[: front_end.num_mels], tempo)
        changed_BVP = front_end.regression_views(front_end.encode(mel_BFT))
        return changed_BVP - front_end.regression_views(data.encoded(window_W[row_B]))

    return np.concatenate(list(_shared(data, len(window_W), changes).swapaxes(0, 1)))


def _shared(data: TrainingData, num_rows: int, compute: Callable[[Numbers], Floats]) -> Floats:
    rows = np.arange(num_rows)
    mine = data.group.shard_of(num_rows)
    shape = compute(rows[:1]).shape[1:]
    values = torch.zeros(num_rows, *shape)
    for start in range(0, len(rows[mine]), _BATCH):
        part = slice(start, min(start + _BATCH, len(rows[mine])))
        values[mine][part] = torch.from_numpy(compute(rows[mine][part]))
    return data.group.all_reduce(values).numpy()
