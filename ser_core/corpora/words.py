"""What people write in lists of clips: words and codes of emotions, speakers' names, and nothing in many ways."""

import re
from collections.abc import Mapping

from ser_core.errors import UsageError
from ser_core.labels import label_fault
from ser_core.settings import short

#: What a list of clips can tell of each; the first two it must.
COLUMNS = ("path", "emotion", "speaker", "gender", "language", "statement")
#: What `--map` has in the place of a label where a word's rows are of no use.
LEFT_OUT = ""
_BETWEEN_WORDS = re.compile(r"[\s-]+")
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
    """The label that a word means, by `label_map` first, then a common one, then one's own; None if it can be none."""
    word = word.strip().lower()
    label = label_map.get(word) or _SYNONYMS.get(word) or _BETWEEN_WORDS.sub("_", word)
    return None if label_fault(label) else label


def no_label(word: str, label_map: Mapping[str, str]) -> str | None:
    """Why a word means no label, None if it means one."""
    shown = short(word.strip())
    if label_map.get(word.strip().lower()) == LEFT_OUT:
        return f"--map leaves emotion {shown} out"
    if label_of(word, label_map) is None:
        fault = label_fault(_BETWEEN_WORDS.sub("_", word.strip().lower()))
        return f"emotion {shown} can be no label (it {fault}); --map 'WORD=LABEL' says which it is"
    return None


def speaker_id(name: str) -> str:
    """The same for every spelling of a speaker: whatever the case and the spaces are; 1, 01, 1.0 and 1,0 are one."""
    key = "".join(name.split()).casefold()
    number = _NUMBER.fullmatch(key)
    return number[1] if number else key


def parse_columns(text: str) -> dict[str, str]:
    """Read `--columns`: "file=path,label=emotion" -> the column of the list, in lower case, by the name it stands for.

    Raises:
        UsageError: it is written otherwise, names none of COLUMNS, or one or a column twice.
    """
    found: dict[str, str] = {}
    for pair in text.split(","):
        column, _, name = (part.strip().lower() for part in pair.partition("="))
        if not column or name not in COLUMNS:
            raise UsageError(
                f"--columns {short(pair.strip())}: write COLUMN=NAME, with commas between; NAME is one of "
                f"{', '.join(COLUMNS)}"
            )
        if name in found or column in found.values():
            raise UsageError(
                f"--columns {short(pair.strip())}: {short(name if name in found else column)} is there twice"
            )
        found[name] = column
    return found


def parse_label_map(text: str) -> dict[str, str]:
    """Read `--map`: "frustrated=angry,exc=excited,xxx="; what a word means is a label, or nothing: LEFT_OUT.

    Raises:
        UsageError: it is written otherwise, a label can be none, or a word means two.
    """
    found: dict[str, str] = {}
    for pair in text.split(","):
        word, equals, label = (part.strip().lower() for part in pair.partition("="))
        if not word or not equals:
            raise UsageError(f"--map {short(pair.strip())}: write WORD=LABEL, with commas between")
        meant = label_of(label, {}) if label else LEFT_OUT
        if meant is None:
            raise UsageError(f"--map {short(word)}: the label {short(label)} {label_fault(label)}")
        if found.setdefault(word, meant) != meant:
            raise UsageError(f"--map: the word {short(word)} is there twice; leave one")
    return found
