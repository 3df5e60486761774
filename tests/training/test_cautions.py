"""What is said of a training before it begins, and of its model."""

import numpy as np
import pytest

from ser_core.corpora.manifest import Manifest, rows_to_table
from ser_core.training.cautions import few_speakers, one_answer
from ser_core.training.data.splits import make_folds
from ser_core.training.data_config import SplitSettings


def manifest(num_speakers: int, *, clips: int = 20, corpus: str = "own") -> Manifest:
    rows = [
        {
            "path": f"/{speaker}/{clip:03d}.wav",
            "corpus": corpus,
            "emotion": ("calm", "excited")[clip % 2],
            "speaker": f"{corpus}-{speaker if num_speakers else 'unknown'}",
        }
        for speaker in range(num_speakers or 1)
        for clip in range(clips)
    ]
    return Manifest(rows_to_table(rows))


def said(clips: Manifest, **changes: object) -> str | None:
    split = SplitSettings.from_dict(changes)
    [sets] = make_folds(clips, split)
    return few_speakers(sets, clips, split)


def test_few_who_are_left_are_counted_and_what_leaves_more_is_named() -> None:
    words = said(manifest(5)) or ""
    assert words.startswith("40 clips of 2 speakers are left for training; ")
    assert "--validation-speakers 0 leaves 1 more; --calibration-speakers 0 leaves 1 more; --split random" in words
    alone = said(manifest(2), validation_speakers=0) or ""
    assert alone.startswith("20 clips of 1 speaker are left for training; --split random tests clips of the speakers")
    assert "--validation" not in alone
    assert said(manifest(3), split="random") == (
        "38 clips of 3 speakers are left for training; speech of more people would help"
    )


def test_many_and_nobody_known_are_no_caution() -> None:
    assert said(manifest(9)) is None
    assert said(manifest(0), split="random") is None


@pytest.mark.parametrize(
    ("said_NC", "num_clips", "answer"),
    [
        ([0.9, 0.1], 12, "calm"),
        ([0.2, 0.8], 12, "excited"),
        # So few may be chance.
        ([0.9, 0.1], 9, None),
    ],
)
def test_one_answer_to_all_is_found(said_NC: list[float], num_clips: int, answer: str | None) -> None:
    clips = manifest(1, clips=num_clips)
    assert one_answer(np.tile(said_NC, (num_clips, 1)), clips, ("calm", "excited")) == answer


def test_what_is_right_or_says_two_things_is_none() -> None:
    clips, labels = manifest(1, clips=12), ("calm", "excited")
    same_NC = np.tile([0.9, 0.1], (12, 1))
    other_NC = same_NC.copy()
    other_NC[3] = other_NC[3, ::-1]
    assert one_answer(other_NC, clips, labels) is None
    # All clips are calm.
    calm = clips.take(np.flatnonzero(clips.label_N == clips.known_labels.index("calm")).repeat(3))
    assert one_answer(np.tile([0.9, 0.1], (len(calm), 1)), calm, labels) is None
    # Of clips without speech there is no answer.
    other_NC[:3] = np.nan
    assert one_answer(other_NC, clips, labels) is None
