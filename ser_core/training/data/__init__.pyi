from .augment import OFF as OFF
from .augment import stretch as stretch
from .batches import Batch as Batch
from .batches import TrainingData as TrainingData
from .batches import cache_of_windows as cache_of_windows
from .clips import ClipLabels as ClipLabels
from .clips import Numbers as Numbers
from .clips import TrainingWindows as TrainingWindows
from .clips import check_emotions as check_emotions
from .clips import check_sets as check_sets
from .clips import plan_epoch as plan_epoch
from .clips import sampling_weights as sampling_weights
from .clips import split_steps as split_steps
from .features import FrontEnd as FrontEnd
from .features import Teachers as Teachers
from .heard import with_clips_of_speech as with_clips_of_speech
from .heard import with_speech as with_speech
from .splits import ClipSets as ClipSets
from .splits import make_folds as make_folds
from .waveform_cache import WaveformCache as WaveformCache

__all__ = [
    "OFF",
    "Batch",
    "ClipLabels",
    "ClipSets",
    "FrontEnd",
    "Numbers",
    "Teachers",
    "TrainingData",
    "TrainingWindows",
    "WaveformCache",
    "cache_of_windows",
    "check_emotions",
    "check_sets",
    "make_folds",
    "plan_epoch",
    "sampling_weights",
    "split_steps",
    "stretch",
    "with_clips_of_speech",
    "with_speech",
]
