"""What may be wrong with an output, each with what to do, and where it was found."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

#: Names that a finding keeps; of the others it has the number.
_NAMES_KEPT = 5


@dataclass(frozen=True)
class Problem:
    """A kind of damage, as the plural of what has it, and the way out."""

    what: str
    advice: str


_RESTORE = "restore them from a copy, or use --restart"
_RESTART = "use --restart"
_DELETE = (
    "delete their rows from both tables (docs/running.md says how) and run the same command again, which scores them "
    "anew, or use --restart"
)

GONE = Problem("parts that are gone", _RESTORE)
DAMAGED = Problem("parts that are damaged or cannot be read", _RESTORE)
FORBIDDEN = Problem("parts that this user may not read", "change their permissions, and verify again")
MISDESCRIBED = Problem("parts with other rows or paths than the log says", _RESTART)
NO_KEY = Problem("parts that have rows without a key", _RESTART)
APART = Problem("commits that the other tables do not have", _RESTART)
STRAY = Problem(
    "commits that follow another entry of the log than the one that is there",
    "run the same command again, which takes them back",
)
BAD_PROBABILITIES = Problem(
    "files with probabilities or a share of speech that cannot be, or are not of the emotion", _DELETE
)
BAD_STATUS = Problem("files whose status does not go with their windows and gaps", _DELETE)
BAD_EMBEDDINGS = Problem("files with embeddings of another length, or that are no numbers", _DELETE)
WRONG_EMBEDDINGS = Problem("files with other embeddings than windows that are judged", _DELETE)
DOUBLED_FILES = Problem(
    "files with two rows of one channel", "run the same command again, which scores such files anew"
)
TWO_VERSIONS = Problem("files with rows of two versions", _DELETE)
NO_FILE = Problem(
    "files with predictions and no row in files of that version and channel",
    "run the same command again, which lets go of them; those of files that are gone from the source, delete "
    "(docs/running.md says how)",
)
WRONG_NUMBER = Problem("files with another number of predictions than their row says", _DELETE)
WRONG_WINDOWS = Problem("files with a window twice, or windows that are not 0, 1, 2 ...", _DELETE)
FEWER_FILES = Problem("files missing that the last run had", "run the same command again, which scores them")
BAD_CONSTANTS = Problem(
    "constants of an adaptation that are gone, damaged or not those of the rows, so that no run goes on", _RESTORE
)
BAD_RECORD = Problem("records that are damaged", "run the same command again, which writes it anew")
ORPHANS = Problem(
    "Parquet files that the table does not name, but readers of plain Parquet see",
    "run the same command again, which deletes them",
)
FOREIGN = Problem("Parquet files of another program, which readers of plain Parquet see", "move them elsewhere")


@dataclass(frozen=True)
class Finding:
    """One problem of one table (or of the output, ""), with how often and where it was met first."""

    table: str
    problem: Problem
    count: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        names = ", ".join(self.names) + (", ..." if self.count > len(self.names) else "")
        return f"{self.problem.what} ({self.count}): {names}; {self.problem.advice}"


class Findings:
    """Collects them; what it keeps does not grow with their number."""

    def __init__(self) -> None:
        self._count: defaultdict[tuple[str, Problem], int] = defaultdict(int)
        self._names: defaultdict[tuple[str, Problem], list[str]] = defaultdict(list)

    def add(self, table: str, problem: Problem, names: Iterable[str], count: int | None = None) -> None:
        """Note that a problem was met at these places; `count`: the number, where not every place is named."""
        met = list(names)
        if not met:
            return
        kept = self._names[table, problem]
        kept += [name for name in dict.fromkeys(met) if name not in kept][: _NAMES_KEPT - len(kept)]
        self._count[table, problem] += len(met) if count is None else count

    def has(self, *problems: Problem) -> bool:
        return any(problem in problems for _, problem in self._count)

    def all(self) -> tuple[Finding, ...]:
        """What was found, table by table."""
        return tuple(
            Finding(table, problem, count, tuple(self._names[table, problem]))
            for (table, problem), count in sorted(self._count.items(), key=lambda item: item[0][0])
        )
