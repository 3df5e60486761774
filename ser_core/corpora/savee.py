"""SAVEE: acted English speech, 4 men, 7 emotions (Haq & Jackson 2010, University of Surrey).

A file is named `DC_a01.wav`, or `a01.wav` in a folder `DC`: speaker, emotion, number. A number is no sentence's: some
sentences are the same in all emotions and others are not, so no statement is given.
"""

import re
from pathlib import PurePosixPath

from ser_core.corpora.names import ClipName, Corpus

EMOTIONS = {
    "a": "angry",
    "d": "disgust",
    "f": "fearful",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprised",
}
_NAME = re.compile(rf"(DC|JE|JK|KL)[_/]({'|'.join(EMOTIONS)})(\d\d)")


def parse(path: str) -> ClipName | None:
    """Read a name, with its folder's where it does not begin with the speaker."""
    pure = PurePosixPath(path)
    match = _NAME.fullmatch(pure.stem) or _NAME.fullmatch(f"{pure.parent.name}/{pure.stem}")
    if match is None:
        return None
    speaker, emotion, number = match.groups()
    return ClipName(
        clip=f"{speaker}_{emotion}{number}",
        emotion=EMOTIONS[emotion],
        speaker=f"savee-{speaker}",
        gender="male",
        language="en",
    )


CORPUS = Corpus(
    name="savee",
    licence="for research, from the University of Surrey after registration (Haq & Jackson 2010)",
    emotions=frozenset(EMOTIONS.values()),
    example="DC_a01.wav",
    parse=parse,
)
