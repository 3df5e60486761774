"""FFmpeg's frames as arrays of samples.

Shape letters: T frames of a block, C channels.
"""

import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

_FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63}


def kind_of(frame: AudioFrame) -> tuple[int, int]:
    return frame.sample_rate, frame.layout.nb_channels


def is_wide(frame: AudioFrame) -> bool:
    """Whether PyAV 18 reads past the end of the frame's list of planes, which ends with a null up to 7 channels."""
    return frame.format.is_planar and frame.layout.nb_channels >= 8


def samples_TC(frame: AudioFrame) -> NDArray[np.float32]:
    """A frame's samples, (T, C) float32 at full scale 1.0."""
    name, num_channels = frame.format.name, frame.layout.nb_channels
    samples = frame.to_ndarray()
    values_TC = samples.T if frame.format.is_planar else samples.reshape(-1, num_channels)
    if (scale := _FULL_SCALE.get(name.removesuffix("p"))) is None:
        return values_TC.astype(np.float32)
    offset = scale if name.startswith("u8") else 0.0
    return ((values_TC - offset) / scale).astype(np.float32)
