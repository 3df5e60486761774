from .fetch import fetch_all as fetch_all
from .folders import folders_of as folders_of
from .folders import largest_folders as largest_folders
from .folders import split_plan as split_plan
from .json_list import PATH_NAMES as PATH_NAMES
from .listing import PlannedFile as PlannedFile
from .listing import Skipped as Skipped
from .members import is_member as is_member
from .names import AUDIO_SUFFIXES as AUDIO_SUFFIXES
from .names import escape_path as escape_path
from .names import suffix_of as suffix_of
from .opening import FileOpener as FileOpener
from .path_list import is_collection as is_collection
from .plan import PlanSummary as PlanSummary
from .plan import left_out_words as left_out_words
from .plan import suffix_counts as suffix_counts
from .plan import write_plan as write_plan
from .source import Source as Source
from .source import has_magic as has_magic
from .text_table import NoListError as NoListError
from .text_table import open_table as open_table
from .text_table import position_of as position_of

__all__ = [
    "AUDIO_SUFFIXES",
    "PATH_NAMES",
    "FileOpener",
    "NoListError",
    "PlanSummary",
    "PlannedFile",
    "Skipped",
    "Source",
    "escape_path",
    "fetch_all",
    "folders_of",
    "has_magic",
    "is_collection",
    "is_member",
    "largest_folders",
    "left_out_words",
    "open_table",
    "position_of",
    "split_plan",
    "suffix_counts",
    "suffix_of",
    "write_plan",
]
