"""Labels: what may be one, and the order in which a model has those of its clips."""

import re
from collections.abc import Iterable

from ser_core.vocabulary import LABELS, NO_SPEECH

#: Most labels of a model: as many as the tables were tried with.
MAX_LABELS = 256
#: A label becomes a column's name, and a folder's that every Hive reader must take for a text, as it stands.
_WORD = re.compile(r"[a-z][a-z0-9_]{0,63}")
#: Of a folder's name polars takes these for truth values, DuckDB those for days.
_NO_TEXT = frozenset({"true", "false", "infinity", "epoch"})


def label_fault(label: str) -> str | None:
    """Why a text can be no label, as the end of a sentence; None if it can."""
    if not _WORD.fullmatch(label):
        return "must be a lower-case word (a-z, 0-9, _) of 64 letters at most"
    if label == NO_SPEECH:
        return "says that there is no emotion to judge; no model may have it as a label"
    if label in _NO_TEXT:
        return "is taken for another kind of value by readers of the tables; give it another word"
    return None


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Each label once: the common ones in their order, then those of one's own by name."""
    found = set(labels)
    return (*(label for label in LABELS if label in found), *sorted(found - set(LABELS)))
