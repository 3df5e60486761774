"""EmoDB: acted German speech, 10 actors, 7 emotions (Burkhardt et al. 2005, doi 10.21437/Interspeech.2005-446).

A file is named `03a01Fa.wav`: speaker, text, emotion (the first letter of its German name), version. The speakers'
genders are those of the corpus's own documentation.
"""

import re
from pathlib import Path

from ser_core.corpora.names import ClipName, Corpus, LeftOut

#: Wut, Ekel, Angst, Freude, Trauer, neutral.
EMOTIONS = {"W": "angry", "E": "disgust", "A": "fearful", "F": "happy", "T": "sad", "N": "neutral"}
_BOREDOM = "L"
_MEN = ("03", "10", "11", "12", "15")
_WOMEN = ("08", "09", "13", "14", "16")
_NAME = re.compile(rf"({'|'.join(_MEN + _WOMEN)})([ab]\d\d)([{''.join(EMOTIONS)}{_BOREDOM}])([a-z]?)")


def parse(path: str) -> ClipName | LeftOut | None:
    """Read a name; boredom is left out."""
    match = _NAME.fullmatch(Path(path).stem)
    if match is None:
        return None
    speaker, text, emotion, _ = match.groups()
    if emotion == _BOREDOM:
        return LeftOut("boredom, which has no common label")
    return ClipName(
        clip=match[0],
        emotion=EMOTIONS[emotion],
        speaker=f"emodb-{speaker}",
        gender="male" if speaker in _MEN else "female",
        language="de",
        statement=text,
    )


CORPUS = Corpus(
    name="emodb",
    licence="CC0 1.0, as audEERING publishes it (Burkhardt et al. 2005, doi 10.21437/Interspeech.2005-446)",
    emotions=frozenset(EMOTIONS.values()),
    example="03a01Fa.wav",
    parse=parse,
)
