"""RAVDESS: acted English speech, 24 actors, 8 emotions (Livingstone & Russo 2018, doi 10.1371/journal.pone.0196391).

A file is named `03-01-06-01-02-01-12.wav`: modality, vocal channel, emotion, intensity, statement, repetition, actor.
"""

import re
from pathlib import Path

from ser_core.corpora.names import Archive, ClipName, Corpus, LeftOut
from ser_core.vocabulary import LABELS

LICENCE = "CC BY-NC-SA 4.0"

_NAME = re.compile(r"(0[1-3])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])")
_VIDEO_ONLY = 2
_SONG = 2
_INTENSITIES = ("normal", "strong")
_STATEMENTS = ("Kids are talking by the door", "Dogs are sitting by the door")


def parse(path: str) -> ClipName | LeftOut | None:
    """Read a name; song, and video without sound, are left out."""
    match = _NAME.fullmatch(Path(path).stem)
    if match is None:
        return None
    modality, vocal_channel, emotion, intensity, statement, _, actor = map(int, match.groups())
    if modality == _VIDEO_ONLY:
        return LeftOut("video without sound")
    if vocal_channel == _SONG:
        return LeftOut("song, not speech")
    return ClipName(
        clip=match[0],
        emotion=LABELS[emotion - 1],
        speaker=f"ravdess-{actor:02d}",
        gender="male" if actor % 2 else "female",
        language="en",
        statement=_STATEMENTS[statement - 1],
        intensity=_INTENSITIES[intensity - 1],
    )


CORPUS = Corpus(
    name="ravdess",
    licence=f"{LICENCE} (Livingstone & Russo 2018, doi 10.1371/journal.pone.0196391)",
    emotions=frozenset(LABELS),
    example="03-01-06-01-02-01-12.wav",
    parse=parse,
    archive=Archive(
        folder_variable="SER_ZENODO_URL",
        folder_url="https://zenodo.org/records/1188976/files",
        name="Audio_Speech_Actors_01-24.zip",
        known_hash="md5:bc696df654c87fed845eb13823edef8a",
        max_bytes=2 * 2**30,
        max_files=5_000,
    ),
)
