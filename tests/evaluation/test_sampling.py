"""Clips that are drawn: a few of each speaker, and mixes of emotions."""

from collections import Counter

import numpy as np
import pytest

from ser_core.errors import UsageError
from ser_core.evaluation.sampling import check_mix, draw_mix, draw_per_speaker
from ser_core.evaluation.settings import ClipSettings, Mix
from ser_core.vocabulary import LABELS
from tests.support.evaluations import manifest


def labels(**counts: int) -> np.ndarray:
    return np.concatenate([np.full(number, LABELS.index(label)) for label, number in counts.items()])


def drawn(mix: str | None, label_N: np.ndarray, seed: int = 0) -> dict[str, int]:
    index_D = draw_mix(Mix() if mix is None else Mix.parse(mix), label_N, np.random.default_rng(seed))
    assert len(set(index_D)) == len(index_D)
    return dict(Counter(LABELS[label] for label in label_N[index_D]))


def test_of_each_speaker_so_many_clips_are_drawn_over_emotions_evenly() -> None:
    clips = manifest()
    rows = draw_per_speaker(clips, 7, 0)
    assert (np.diff(rows) > 0).all()
    for speaker in set(clips.speakers):
        of_speaker = clips.label_N[rows][clips.speakers[rows] == speaker]
        assert len(of_speaker) == 7
        counts = Counter(of_speaker).values()
        assert max(counts) - min(counts) <= 1
    assert len(draw_per_speaker(clips, 10_000, 0)) == len(clips)


def test_a_speakers_clips_follow_from_the_seed_and_from_nobody_else() -> None:
    clips = manifest()
    alone = clips.take(np.flatnonzero(clips.speakers == "wide-3"))
    of_all = clips.take(draw_per_speaker(clips, 5, 0))
    of_one = alone.take(draw_per_speaker(alone, 5, 0))
    assert of_one.paths == [path for path in of_all.paths if path in set(alone.paths)]
    assert of_one.paths != alone.take(draw_per_speaker(alone, 5, 1)).paths


def test_a_mix_has_its_share_and_the_others_evenly() -> None:
    many = labels(neutral=300, happy=300, sad=300, angry=300)
    assert drawn("neutral=0.8", many) == {"neutral": 205, "happy": 17, "sad": 17, "angry": 17}
    assert drawn("sad=1", many) == {"sad": 256}
    assert "sad" not in drawn("sad=0", many)
    assert drawn(None, many) == {"neutral": 64, "happy": 64, "sad": 64, "angry": 64}


def test_a_mix_of_few_clips_repeats_none_and_keeps_its_share() -> None:
    few = labels(neutral=16, happy=40, sad=1)
    assert drawn("neutral=0.8", few) == {"neutral": 16, "happy": 3, "sad": 1}
    assert drawn("happy=0.5", few) == {"happy": 18, "neutral": 16, "sad": 1}
    assert drawn(None, few) == {"neutral": 16, "happy": 40, "sad": 1}
    assert drawn("angry=0.8", few) == {}


def test_a_mix_is_the_same_for_the_same_seed() -> None:
    label_N, mix = labels(neutral=50, happy=50), Mix.parse("happy=0.3")
    one, again, other = (draw_mix(mix, label_N, np.random.default_rng(seed)).tolist() for seed in (0, 0, 1))
    assert one == again != other


@pytest.mark.parametrize(
    "text", ["neutral", "neutral=80%", "neutral=1.5", "no_speech=0.5", "Bored=0.5", "neutral=-1", "=0.5", "neutral="]
)
def test_what_is_no_mix_is_refused_in_a_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"--mix .*: give an emotion and its share from 0 to 1, as neutral=0\.8"):
        ClipSettings.from_dict({"adapt": "archive", "mixes": [text]})


def test_mixes_go_with_adaptation_and_with_clips_of_the_emotion() -> None:
    with pytest.raises(UsageError, match=r"--mix sad=0\.5: changes nothing where nothing is adapted; give --adapt too"):
        ClipSettings.from_dict({"mixes": ["sad=0.5"]})
    found = ClipSettings.from_dict({"adapt": "speaker", "mixes": ["sad=0.50", "sad=.5", "sad=0.5", "calm=0"]})
    assert [str(mix) for mix in found.parsed_mixes] == ["sad=0.5", "calm=0"]
    check_mix(Mix.parse("sad=0.5"), manifest())
    check_mix(Mix.parse("calm=0"), manifest())
    with pytest.raises(UsageError, match=r"--mix calm=0\.5: corpus small has no calm clip"):
        check_mix(Mix.parse("calm=0.5"), manifest())
