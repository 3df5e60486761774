from collections import Counter
from pathlib import Path

import pytest

from ser_core.corpora import LABELS, ravdess, tess
from ser_core.errors import SourceError


def test_a_name_says_what_the_corpus_documents() -> None:
    name = ravdess.parse_name(Path("Actor_12/03-01-06-01-02-01-12.wav"))
    assert name == ravdess.RavdessName(
        modality="audio-only",
        vocal_channel="speech",
        emotion="fearful",
        intensity="normal",
        statement="Dogs are sitting by the door",
        repetition=1,
        actor=12,
    )
    assert name.gender == "female"


@pytest.mark.parametrize("code", range(1, 9))
def test_emotions_are_numbered_as_the_labels(code: int) -> None:
    name = ravdess.parse_name(Path(f"03-01-{code:02d}-01-01-01-01.flac"))
    assert name is not None
    assert name.emotion == LABELS[code - 1]


@pytest.mark.parametrize(
    "stem", ["", "03-01-09-01-01-01-01", "03-01-06-01-02-01-25", "03-01-06-01-02-01", "03-01-06-01-02-01-12-copy"]
)
def test_other_names_are_not_guessed(stem: str) -> None:
    assert ravdess.parse_name(Path(f"{stem}.wav")) is None


def test_only_speech_is_listed_with_its_speaker(tmp_path: Path) -> None:
    for name in ("03-01-05-01-01-01-03.wav", "03-02-05-01-01-01-03.wav", "notes.wav", "03-01-05-01-01-01-04.txt"):
        (tmp_path / "Actor_03").mkdir(exist_ok=True)
        (tmp_path / "Actor_03" / name).touch()
    clips = ravdess.speech_clips(tmp_path)
    assert [(clip.file.name, clip.emotion, clip.speaker) for clip in clips] == [
        ("03-01-05-01-01-01-03.wav", "angry", "ravdess-03")
    ]


def test_a_folder_without_clips_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"{tmp_path}: no RAVDESS speech clip"):
        ravdess.speech_clips(tmp_path)


def test_an_actor_has_sixty_balanced_clips(tmp_path: Path) -> None:
    for emotion in range(1, 9):
        for intensity in (1,) if emotion == 1 else (1, 2):
            for statement, repetition in ((1, 1), (1, 2), (2, 1), (2, 2)):
                (tmp_path / f"03-01-{emotion:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}-01.wav").touch()
    counts = Counter(clip.emotion for clip in ravdess.speech_clips(tmp_path))
    assert counts == Counter({label: 4 if label == "neutral" else 8 for label in LABELS})


def test_tess_emotions_are_mapped_to_the_common_labels(tmp_path: Path) -> None:
    for name in ("OAF_back_ps.wav", "YAF_dog_fear.opus", "YAF_dog_joy.wav", "notes_of_angry_people.txt"):
        (tmp_path / name).touch()
    clips = tess.speech_clips(tmp_path)
    assert [(clip.emotion, clip.speaker) for clip in clips] == [("surprised", "tess-OAF"), ("fearful", "tess-YAF")]
    assert set(tess.EMOTIONS.values()) == set(LABELS) - {"calm"}


def test_a_folder_without_tess_clips_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"{tmp_path}: no TESS clip"):
        tess.speech_clips(tmp_path)
