from .adaptation_file import AdaptationFile as AdaptationFile
from .assembler import Assembler as Assembler
from .assembler import Totals as Totals
from .checks.verification import Verified as Verified
from .checks.verification import verify as verify
from .comparison import Comparison as Comparison
from .comparison import Tally as Tally
from .output import OpenOutput as OpenOutput
from .output import Output as Output
from .reading.embedded import EmbeddedOutput as EmbeddedOutput
from .reading.embedded import Embeddings as Embeddings
from .reading.neighbours import Match as Match
from .reading.neighbours import Standard as Standard
from .reading.neighbours import nearest as nearest
from .reading.neighbours import standard_of as standard_of
from .row_adaptation import RowAdaptation as RowAdaptation
from .rows import RowSettings as RowSettings
from .run import Run as Run
from .schema import Fingerprint as Fingerprint

__all__ = [
    "AdaptationFile",
    "Assembler",
    "Comparison",
    "EmbeddedOutput",
    "Embeddings",
    "Fingerprint",
    "Match",
    "OpenOutput",
    "Output",
    "RowAdaptation",
    "RowSettings",
    "Run",
    "Standard",
    "Tally",
    "Totals",
    "Verified",
    "nearest",
    "standard_of",
    "verify",
]
