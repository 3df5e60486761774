from .augment import OFF as OFF
from .batches import Batch as Batch
from .batches import TrainingData as TrainingData
from .clip_labels import ClipLabels as ClipLabels
from .frontend import FrontEnd as FrontEnd
from .frontend import Teachers as Teachers
from .frontend import check_teacher as check_teacher
from .sampling import class_weights as class_weights
from .sampling import plan_epoch as plan_epoch
from .sampling import sampling_weights as sampling_weights
from .sampling import split_steps as split_steps
from .splits import Fold as Fold
from .splits import make_folds as make_folds
from .waveform_cache import WaveformCache as WaveformCache
from .windows import Numbers as Numbers
from .windows import TrainingWindows as TrainingWindows

__all__ = [
    "OFF",
    "Batch",
    "ClipLabels",
    "Fold",
    "FrontEnd",
    "Numbers",
    "Teachers",
    "TrainingData",
    "TrainingWindows",
    "WaveformCache",
    "check_teacher",
    "class_weights",
    "make_folds",
    "plan_epoch",
    "sampling_weights",
    "split_steps",
]
