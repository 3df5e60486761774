"""What other programs ask in the place of `ser predict`: one model, many recordings, more than one call."""

import shutil
from pathlib import Path

import pytest

from cluster.recognizer import Answer, Recognizer
from ser_core.errors import UsageError
from tests.support.cli import ROOT

CALL = ROOT / "examples" / "call.flac"


def test_answers_are_those_of_the_tables_and_the_same_each_time(tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_text("no sound")
    copy = Path(shutil.copy(ROOT / "examples" / "sad-woman.flac", tmp_path))
    told: list[Answer] = []
    with Recognizer("compact", channels="each", window_seconds=4.0, hop_seconds=2.0) as recognizer:
        answers = recognizer.answers([broken, CALL, copy, str(broken)], told.append)
        [again] = recognizer.answers([copy])
    assert answers == told
    assert [(Path(answer.path).name, answer.channel) for answer in answers] == [
        ("broken.wav", -1), ("call.flac", 0), ("call.flac", 1), ("sad-woman.flac", 0), ("broken.wav", -1),
    ]  # fmt: skip
    assert again == answers[3]
    assert (answers[0].status, answers[0].emotion, answers[0].windows) == ("failed", None, ())
    assert answers[0] == answers[4]
    for answer in answers[1:4]:
        assert answer.status == "scored"
        starts = [window.start_seconds for window in answer.windows]
        assert starts == [2.0 * number for number in range(len(starts))]
        assert answer.windows[-1].end_seconds == pytest.approx(answer.audio_seconds)
        for window in answer.windows:
            if window.emotion == "no_speech":
                assert (window.probabilities, window.confidence) == ({}, None)
            else:
                assert sum(window.probabilities.values()) == pytest.approx(1, abs=1e-5)
                assert window.confidence == window.probabilities[window.emotion] == max(window.probabilities.values())


def test_what_cannot_be_asked_is_refused_before_a_model_is_loaded() -> None:
    for setting in ("wndow_seconds", "adapt", "glob"):
        with pytest.raises(UsageError, match=f"^{setting} is no setting of a Recognizer"):
            Recognizer("compact", **{setting: "all"})
    with pytest.raises(UsageError, match="window_seconds"):
        Recognizer("compact", window_seconds=0)
    with Recognizer("compact") as recognizer, pytest.raises(UsageError, match="a folder, prefix or glob"):
        recognizer.answers([ROOT / "examples"])
