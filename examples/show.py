"""Print what `ser score examples OUTPUT --channels each` found beside what was meant: `examples/show.py OUTPUT`."""

import csv
import re
import sys
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

FOLDER = Path(__file__).parent
#: Where the cards of bundled models say which share they get right of RAVDESS speakers they have not heard.
PROMISED = re.compile(r"RAVDESS, 20 actors, 8 emotions \| [\d,]+ \| ([^|]+) \|")
#: Speech that a window must have for it to be a miss that none was heard there.
MIN_MISSED_SECONDS = 0.5

NEXT = """
What to type next, with recordings of your own:

  source .venv/bin/activate
  ser predict RECORDING.mp3                  # one file, or a few
  ser score FOLDER results                   # an archive; again, it goes on
  ser score CALLS calls --channels each      # a speaker on each channel

README.md says how to read the results, and how to train a model of your own."""


def rows(output: str, table: str) -> list[dict[str, Any]]:
    """All rows of one of the two tables, in order."""
    found = ds.dataset(f"{output}/{table}", partitioning="hive", exclude_invalid_files=True).to_table()
    keys = [(name, "ascending") for name in ("path", "channel", "start_seconds") if name in found.column_names]
    listed: list[dict[str, Any]] = found.sort_by(keys).to_pylist()
    return listed


def table_of(name: str) -> list[dict[str, str]]:
    """What one of the lists beside this file says."""
    with (FOLDER / name).open(newline="") as file:
        return list(csv.DictReader(file))


def heard(row: dict[str, Any]) -> str:
    """An emotion and how sure the model is of it, which it is not where nobody speaks."""
    emotion = row["emotion"] or row["reason"]
    return emotion if row["confidence"] is None else f"{emotion} {row['confidence']:.2f}"


def show_clips(files: dict[str, dict[str, Any]], model: str) -> None:
    """A line for each clip, and how many of them are right."""
    print("Sixteen clips of two actors whom no model here has heard:\n")
    clips, num_right = table_of("clips.csv"), 0
    for clip in clips:
        is_right = files[clip["path"]]["emotion"] == clip["emotion"]
        num_right += is_right
        meant = f"meant {clip['emotion']},"
        line = f"  {clip['path']:<22}{meant:<17}heard {heard(files[clip['path']]):<15}"
        print(f"{line}{'' if is_right else ' (a miss)'}".rstrip())
    print(f"\nRight: {num_right} of {len(clips)}, {100 * num_right / len(clips):.0f} %.")
    card = FOLDER.parent / "ser_core" / "bundled" / model / "MODEL_CARD.md"
    if card.exists() and (promised := PROMISED.search(card.read_text())):
        print(f"The card of {model} promises {promised[1]} (95 % interval) of RAVDESS speakers it")
        print("has not heard; of sixteen clips three more or fewer is chance.")


def show_call(windows: list[dict[str, Any]], files: list[dict[str, Any]]) -> None:
    """A line for each window, with what was heard of both speakers and what they meant."""
    turns = table_of("call.csv")
    print("\nA call (call.flac) with a speaker on each channel, in windows of 5 seconds: what was heard, in how many")
    print("seconds of speech, and in brackets what was meant. A side is silent while the other speaks; a ringing")
    print("tone comes first, and noise in the middle. Less than a second of speech says little, however sure it")
    print("sounds: the query in README.md leaves such windows out.\n")
    print(f"  {'seconds':<11}{'the woman, channel 0':<47}the man, channel 1")
    for start_seconds in sorted({row["start_seconds"] for row in windows}):
        sides = [row for row in windows if row["start_seconds"] == start_seconds]
        cells = [cell(row, turns) for row in sides]
        print(f"  {start_seconds:4.0f} - {sides[0]['end_seconds']:<4.0f}{cells[0]:<47}{cells[1]}")
    print(f"  {'the whole':<11}{heard(files[0]):<47}{heard(files[1])}")


def cell(window: dict[str, Any], turns: list[dict[str, str]]) -> str:
    """What was heard in a window of one side, what was meant there, and whether it is a miss."""
    seconds_of = {
        turn["emotion"]: min(float(turn["end_seconds"]), window["end_seconds"])
        - max(float(turn["start_seconds"]), window["start_seconds"])
        for turn in turns
        if int(turn["channel"]) == window["channel"]
    }
    is_speech = window["emotion"] != "no_speech"
    meant = [emotion for emotion, seconds in seconds_of.items() if seconds > (0 if is_speech else MIN_MISSED_SECONDS)]
    is_right = window["emotion"] in meant if is_speech else not meant
    said = ", ".join(meant + ([] if is_right else ["a miss"]))
    speech_seconds = window["speech_share"] * (window["end_seconds"] - window["start_seconds"])
    return heard(window) + (f" in {speech_seconds:.1f} s" if is_speech else "") + (f" ({said})" if said else "")


def main(output: str) -> None:
    files, windows = rows(output, "files"), rows(output, "predictions")
    show_clips({row["path"]: row for row in files}, windows[0]["model"].partition("@")[0])
    show_call([row for row in windows if row["path"] == "call.flac"], [r for r in files if r["path"] == "call.flac"])
    print(NEXT)


if __name__ == "__main__":
    main(sys.argv[1])
