from .csv_list import read_csv as read_csv
from .manifest import Manifest as Manifest
from .manifest import is_known_speaker as is_known_speaker
from .manifest import read_manifests as read_manifests
from .manifest import rows_to_table as rows_to_table
from .manifest import write_manifest as write_manifest
from .names import Corpus as Corpus
from .reading import FoundClips as FoundClips
from .reading import read_corpus as read_corpus
from .registry import CORPORA as CORPORA
from .registry import intensity_of as intensity_of
from .words import parse_columns as parse_columns
from .words import parse_label_map as parse_label_map

__all__ = [
    "CORPORA",
    "Corpus",
    "FoundClips",
    "Manifest",
    "intensity_of",
    "is_known_speaker",
    "parse_columns",
    "parse_label_map",
    "read_corpus",
    "read_csv",
    "read_manifests",
    "rows_to_table",
    "write_manifest",
]
