"""What names say in each corpus, and what becomes of a folder of them."""

import inspect
import itertools
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from ser_core import storage
from ser_core.corpora import crema_d, emodb, nemo, ravdess, savee, tess
from ser_core.corpora.csv_list import read_csv
from ser_core.corpora.names import ClipName, LeftOut
from ser_core.corpora.reading import FoundClips, read_corpus
from ser_core.corpora.registry import CORPORA
from ser_core.errors import SourceError, UsageError
from ser_core.vocabulary import LABELS
from tests.conftest import S3Server
from tests.support.containers import tar_of

#: For each corpus a path, the label, the speaker and the gender.
KNOWN = [
    ("ravdess", "Actor_12/03-01-06-01-02-01-12.wav", "fearful", "ravdess-12", "female"),
    ("ravdess", "03-01-01-01-01-01-01.WAV", "neutral", "ravdess-01", "male"),
    ("nemo", "samples/WR0_surprised_64.wav", "surprised", "nemo-WR0", "male"),
    ("nemo", "EB0_anger_7.opus", "angry", "nemo-EB0", "female"),
    ("emodb", "wav/03a01Fa.wav", "happy", "emodb-03", "male"),
    ("emodb", "16b10Wb.wav", "angry", "emodb-16", "female"),
    ("crema-d", "AudioWAV/1001_DFA_ANG_XX.wav", "angry", "crema-d-1001", "male"),
    ("crema-d", "1040_ITH_SAD_X.wav", "sad", "crema-d-1040", "male"),
    ("crema-d", "1091_IEO_DIS_HI.wav", "disgust", "crema-d-1091", "female"),
    ("tess", "OAF_Pleasant_surprise/OAF_back_ps.wav", "surprised", "tess-OAF", "female"),
    ("tess", "OAF_neutral/OA_bite_neutral.wav", "neutral", "tess-OAF", "female"),
    ("savee", "ALL/DC_a01.wav", "angry", "savee-DC", "male"),
    ("savee", "AudioData/KL/su15.wav", "surprised", "savee-KL", "male"),
]
#: For each corpus stems that are none of its names.
UNKNOWN = {
    "ravdess": ["", "03-01-09-01-01-01-01", "03-01-06-01-02-01-25", "03-01-06-01-02-01", "03-01-06-01-02-01-12-copy"],
    "nemo": ["XX0_anger_1", "EB0_joy_1", "EB0_anger_0", "EB0_anger", "EB0_anger_1 (1)"],
    "emodb": ["01a01Fa", "03c01Fa", "03a01Xa", "03a01", "03a01Fab"],
    "crema-d": ["1092_DFA_ANG_XX", "1000_DFA_ANG_XX", "1001_ABC_ANG_XX", "1001_DFA_SUR_XX", "1001_DFA_ANG_ZZ"],
    "tess": ["OA_dog_neutral", "XAF_dog_sad", "OAF_dog_joy", "OAF_dog"],
    "savee": ["a01", "XX_a01", "DC_x01", "DC_a1"],
}


def test_every_corpus_is_tried() -> None:
    assert {name for name, *_ in KNOWN} == set(UNKNOWN) == set(CORPORA)
    assert all(corpus.name == name and corpus.licence for name, corpus in CORPORA.items())
    assert all(isinstance(corpus.parse(corpus.example), ClipName) for corpus in CORPORA.values())


def test_a_corpus_is_one_file_and_one_line() -> None:
    room = Path(inspect.getfile(ravdess)).parent
    defining = {file.stem for file in room.glob("*.py") if re.search("^CORPUS = ", file.read_text(), re.MULTILINE)}
    assert {name.replace("-", "_") for name in CORPORA} == defining
    sources = [file for folder in ("ser_core", "cluster", "jobs") for file in (room.parents[1] / folder).rglob("*.py")]
    naming = {file.name for file in sources if re.search("crema.d|savee", file.read_text())}
    assert naming == {"crema_d.py", "savee.py", "registry.py"}


@pytest.mark.parametrize(("corpus", "path", "emotion", "speaker", "gender"), KNOWN)
def test_a_name_says_what_the_corpus_documents(corpus: str, path: str, emotion: str, speaker: str, gender: str) -> None:
    found = CORPORA[corpus].parse(f"/data/{path}")
    assert isinstance(found, ClipName)
    assert (found.emotion, found.speaker, found.gender) == (emotion, speaker, gender)


@pytest.mark.parametrize(("corpus", "stem"), [(name, stem) for name, stems in UNKNOWN.items() for stem in stems])
def test_other_names_are_not_guessed(corpus: str, stem: str) -> None:
    assert CORPORA[corpus].parse(f"/data/{stem}.wav") is None


@pytest.mark.parametrize("corpus", CORPORA)
def test_emotions_have_common_labels(corpus: str) -> None:
    assert CORPORA[corpus].emotions
    assert CORPORA[corpus].emotions <= set(LABELS)
    emotion = {name: label for of, name, label, *_ in KNOWN if of == corpus}
    assert set(emotion.values()) <= CORPORA[corpus].emotions


@pytest.mark.parametrize("emotions", [module.EMOTIONS for module in (nemo, emodb, crema_d, tess, savee)])
def test_no_two_codes_are_one_emotion(emotions: dict[str, str]) -> None:
    assert len(set(emotions.values())) == len(emotions)


def test_a_name_of_ravdess_is_read_whole() -> None:
    assert ravdess.parse("03-01-06-02-02-01-12.wav") == ClipName(
        clip="03-01-06-02-02-01-12",
        emotion="fearful",
        speaker="ravdess-12",
        gender="female",
        language="en",
        statement="Dogs are sitting by the door",
        intensity="strong",
    )


@pytest.mark.parametrize("code", range(1, 9))
def test_emotions_of_ravdess_are_numbered_as_the_labels(code: int) -> None:
    found = ravdess.parse(f"03-01-{code:02d}-01-01-01-01.flac")
    assert isinstance(found, ClipName)
    assert found.emotion == LABELS[code - 1]


def test_what_is_known_but_no_clip_to_learn_from() -> None:
    assert ravdess.parse("03-02-05-01-01-01-03.wav") == LeftOut("song, not speech")
    assert ravdess.parse("02-01-05-01-01-01-03.mp4") == LeftOut("video without sound")
    assert emodb.parse("03a01La.wav") == LeftOut("boredom, which has no common label")


def test_actors_of_crema_d_are_43_women_and_48_men() -> None:
    names = [crema_d.parse(f"{actor}_DFA_ANG_XX.wav") for actor in range(1001, 1092)]
    assert Counter(name.gender for name in names if name is not None) == {"female": 43, "male": 48}


def write(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def reasons(found: FoundClips) -> Counter[str]:
    return Counter(file.reason for file in found.left_out)


def names_of(found: FoundClips) -> list[str]:
    return [path.rsplit("/", 1)[-1] for path in found.table["path"].to_pylist()]


@pytest.mark.parametrize("folder", ["", "Actor_03/"])
def test_a_folder_may_be_flat_or_not(tmp_path: Path, folder: str) -> None:
    write(
        tmp_path,
        f"{folder}03-01-05-01-01-01-03.wav",
        f"{folder}03-02-05-01-01-01-03.wav",
        f"{folder}02-01-05-01-01-01-03.mp4",
        f"{folder}01-01-05-01-01-01-03.mp4",
        f"{folder}noise.wav",
        f"{folder}.03-01-05-01-01-01-04.wav",
        f"{folder}03-01-05-01-01-01-05.txt",
    )
    found = read_corpus(CORPORA["ravdess"], str(tmp_path))
    [row] = found.table.to_pylist()
    assert row["path"] == f"{tmp_path}/{folder}03-01-05-01-01-01-03.wav"
    assert (row["corpus"], row["emotion"]) == ("ravdess", "angry")
    assert reasons(found) == {
        "song, not speech": 1,
        "video without sound": 1,
        "not audio (.mp4)": 1,
        "not audio (.txt)": 1,
        "not named as ravdess names its clips (03-01-06-01-02-01-12.wav)": 1,
    }
    assert [Path(file.path).name for file in found.left_out if not file.is_expected] == ["noise.wav"]
    assert found.num_hidden == 1


def test_a_copy_of_a_clip_is_taken_once(tmp_path: Path) -> None:
    """As some distributions hold their clips twice."""
    name = "03-01-05-01-01-01-03"
    write(tmp_path, f"Actor_03/{name}.wav", f"all/Actor_03/{name}.wav", f"flac/{name}.flac")
    found = read_corpus(CORPORA["ravdess"], str(tmp_path))
    assert found.table["path"].to_pylist() == [f"{tmp_path}/Actor_03/{name}.wav"]
    assert reasons(found) == {"another copy of a clip": 2}


def test_a_folder_of_one_speaker_tells_who_speaks(tmp_path: Path) -> None:
    folder = write(tmp_path / "DC", "a01.wav", "sa02.wav")
    found = read_corpus(CORPORA["savee"], str(folder))
    assert set(found.table["speaker"].to_pylist()) == {"savee-DC"}
    assert found.table["emotion"].to_pylist() == ["angry", "sad"]


def test_an_actor_has_sixty_balanced_clips(tmp_path: Path) -> None:
    for emotion, intensity, statement, repetition in itertools.product(range(1, 9), (1, 2), (1, 2), (1, 2)):
        if (emotion, intensity) != (1, 2):
            write(tmp_path, f"03-01-{emotion:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}-01.wav")
    counts = Counter(read_corpus(CORPORA["ravdess"], str(tmp_path)).table["emotion"].to_pylist())
    assert counts == Counter({label: 4 if label == "neutral" else 8 for label in LABELS})


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    write(tmp_path, "03a01Fa.wav")
    (tmp_path / "03a02Fa.wav").symlink_to(tmp_path / "gone.wav")
    (tmp_path / "03a04Fa\udcff.wav").touch()
    found = read_corpus(CORPORA["emodb"], str(tmp_path))
    assert names_of(found) == ["03a01Fa.wav"]
    assert reasons(found) == {"cannot be read, or is not there": 1, "the path is no UTF-8": 1}


def test_a_folder_without_clips_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a.wav")
    with pytest.raises(SourceError, match=rf"{tmp_path}: no clip of tess \(OAF_back_ps.wav\).* holds {tmp_path}/a.wav"):
        read_corpus(CORPORA["tess"], str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="it is empty"):
        read_corpus(CORPORA["tess"], str(tmp_path / "empty"))
    with pytest.raises(SourceError, match="does not exist"):
        read_corpus(CORPORA["tess"], str(tmp_path / "gone"))


def test_a_bucket_is_read_as_a_folder(moto_s3: S3Server) -> None:
    for name in ("Actor_03/03-01-05-01-01-01-03.wav", "Actor_03/03-02-05-01-01-01-03.wav", "notes.txt"):
        storage.put(moto_s3.location.join(name), b"x")
    found = read_corpus(CORPORA["ravdess"], moto_s3.location.url)
    assert found.table["path"].to_pylist() == [f"{moto_s3.location.url}/Actor_03/03-01-05-01-01-01-03.wav"]
    assert reasons(found) == {"song, not speech": 1, "not audio (.txt)": 1}
    storage.put(moto_s3.location.join("mine.csv"), b"path,emotion,speaker\nnotes.txt,joy,1\ngone.wav,joy,1\n")
    mine = read_csv(f"{moto_s3.location.url}/mine.csv", None, None, frozenset())
    assert mine.table["path"].to_pylist() == [f"{moto_s3.location.url}/notes.txt"]
    assert [file.path for file in mine.left_out] == [f"{moto_s3.location.url}/gone.wav"]


def test_clips_in_an_archive_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar_of([("Actor_03/03-01-05-01-01-01-03.wav", b"x")]))
    with pytest.raises(SourceError, match=r"x\.tar: holds clips in an archive or a table; unpack it"):
        read_corpus(CORPORA["ravdess"], str(tmp_path / "x.tar"))


TAKEN = frozenset(CORPORA)


def test_a_list_of_ones_own(tmp_path: Path) -> None:
    write(tmp_path, "a.wav", "sub/b.wav", "c.wav", "elsewhere/d.wav", "e.wav")
    (tmp_path / "lists").mkdir()
    file = tmp_path / "lists" / "Mine.csv"
    rows = [
        "speaker,path,emotion,gender,language,statement,notes",
        "1,../a.wav,Happiness,F,,Hello,x",
        f"01,{tmp_path}/sub/b.wav,sad,male,fr,,",
        "2,../c.wav,Überdruss,,,,",
        "2,../gone.wav,sad,,,,",
        ",../elsewhere/d.wav,sad,,,,",
        "2,,sad,,,,",
        "2,../e.wav,fear,other,,,",
    ]
    file.write_text("\n".join(rows))
    found = read_csv(str(file), None, "de", TAKEN)
    a, b, e = found.table.to_pylist()
    assert (a["corpus"], a["emotion"], a["speaker"]) == ("mine", "happy", "mine-1")
    assert (a["gender"], a["language"], a["statement"]) == ("female", "de", "Hello")
    assert (b["path"], b["speaker"], b["gender"], b["language"]) == (
        f"{tmp_path}/sub/b.wav",
        "mine-1",
        "male",
        "fr",
    )
    assert (e["emotion"], e["gender"]) == ("fearful", "other")
    assert [(Path(left.path).name, left.reason) for left in found.left_out] == [
        (
            "c.wav",
            "emotion 'Überdruss' can be no label (it must be a lower-case word (a-z, 0-9, _) of 64 letters at most); "
            "--map 'WORD=LABEL' says which it is",
        ),
        ("gone.wav", "cannot be read, or is not there"),
        ("d.wav", "no speaker"),
        ("row 6", "no path"),
    ]


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        ("path,label\na.wav,sad\n", None, "no column 'emotion', only 'path', 'label'; --columns 'NAME=emotion' says"),
        ("path,emotion,speaker\na.wav,no_speech,1\n", None, "holds no clip; .*a.wav: emotion 'no_speech'"),
        ("path,emotion,speaker\n", None, "holds no clip"),
        ("", None, "it is empty"),
    ],
)
def test_what_is_no_list_of_clips_is_one_line(tmp_path: Path, content: str, name: str | None, words: str) -> None:
    write(tmp_path, "a.wav")
    (tmp_path / "mine.csv").write_text(content)
    with pytest.raises(SourceError, match=words) as caught:
        read_csv(str(tmp_path / "mine.csv"), name, None, TAKEN)
    assert "\n" not in str(caught.value)
    assert "mine.csv" in str(caught.value)


@pytest.fixture
def odd_folder(tmp_path: Path) -> Path:
    """A folder whose name is no UTF-8."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    return folder


def test_a_list_in_a_folder_that_is_no_utf_8(tmp_path: Path, odd_folder: Path) -> None:
    write(tmp_path, "a.wav")
    write(odd_folder, "b.wav")
    file = odd_folder / "mine.csv"
    file.write_text(f"path,emotion,speaker\n{tmp_path}/a.wav,sad,1\nb.wav,sad,1\n")
    found = read_csv(str(file), None, None, TAKEN)
    assert found.table["path"].to_pylist() == [f"{tmp_path}/a.wav"]
    assert [(left.path, left.reason) for left in found.left_out] == [(f"{odd_folder}/b.wav", "the path is no UTF-8")]
    file.write_text("path,emotion,speaker\nb.wav,sad,1\n")
    with pytest.raises(SourceError, match=r"/\\xff/mine.csv: holds no clip; .*/\\xff/b.wav: the path is no UTF-8$"):
        read_csv(str(file), None, None, TAKEN)


def test_a_list_whose_own_name_is_no_utf_8(tmp_path: Path) -> None:
    write(tmp_path, "a.wav")
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.csv"))
    file.write_text("path,emotion,speaker\na.wav,sad,1\n")
    with pytest.raises(UsageError, match=r"^'\\xff' cannot name a corpus; give --name"):
        read_csv(str(file), None, None, TAKEN)
    assert len(read_csv(str(file), "mine", None, TAKEN).table) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"path,emotion,speaker,path\na.wav,sad,1,a.wav\n", "the column 'path' is there twice"),
        (b"path,emotion,speaker,gender,gender\na.wav,sad,1,f,f\n", "the column 'gender' is there twice"),
        (b"path,emotion,speaker\na\xff.wav,sad,1\n", "holds no clip; .*: the path is no UTF-8"),
        (b"\x00\xff\x00", "no column 'path'"),
    ],
)
def test_an_odd_list_is_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    write(tmp_path, "a.wav")
    (tmp_path / "mine.csv").write_bytes(content)
    with pytest.raises(SourceError, match=f"mine.csv: .*({words})") as caught:
        read_csv(str(tmp_path / "mine.csv"), None, None, TAKEN)
    assert "\n" not in str(caught.value)


def test_names_of_other_corpora_are_taken(tmp_path: Path) -> None:
    write(tmp_path, "a.wav", "ravdess.csv")
    for name, words in ((None, "'ravdess' is another corpus"), ("a b", "'a b' cannot name a corpus")):
        with pytest.raises(UsageError, match=words):
            read_csv(str(tmp_path / "ravdess.csv"), name, None, TAKEN)
    for path in (tmp_path, tmp_path / "a.wav"):
        with pytest.raises(UsageError, match=r"give a \.csv file with the columns path, emotion"):
            read_csv(str(path), None, None, TAKEN)
