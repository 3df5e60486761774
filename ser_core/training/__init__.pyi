from .config import TrainConfig as TrainConfig
from .data_config import Split as Split
from .events import EpochDone as EpochDone
from .events import EpochRecord as EpochRecord
from .events import Event as Event
from .events import FoldBegan as FoldBegan
from .events import FoldDone as FoldDone
from .events import Preparing as Preparing
from .events import StepDone as StepDone
from .events import TrainingLog as TrainingLog
from .folder import TrainingFolder as TrainingFolder
from .job import Job as Job
from .pooled import finish_job as finish_job
from .recipe import load_train_config as load_train_config
from .report import PAGE_FILE as PAGE_FILE
from .report import REPORT_FILE as REPORT_FILE
from .report import is_complete as is_complete
from .report import is_done as is_done
from .run import Worker as Worker
from .run import open_waveforms as open_waveforms
from .run import run_job as run_job
from .summary import ReportSummary as ReportSummary

__all__ = [
    "PAGE_FILE",
    "REPORT_FILE",
    "EpochDone",
    "EpochRecord",
    "Event",
    "FoldBegan",
    "FoldDone",
    "Job",
    "Preparing",
    "ReportSummary",
    "Split",
    "StepDone",
    "TrainConfig",
    "TrainingFolder",
    "TrainingLog",
    "Worker",
    "finish_job",
    "is_complete",
    "is_done",
    "load_train_config",
    "open_waveforms",
    "run_job",
]
