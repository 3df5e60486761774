"""TESS: acted English words, 2 women, 7 emotions (Pichora-Fuller & Dupuis 2020, doi 10.5683/SP2/E8H2MF).

A file is named `OAF_back_ps.wav`: speaker, word, emotion (`ps`: pleasant surprise). Each word is spoken in the
sentence "Say the word ...".
"""

import re
from pathlib import Path

from ser_core.corpora.names import ClipName, Corpus

EMOTIONS = {
    "neutral": "neutral",
    "happy": "happy",
    "sad": "sad",
    "angry": "angry",
    "fear": "fearful",
    "disgust": "disgust",
    "ps": "surprised",
}
_NAME = re.compile(rf"(OAF|YAF)_([a-z]+)_({'|'.join(EMOTIONS)})")
#: The corpus has this one misnamed.
_MISNAMED = {"OA_bite_neutral": "OAF_bite_neutral"}


def parse(path: str) -> ClipName | None:
    """Read a name."""
    stem = Path(path).stem
    clip = _MISNAMED.get(stem, stem)
    match = _NAME.fullmatch(clip)
    if match is None:
        return None
    speaker, word, emotion = match.groups()
    return ClipName(
        clip=clip,
        emotion=EMOTIONS[emotion],
        speaker=f"tess-{speaker}",
        gender="female",
        language="en",
        statement=f"Say the word {word}",
    )


CORPUS = Corpus(
    name="tess",
    licence="CC BY-NC-ND 4.0 (Pichora-Fuller & Dupuis 2020, doi 10.5683/SP2/E8H2MF)",
    emotions=frozenset(EMOTIONS.values()),
    example="OAF_back_ps.wav",
    parse=parse,
)
