from .decode import iter_segments as iter_segments
from .isolated import Decoder as Decoder
from .log_mel import LogMel as LogMel
from .log_mel import fit_log_mel as fit_log_mel
from .segments import Segment as Segment
from .segments import count_windows as count_windows
from .settings import MelSettings as MelSettings
from .settings import WindowSettings as WindowSettings

__all__ = [
    "Decoder",
    "LogMel",
    "MelSettings",
    "Segment",
    "WindowSettings",
    "count_windows",
    "fit_log_mel",
    "iter_segments",
]
