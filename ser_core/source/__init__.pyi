from .fetch import FileOpener as FileOpener
from .fetch import fetch_all as fetch_all
from .listing import AUDIO_SUFFIXES as AUDIO_SUFFIXES
from .listing import PlannedFile as PlannedFile
from .listing import Skipped as Skipped
from .listing import escape_path as escape_path
from .listing import suffix_of as suffix_of
from .source import PlanSummary as PlanSummary
from .source import Source as Source
from .source import suffix_counts as suffix_counts
from .source import write_plan as write_plan

__all__ = [
    "AUDIO_SUFFIXES",
    "FileOpener",
    "PlanSummary",
    "PlannedFile",
    "Skipped",
    "Source",
    "escape_path",
    "fetch_all",
    "suffix_counts",
    "suffix_of",
    "write_plan",
]
