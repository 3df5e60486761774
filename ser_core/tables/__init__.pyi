from .fingerprint import Fingerprint as Fingerprint
from .output import Comparison as Comparison
from .output import OpenOutput as OpenOutput
from .output import Output as Output
from .output import Run as Run
from .output import Tally as Tally
from .rows import Assembler as Assembler
from .rows import RowSettings as RowSettings
from .rows import Totals as Totals

__all__ = [
    "Assembler",
    "Comparison",
    "Fingerprint",
    "OpenOutput",
    "Output",
    "RowSettings",
    "Run",
    "Tally",
    "Totals",
]
