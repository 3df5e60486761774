"""RAVDESS: acted English speech, 24 actors, 8 emotions (Livingstone & Russo 2018, doi 10.1371/journal.pone.0196391).

CC BY-NC-SA 4.0. A file is named `03-01-06-01-02-01-12.wav`: modality, vocal channel, emotion, intensity, statement,
repetition, actor.
"""

import dataclasses
import re
from pathlib import Path

from ser_core.corpora.names import LABELS, Clip
from ser_core.errors import SourceError

LICENCE = "CC BY-NC-SA 4.0"

_NAME = re.compile(r"(0[1-3])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])")
_MODALITIES = ("full-av", "video-only", "audio-only")
_VOCAL_CHANNELS = ("speech", "song")
_INTENSITIES = ("normal", "strong")
_STATEMENTS = ("Kids are talking by the door", "Dogs are sitting by the door")
_AUDIO_SUFFIXES = {".wav", ".flac"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RavdessName:
    """What a file's name says."""

    modality: str
    vocal_channel: str
    emotion: str
    intensity: str
    statement: str
    repetition: int
    actor: int

    @property
    def gender(self) -> str:
        """Odd actors are men, even ones women."""
        return "male" if self.actor % 2 else "female"


def parse_name(file: Path) -> RavdessName | None:
    """Read a file's name, its suffix apart; None if it is not one of RAVDESS."""
    match = _NAME.fullmatch(file.stem)
    if match is None:
        return None
    modality, vocal_channel, emotion, intensity, statement, repetition, actor = map(int, match.groups())
    return RavdessName(
        modality=_MODALITIES[modality - 1],
        vocal_channel=_VOCAL_CHANNELS[vocal_channel - 1],
        emotion=LABELS[emotion - 1],
        intensity=_INTENSITIES[intensity - 1],
        statement=_STATEMENTS[statement - 1],
        repetition=repetition,
        actor=actor,
    )


def speech_clips(folder: Path) -> list[Clip]:
    """The audio clips of speech (not song) below a folder, sorted.

    Raises:
        SourceError: there is none.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _AUDIO_SUFFIXES)
    named = [(file, parse_name(file)) for file in files]
    clips = [
        Clip(file=file, emotion=name.emotion, speaker=speaker_id(name.actor))
        for file, name in named
        if name is not None and name.vocal_channel == "speech"
    ]
    if not clips:
        raise SourceError(f"{folder}: no RAVDESS speech clip (03-01-06-01-02-01-12.wav) below it")
    return clips


def speaker_id(actor: int) -> str:
    """The speaker of `Clip` for an actor's number."""
    return f"ravdess-{actor:02d}"
