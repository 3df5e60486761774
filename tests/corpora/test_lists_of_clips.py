"""Lists of clips as people have them: words for emotions, spellings of speakers, separators, encodings, broken rows."""

import json
from pathlib import Path

import pytest

from jobs.cli import run
from ser_core.corpora.csv_list import read_csv
from ser_core.corpora.manifest import is_known_speaker
from ser_core.corpora.reading import FoundClips
from ser_core.corpora.words import parse_columns, parse_label_map, speaker_id
from ser_core.errors import SourceError, UsageError

HEADER = "path,emotion,speaker"


def read(
    folder: Path,
    content: str | bytes,
    label_map: str = "",
    name: str = "mine.csv",
    columns: dict[str, str] | None = None,
) -> FoundClips:
    """A list of the clips 0.wav to 9.wav."""
    for number in range(10):
        (folder / f"{number}.wav").touch()
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    words = parse_label_map(label_map) if label_map else None
    return read_csv(str(folder / name), None, None, frozenset(), words, columns)


def column(found: FoundClips, name: str) -> list[str]:
    values: list[str] = found.table[name].to_pylist()
    return values


def left_out(found: FoundClips) -> list[tuple[int | None, str, str]]:
    return [(left.row, Path(left.path).name, left.reason) for left in found.left_out]


@pytest.mark.parametrize(
    "content",
    [
        f"\ufeff{HEADER}\r\n0.wav,sad,a\r\n1.wav,calm,b\r\n".replace(",", ";"),
        f"sep=;\r\n{HEADER}\r\n0.wav,sad,a\r\n1.wav,calm,b\r\n".replace(",", ";"),
        f"{HEADER}\n0.wav,sad,a\n1.wav,calm,b\n".replace(",", "\t").encode("utf-16"),
        "Speaker , Emotion , PATH\na , sad , 0.wav\nb , calm , 1.wav\n",
        "file_name,emotion,speaker\n0.wav,sad,a,\n\n1.wav,calm,b\n",
    ],
)
def test_the_readers_of_lists_read_them(content: str | bytes, tmp_path: Path) -> None:
    found = read(tmp_path, content)
    assert column(found, "path") == [f"{tmp_path}/0.wav", f"{tmp_path}/1.wav"]
    assert (column(found, "emotion"), column(found, "speaker")) == (["sad", "calm"], ["mine-a", "mine-b"])
    assert found.left_out == ()


@pytest.mark.parametrize("name", ["mine.tsv", "mine.txt"])
def test_tabs_by_their_suffix(name: str, tmp_path: Path) -> None:
    assert column(read(tmp_path, "path\temotion\tspeaker\n0.wav\tsad\t1\n", name=name), "speaker") == ["mine-1"]


def test_codes_that_corpora_share_have_their_labels(tmp_path: Path) -> None:
    codes = ["neu", "CAL", "hap", "exc", "sad", "ang", "fru", "fea", "dis", " Sur "]
    found = read(tmp_path, "\n".join([HEADER, *(f"{number}.wav,{code},1" for number, code in enumerate(codes))]))
    assert column(found, "emotion") == [
        "neutral", "calm", "happy", "happy", "sad", "angry", "angry", "fearful", "disgust", "surprised"
    ]  # fmt: skip


def test_a_map_says_what_words_mean(tmp_path: Path) -> None:
    content = f"{HEADER}\n0.wav,Frustrated,1\n1.wav,exc,1\n2.wav,zły,1\n3.wav,angry,1\n4.wav,XXX,1\n5.wav,fru,1\n"
    found = read(tmp_path, content, "frustrated=angry, EXC = Surprise, xxx=,fru=Fed up")
    assert column(found, "emotion") == ["angry", "surprised", "angry", "fed_up"]
    (row, name, reason), left = left_out(found)
    assert (row, name) == (3, "2.wav")
    assert reason.startswith("emotion 'zły' can be no label (it must be a lower-case word (a-z, 0-9, _)")
    assert left == (5, "4.wav", "--map leaves emotion 'XXX' out")
    for wrong in ("", "a", "=sad", "a=sad,"):
        with pytest.raises(UsageError, match=r"^--map '.*': write WORD=LABEL, with commas between$"):
            parse_label_map(wrong)


def test_words_of_ones_own_are_labels(tmp_path: Path) -> None:
    words = ["frustrated", "Excited", " very  bored", "half-asleep", "a" * 64]
    found = read(tmp_path, "\n".join([HEADER, *(f"{number}.wav,{word},1" for number, word in enumerate(words))]))
    assert column(found, "emotion") == ["frustrated", "excited", "very_bored", "half_asleep", "a" * 64]
    bad = ["a" * 300, "2nd", "no speech", "true", "\x1b[31m", "zły"]
    rows = [f"{number}.wav,{word},1" for number, word in enumerate(bad)]
    found = read(tmp_path, "\n".join([HEADER, "9.wav,sad,1", *rows]))
    assert [row for row, _, _ in left_out(found)] == [2, 3, 4, 5, 6, 7]
    assert all(len(reason) < 220 and " can be no label " in reason for _, _, reason in left_out(found))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bored=zły", "--map 'bored': the label 'zły' must be a lower-case word (a-z, 0-9, _) of 64 letters at most"),
        ("bored=" + "a" * 300, "of 64 letters at most"),
        ("bored=no_speech", "says that there is no emotion"),
        ("a=sad,b=calm,A=angry", "--map: the word 'a' is there twice; leave one"),
        ("a=sad,a=", "--map: the word 'a' is there twice; leave one"),
    ],
)
def test_a_map_to_what_can_be_no_label_is_a_line(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=r"^[^\n]{1,220}$") as error:
        parse_label_map(text)
    assert words in str(error.value)


def test_columns_are_what_they_are_said_to_be(tmp_path: Path) -> None:
    content = "File;Label;path;speaker;said\n0.wav;sad;x;me;hello\n1.wav;calm;y;you;hi\n"
    columns = parse_columns("FILE=path, label = emotion,said=statement")
    found = read(tmp_path, content, columns=columns)
    assert column(found, "path") == [f"{tmp_path}/0.wav", f"{tmp_path}/1.wav"]
    assert column(found, "emotion") == ["sad", "calm"]
    assert column(found, "speaker") == ["mine-me", "mine-you"]
    assert column(found, "statement") == ["hello", "hi"]
    # What is another column by now is not also what it is called.
    columns = parse_columns("speaker=statement,mood=emotion")
    found = read(tmp_path, "path,speaker,mood\n0.wav,Hello,sad\n", columns=columns)
    assert (column(found, "statement"), column(found, "speaker")) == (["Hello"], ["mine-unknown"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "--columns '': write COLUMN=NAME, with commas between; NAME is one of path, emotion, speaker, gender"),
        ("file", "--columns 'file': write COLUMN=NAME"),
        ("file=where", "--columns 'file=where': write COLUMN=NAME"),
        ("=path", "--columns '=path': write COLUMN=NAME"),
        ("a=path,b=path", "--columns 'b=path': 'path' is there twice"),
        ("a=path,A=emotion", "--columns 'A=emotion': 'a' is there twice"),
    ],
)
def test_columns_that_cannot_be_are_a_line(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=r"^[^\n]+$") as error:
        parse_columns(text)
    assert str(error.value).startswith(words)


def test_a_column_that_is_not_there_is_a_line_with_those_that_are(tmp_path: Path) -> None:
    names = "path,emotion," + ",".join(f"c{number}" for number in range(20))
    with pytest.raises(
        SourceError, match=r"has no column 'who', only 'path', 'emotion', 'c0', .*, \.\.\.; give"
    ) as error:
        read(tmp_path, f"{names}\n", columns=parse_columns("who=speaker"))
    assert "c7" not in str(error.value)


def test_no_speakers_are_one_that_nobody_knows(tmp_path: Path) -> None:
    found = read(tmp_path, "path,emotion\n0.wav,sad\n1.wav,calm\n")
    assert column(found, "speaker") == ["mine-unknown"] * 2
    assert not is_known_speaker("mine-unknown")
    assert is_known_speaker("mine-1")


def test_one_speaker_in_many_spellings_is_one(tmp_path: Path) -> None:
    ones = ["1", "01", "1.0", "1,0", " 1 ", "001.00", "1."]
    for same in (ones, ["Anna B", " anna  b", "ANNA B"], ["S01", "s01"], ["0", "00"]):
        assert len({*map(speaker_id, same)}) == 1
    assert len({*map(speaker_id, ["1", "10", "1.5", "s1", "-1"])}) == 5
    values = ["1", "01", "1.0", "", "NaN", "N/A", "-", "Anna", "anna "]
    found = read(tmp_path, "\n".join([HEADER, *(f"{number}.wav,sad,{value}" for number, value in enumerate(values))]))
    assert column(found, "speaker") == ["mine-1"] * 3 + ["mine-anna"] * 2
    assert left_out(found) == [(row, f"{row - 1}.wav", "no speaker") for row in (4, 5, 6, 7)]


def test_a_broken_row_costs_itself_alone(tmp_path: Path) -> None:
    rows = [
        "0.wav,sad,1", "1.wav,sad", "2.wav,sad,1,extra", '"3.wav,sad,1', "4.wav,sad,1", "5.wav\0,sad,1",
        "6.wav,sad,x\0",
        "7\udcff.wav,sad,1", "8.wav,sad,\udcff", "0.wav,calm,2", "NaN,sad,1", "9.wav,nan,1",
    ]  # fmt: skip
    found = read(tmp_path, "\n".join([HEADER, *rows]).encode("utf-8", "surrogateescape"))
    assert column(found, "path") == [f"{tmp_path}/0.wav", f"{tmp_path}/4.wav"]
    assert [(row, reason) for row, _, reason in left_out(found)] == [
        (2, "the row is broken"),
        (3, "the row is broken"),
        (4, "cannot be read, or is not there"),
        (6, "the row is broken: it holds a NUL character, or is no UTF-8"),
        (7, "the row is broken: it holds a NUL character, or is no UTF-8"),
        (8, "the path is no UTF-8"),
        (9, "the row is broken: it holds a NUL character, or is no UTF-8"),
        (10, "the clip is in an earlier row too"),
        (11, "cannot be read, or is not there"),
        (12, "no emotion"),
    ]


def test_a_person_and_a_program_get_the_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read(tmp_path, f"{HEADER}\n0.wav,ang,1\n1.wav\n2.wav,zły,1\n")
    arguments = ["corpus", "csv", str(tmp_path / "mine.csv"), str(tmp_path / "m.parquet")]
    assert run(arguments) == 3
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["left out 1: the row is broken", "  row 2"]
    assert lines[3] == f"  row 3: {tmp_path}/2.wav"
    assert run([*arguments, "--map", "zły=calm", "--output-mode", "json"]) == 3
    data = json.loads(capsys.readouterr().out)
    assert data["emotions"] == {"calm": 1, "angry": 1}
    assert data["left_out"] == [{"path": "row 2", "reason": "the row is broken", "row": 2}]


def test_a_list_that_is_utf_16_without_a_mark_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"SOURCE .*mine\.csv: it seems to be UTF-16 without a byte-order mark"):
        read(tmp_path, f"{HEADER}\n0.wav,sad,1\n".encode("utf-16-le"))
