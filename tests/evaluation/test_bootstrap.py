import numpy as np
import pytest

from ser_core.errors import UsageError
from ser_core.evaluation import metrics
from ser_core.evaluation.bootstrap import BootstrapSettings, intervals, paired_bootstrap

SETTINGS = BootstrapSettings(resamples=500, seed=1)


def clips(num_speakers: int, clips_each: int, spread: float = 1.0, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Labels, predictions, speakers and corpora; how well a speaker is understood varies by `spread`."""
    rng = np.random.default_rng(seed)
    speaker_G = np.repeat(np.arange(num_speakers), clips_each)
    label_G = rng.integers(0, 4, size=len(speaker_G))
    ease_G = np.clip(1 + spread * rng.normal(size=num_speakers), 0, 3)[speaker_G]
    logits_GC = rng.normal(size=(len(label_G), 4)) + ease_G[:, np.newaxis] * np.eye(4)[label_G]
    probabilities_GC = np.exp(logits_GC) / np.exp(logits_GC).sum(axis=1, keepdims=True)
    corpora_G = np.where(speaker_G % 2, "odd", "even").astype(object)
    speakers_G = np.array([f"{corpus}-{speaker}" for corpus, speaker in zip(corpora_G, speaker_G, strict=True)], object)
    return label_G, probabilities_GC, speakers_G, corpora_G


def plainly(name: str, data: tuple[np.ndarray, ...], resamples: int) -> tuple[float, float]:
    """The same by gathering the clips of drawn speakers, as the definition has it."""
    label_G, probabilities_GC, speakers_G, corpora_G = data
    rng = np.random.default_rng(7)
    values = []
    for _ in range(resamples):
        drawn = []
        for corpus in np.unique(corpora_G):
            speakers = np.unique(speakers_G[corpora_G == corpus].astype(str))
            drawn += [np.flatnonzero(speakers_G == speaker) for speaker in rng.choice(speakers, len(speakers))]
        rows = np.concatenate(drawn)
        if name == "ece":
            values.append(metrics.ece(probabilities_GC[rows], label_G[rows]))
        else:
            values.append(getattr(metrics, name)(label_G[rows], probabilities_GC[rows].argmax(axis=1)))
    low, high = np.percentile(values, (2.5, 97.5))
    return low, high


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "uar", "ece"])
def test_intervals_are_those_of_drawn_speakers(name: str) -> None:
    data = clips(14, 20)
    found = intervals(*data, BootstrapSettings(resamples=4_000))[name]
    low, high = plainly(name, data, 200)
    assert found.low == pytest.approx(low, abs=0.02)
    assert found.high == pytest.approx(high, abs=0.02)


def test_values_are_those_of_all_clips() -> None:
    label_G, probabilities_GC, *names = clips(10, 30)
    found = intervals(label_G, probabilities_GC, *names, SETTINGS)
    assert found["ece"].value == pytest.approx(metrics.ece(probabilities_GC, label_G))
    for name in metrics.FROM_CONFUSION:
        value, low, high = found[name]
        assert value == pytest.approx(getattr(metrics, name)(label_G, probabilities_GC.argmax(axis=1)))
        assert low is not None
        assert high is not None
        assert low < value < high


def test_speakers_and_not_clips_are_drawn() -> None:
    """Many clips of few speakers who are understood very differently say little."""
    same, different = (intervals(*clips(10, 200, spread), SETTINGS)["uar"] for spread in (0.0, 2.0))
    assert same.high - same.low < 0.06  # type: ignore[operator]
    assert different.high - different.low > 0.15  # type: ignore[operator]


def test_the_seed_and_nothing_else_decides() -> None:
    data = clips(10, 10)
    order = np.random.default_rng(0).permutation(len(data[0]))
    shuffled = tuple(values[order] for values in data)
    first = intervals(*data, SETTINGS)["uar"]
    assert intervals(*shuffled, SETTINGS)["uar"] == pytest.approx(first)
    assert intervals(*data, BootstrapSettings(resamples=500, seed=2))["uar"] != first


def test_one_speaker_of_each_corpus_has_no_interval() -> None:
    assert intervals(*clips(2, 50), SETTINGS)["uar"][1:] == (None, None)


def test_a_better_recipe_is_known_from_an_equal_one() -> None:
    label_G, probabilities_GC, *names = clips(20, 40, spread=2.0)
    predicted_G = probabilities_GC.argmax(axis=1)
    rng = np.random.default_rng(5)
    is_mended_G = rng.uniform(size=len(label_G)) < 0.1
    better_G = np.where(is_mended_G, label_G, predicted_G)
    value, low, high = paired_bootstrap(label_G, predicted_G, better_G, *names, settings=SETTINGS)
    assert value == pytest.approx(metrics.uar(label_G, better_G) - metrics.uar(label_G, predicted_G))
    assert low is not None
    assert high is not None
    assert 0 < low < value < high
    # The pairing is what tells: the metric of one of them alone moves more.
    alone = intervals(label_G, probabilities_GC, *names, SETTINGS)["uar"]
    assert high - low < 0.3 * (alone.high - alone.low)  # type: ignore[operator]
    assert paired_bootstrap(label_G, predicted_G, predicted_G, *names, settings=SETTINGS) == (0, 0, 0)
    back = paired_bootstrap(label_G, better_G, predicted_G, *names, metric="accuracy", settings=SETTINGS)
    assert back.value == pytest.approx(-np.mean(is_mended_G & (predicted_G != label_G)))


def test_a_label_that_few_speakers_have_may_be_missing_from_a_draw() -> None:
    label_G, probabilities_GC, *names = clips(6, 10)
    label_G[label_G == 3] = 0
    label_G[0] = 3
    value, low, high = intervals(label_G, probabilities_GC, *names, SETTINGS)["uar"]
    assert np.isfinite([value, low, high]).all()


@pytest.mark.parametrize(("values", "word"), [({"resamples": 1}, "resamples"), ({"seed": -1}, "seed")])
def test_settings_out_of_range_are_refused(values: dict[str, int], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        BootstrapSettings.from_dict(values)
