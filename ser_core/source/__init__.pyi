from .fetch import FileOpener as FileOpener
from .fetch import fetch_all as fetch_all
from .listing import DEFAULT_GLOB_SUFFIXES as DEFAULT_GLOB_SUFFIXES
from .listing import PlannedFile as PlannedFile
from .listing import Skipped as Skipped
from .listing import escape_path as escape_path
from .listing import suffix_of as suffix_of
from .source import PlanSummary as PlanSummary
from .source import Source as Source
from .source import suffix_count as suffix_count
from .source import write_plan as write_plan

__all__ = [
    "DEFAULT_GLOB_SUFFIXES",
    "FileOpener",
    "PlanSummary",
    "PlannedFile",
    "Skipped",
    "Source",
    "escape_path",
    "fetch_all",
    "suffix_count",
    "suffix_of",
    "write_plan",
]
