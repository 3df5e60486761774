"""The examples are what they are said to be, and `make demo` shows what was found in them."""

import csv
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
import soundfile

from ser_core.models import bundled_names, read_config
from tests.support.cli import ROOT, WITH_DETECTION, files, predictions, ser_here

EXAMPLES = ROOT / "examples"
with (EXAMPLES / "clips.csv").open(newline="") as listed:
    CLIPS = list(csv.DictReader(listed))


def script(name: str) -> dict[str, Any]:
    """What one of the examples' scripts defines."""
    return runpy.run_path(str(EXAMPLES / name))


def test_no_bundled_model_was_trained_on_the_speakers_of_the_examples() -> None:
    theirs = {clip["speaker"].replace("actor", "ravdess") for clip in CLIPS}
    assert theirs == {"ravdess-21", "ravdess-22"}
    for name in bundled_names():
        training = read_config(name).training
        assert len(training["speakers"]) >= 20
        # Nor to choose an epoch, to calibrate or to test.
        assert not [speaker for speaker in theirs if f"'{speaker}'" in str(training)]


def test_every_recording_is_one_of_the_clips_or_the_call_and_small() -> None:
    names = [clip["path"] for clip in CLIPS]
    assert sorted(file.name for file in EXAMPLES.glob("*.flac")) == sorted([*names, "call.flac"])
    emotions = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
    for clip in CLIPS:
        assert clip["path"].startswith(f"{clip['emotion']}-")
        _, _, emotion, _, _, _, actor = clip["ravdess_name"].split("-")
        assert (emotions[int(emotion) - 1], f"actor-{actor}") == (clip["emotion"], clip["speaker"])
    assert sum(file.stat().st_size for file in EXAMPLES.iterdir()) < 3 * 2**20


def test_the_call_is_what_its_script_makes() -> None:
    made_TC, turns = script("make_call.py")["make_call"]()
    call_TC, rate_hz = soundfile.read(EXAMPLES / "call.flac")
    assert rate_hz == 16_000
    np.testing.assert_allclose(call_TC, made_TC, atol=2 / 2**15)
    with (EXAMPLES / "call.csv").open(newline="") as file:
        _, *listed = csv.reader(file)
    assert listed == [[str(value) for value in turn] for turn in turns]


def test_the_demo_shows_hits_and_misses_beside_what_the_card_promises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ser_here("score", "examples", tmp_path / "out", "--channels", "each", *WITH_DETECTION).code == 0
    show = script("show.py")
    show["main"](str(tmp_path / "out"))
    shown = capsys.readouterr().out
    lines = [re.sub(" +", " ", line.strip()) for line in shown.splitlines()]

    found = {row["path"]: row for row in files(tmp_path / "out").to_pylist()}
    right = 0
    for clip in CLIPS:
        row = found[clip["path"]]
        is_right = row["emotion"] == clip["emotion"]
        right += is_right
        answer = f"meant {clip['emotion']}, heard {row['emotion']} {row['confidence']:.2f}"
        assert f"{clip['path']} {answer}{'' if is_right else ' (a miss)'}" in lines
    assert f"Right: {right} of 16, " in shown
    assert 0 < right < 16
    assert "The card of compact promises 64.4 % [59.2, 69.8] (95 % interval)" in shown

    # While somebody speaks the other side is silent, and noise and a ringing tone are not speech.
    of_call = [line for line in lines if re.match(r"\d+ - \d+ ", line)]
    windows = predictions(tmp_path / "out").filter(pc.field("path") == "call.flac")["emotion"].to_pylist()
    assert len(of_call) * 2 == len(windows)
    assert of_call[0] == "0 - 5 no_speech no_speech"
    assert sum(line.count("no_speech") for line in of_call) == windows.count("no_speech") >= 6
    with (EXAMPLES / "call.csv").open(newline="") as file:
        meant = {turn["emotion"] for turn in csv.DictReader(file)}
    num_misses = 0
    for emotion, said in re.findall(r"([a-z]+) [01]\.\d\d in \d\.\d s \(([a-z, ]+)\)", "\n".join(of_call)):
        *words, last = said.split(", ")
        num_misses += last == "a miss"
        assert (last == "a miss") == (emotion not in said.split(", "))
        assert {*words, last} <= {*meant, "a miss"}
    assert num_misses
    for line in of_call:
        assert re.fullmatch(r"\d+ - \d+( no_speech| [a-z]+ [01]\.\d\d in \d\.\d s \([a-z, ]+\)){2}", line), line
    assert "ser score FOLDER" in shown
