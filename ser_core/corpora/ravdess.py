"""RAVDESS: acted English speech, 24 actors, 8 emotions (Livingstone & Russo 2018, doi 10.1371/journal.pone.0196391).

A file is named `03-01-06-01-02-01-12.wav`: modality, vocal channel, emotion, intensity, statement, repetition, actor.
"""

import re
from pathlib import Path

from ser_core.corpora.names import Archive, Clip, ClipName, Corpus, LeftOut
from ser_core.errors import SourceError
from ser_core.vocabulary import LABELS

LICENCE = "CC BY-NC-SA 4.0"

_NAME = re.compile(r"(0[1-3])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])")
_MODALITIES = ("full-av", "video-only", "audio-only")
_VOCAL_CHANNELS = ("speech", "song")
_INTENSITIES = ("normal", "strong")
_STATEMENTS = ("Kids are talking by the door", "Dogs are sitting by the door")
_AUDIO_SUFFIXES = {".wav", ".flac"}


def parse(path: str) -> ClipName | LeftOut | None:
    """Read a name; song, and video without sound, are left out."""
    stem = Path(path).stem
    match = _NAME.fullmatch(stem)
    if match is None:
        return None
    modality, vocal_channel, emotion, intensity, statement, repetition, actor = map(int, match.groups())
    if _MODALITIES[modality - 1] == "video-only":
        return LeftOut("video without sound")
    if _VOCAL_CHANNELS[vocal_channel - 1] == "song":
        return LeftOut("song, not speech")
    return ClipName(
        clip=stem,
        emotion=LABELS[emotion - 1],
        speaker=speaker_id(actor),
        gender="male" if actor % 2 else "female",
        language="en",
        modality=_MODALITIES[modality - 1],
        vocal_channel=_VOCAL_CHANNELS[vocal_channel - 1],
        intensity=_INTENSITIES[intensity - 1],
        statement=_STATEMENTS[statement - 1],
        repetition=repetition,
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


def speech_clips(folder: Path) -> list[Clip]:
    """The audio clips of speech (not song) below a folder, sorted.

    Raises:
        SourceError: there is none.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _AUDIO_SUFFIXES)
    named = [(file, parse(str(file))) for file in files]
    clips = [
        Clip(file=file, emotion=name.emotion, speaker=name.speaker)
        for file, name in named
        if isinstance(name, ClipName)
    ]
    if not clips:
        raise SourceError(f"{folder}: no RAVDESS speech clip ({CORPUS.example}) below it")
    return clips


def speaker_id(actor: int) -> str:
    """The speaker's name for an actor's number."""
    return f"ravdess-{actor:02d}"
