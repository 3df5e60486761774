"""TESS: acted English words, 2 women, 7 emotions (Pichora-Fuller & Dupuis 2020, doi 10.5683/SP2/E8H2MF).

CC BY-NC-ND 4.0. A file is named `OAF_back_ps.wav`: speaker, word, emotion (`ps`: pleasant surprise).
"""

from pathlib import Path

from ser_core.corpora.names import Clip
from ser_core.errors import SourceError

EMOTIONS = {
    "neutral": "neutral",
    "happy": "happy",
    "sad": "sad",
    "angry": "angry",
    "fear": "fearful",
    "disgust": "disgust",
    "ps": "surprised",
}


def speech_clips(folder: Path) -> list[Clip]:
    """The clips below a folder, sorted; files of other names are not among them.

    Raises:
        SourceError: there is none.
    """
    named = [(file, file.stem.split("_")) for file in sorted(folder.rglob("*_*_*.*"))]
    clips = [
        Clip(file=file, emotion=EMOTIONS[parts[2]], speaker=f"tess-{parts[0]}")
        for file, parts in named
        if len(parts) == 3 and parts[2] in EMOTIONS
    ]
    if not clips:
        raise SourceError(f"{folder}: no TESS clip (OAF_back_ps.wav) below it")
    return clips
