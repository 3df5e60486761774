"""nEMO: acted Polish speech, 9 actors, 6 emotions (Christop 2024, arXiv 2404.06292).

A file is named `EB0_anger_1.wav`: speaker, emotion, sentence. The same sentence has the same number with every speaker
and emotion. The speakers' genders are those of the corpus's data.tsv.
"""

import re
from pathlib import Path

from ser_core.corpora.names import ClipName, Corpus

EMOTIONS = {
    "anger": "angry",
    "fear": "fearful",
    "happiness": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprised": "surprised",
}
_GENDERS = {
    "EB0": "female",
    "IC0": "female",
    "KD0": "female",
    "KS0": "male",
    "MK0": "female",
    "MP0": "male",
    "SM0": "male",
    "TP0": "male",
    "WR0": "male",
}
_NAME = re.compile(rf"({'|'.join(_GENDERS)})_({'|'.join(EMOTIONS)})_([1-9]\d?)")


def parse(path: str) -> ClipName | None:
    """Read a name."""
    match = _NAME.fullmatch(Path(path).stem)
    if match is None:
        return None
    speaker, emotion, sentence = match.groups()
    return ClipName(
        clip=match[0],
        emotion=EMOTIONS[emotion],
        speaker=f"nemo-{speaker}",
        gender=_GENDERS[speaker],
        language="pl",
        statement=sentence,
    )


CORPUS = Corpus(
    name="nemo",
    licence="CC BY-NC-SA 4.0 (Christop 2024, LREC-COLING, arXiv 2404.06292)",
    emotions=frozenset(EMOTIONS.values()),
    example="EB0_anger_1.wav",
    parse=parse,
)
