from .child import started_ahead as started_ahead
from .decode import Named as Named
from .isolated import DECODE_WORKER as DECODE_WORKER
from .isolated import Decoder as Decoder
from .load import CLIP_SOURCE as CLIP_SOURCE
from .load import file_contents as file_contents
from .load import load_segments as load_segments
from .load import look_at_clips as look_at_clips
from .log_mel import LogMel as LogMel
from .log_mel import fit_log_mel as fit_log_mel
from .segments import AUDIO_HASH_CHARACTERS as AUDIO_HASH_CHARACTERS
from .segments import Segment as Segment
from .segments import WindowSettings as WindowSettings
from .segments import closing_segment as closing_segment
from .segments import count_windows as count_windows
from .settings import MelSettings as MelSettings

__all__ = [
    "AUDIO_HASH_CHARACTERS",
    "CLIP_SOURCE",
    "DECODE_WORKER",
    "Decoder",
    "LogMel",
    "MelSettings",
    "Named",
    "Segment",
    "WindowSettings",
    "closing_segment",
    "count_windows",
    "file_contents",
    "fit_log_mel",
    "load_segments",
    "look_at_clips",
    "started_ahead",
]
