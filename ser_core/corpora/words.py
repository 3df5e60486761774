"""What people write in lists of clips: words and codes of emotions, speakers' names, and nothing in many ways."""

import re
from collections.abc import Mapping

from ser_core.errors import UsageError
from ser_core.vocabulary import LABELS

#: Words and codes that mean one of the common labels; those of three letters are IEMOCAP's and its successors'.
_SYNONYMS = {
    "calmness": "calm",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "anger": "angry",
    "fear": "fearful",
    "disgusted": "disgust",
    "surprise": "surprised",
    "neu": "neutral",
    "cal": "calm",
    "hap": "happy",
    "exc": "happy",
    "sad": "sad",
    "ang": "angry",
    "fru": "angry",
    "fea": "fearful",
    "dis": "disgust",
    "sur": "surprised",
}
_NOTHING = frozenset(
    {"", "nan", "n/a", "#n/a", "na", "<na>", "none", "null", "?", "-", "--", "\N{EN DASH}", "\N{EM DASH}"}
)
_NUMBER = re.compile(r"0*(\d+)(?:[.,]0*)?")


def fact(value: str) -> str | None:
    """A value without spaces around it; None for what stands for none, as NaN, N/A and a dash."""
    stripped = value.strip()
    return None if stripped.lower() in _NOTHING else stripped


def label_of(word: str, label_map: Mapping[str, str]) -> str | None:
    """The label of LABELS that a word means, by `label_map` first; None if it is none."""
    word = word.strip().lower()
    label = label_map.get(word) or _SYNONYMS.get(word, word)
    return label if label in LABELS else None


def speaker_id(name: str) -> str:
    """The same for every spelling of a speaker: whatever the case and the spaces are; 1, 01, 1.0 and 1,0 are one."""
    key = "".join(name.split()).casefold()
    number = _NUMBER.fullmatch(key)
    return number[1] if number else key


def parse_label_map(text: str) -> dict[str, str]:
    """Read `--map`: "frustrated=angry,exc=happy".

    Raises:
        UsageError: it is written otherwise, or names a label that there is not.
    """
    found: dict[str, str] = {}
    for pair in text.split(","):
        word, equals, label = (part.strip().lower() for part in pair.partition("="))
        known = label_of(label, {})
        if not word or not equals or known is None:
            labels = ", ".join(LABELS)
            raise UsageError(f"--map '{pair.strip()}': write WORD=LABEL, with commas between; the labels are {labels}")
        found[word] = known
    return found
