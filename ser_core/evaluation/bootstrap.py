"""How far metrics would move with other speakers: the bootstrap over speakers, within each corpus.

Shape letters: G clips, C labels, S speakers, R resamples, F features of a clip that sum up to what a metric needs.

Clips of one speaker are alike, so speakers are resampled (with replacement, as many as the corpus has, each with all
their clips) and not clips. Low and high are the 2.5th and the 97.5th percentile over the resamples.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ser_core.evaluation import metrics
from ser_core.evaluation.metrics import Floats, Labels
from ser_core.evaluation.settings import BootstrapSettings

Metric = Literal["accuracy", "macro_f1", "uar"]
Names = npt.NDArray[np.object_]
_PERCENTS = (2.5, 97.5)
_RESAMPLES_AT_A_TIME = 100


class Interval(NamedTuple):
    """A metric, and where 95 % of the resamples lie; None where every corpus has one speaker alone."""

    value: float
    low: float | None
    high: float | None


def intervals(
    label_G: Labels,
    probabilities_GC: Floats,
    speakers_G: Names,
    corpora_G: Names,
    settings: BootstrapSettings,
) -> dict[str, Interval]:
    """`accuracy`, `macro_f1`, `uar` and `ece` of clips, of which there is one at least.

    Args:
        label_G: the right labels.
        probabilities_GC: the predictions.
        speakers_G: who speaks; no speaker is in two corpora.
        corpora_G: where the clip is from.
        settings: how many resamples, and their seed.
    """
    predicted_G, confidence_G = probabilities_GC.argmax(axis=1), probabilities_GC.max(axis=1)
    right_G = predicted_G == label_G
    num_labels = probabilities_GC.shape[1]
    speakers = _Speakers(speakers_G, corpora_G)
    confusion_SF = speakers.sums(label_G * num_labels + predicted_G, num_labels**2)
    bin_G = metrics.bin_of(confidence_G)
    # A bin adds |sum of right - sum of confidence| to the error, whatever its count.
    gap_SF = speakers.sums(bin_G, metrics.NUM_BINS, right_G - confidence_G)
    count_S = speakers.sums(np.zeros_like(bin_G), 1)[:, 0]

    def resampled_metrics(weight_RS: Labels) -> dict[str, Floats]:
        confusion_RCC = (weight_RS @ confusion_SF).reshape(-1, num_labels, num_labels)
        ece_R = np.abs(weight_RS @ gap_SF).sum(axis=1) / (weight_RS @ count_S)
        return {name: metric(confusion_RCC) for name, metric in metrics.FROM_CONFUSION.items()} | {"ece": ece_R}

    return speakers.intervals(resampled_metrics, settings)


def paired_bootstrap(
    label_G: Labels,
    predicted_a_G: Labels,
    predicted_b_G: Labels,
    speakers_G: Names,
    corpora_G: Names,
    *,
    metric: Metric = "uar",
    settings: BootstrapSettings | None = None,
) -> Interval:
    """How much better B's predictions are than A's for the same clips: the difference of a metric, B - A.

    Each resample takes the same speakers for both, so that what is hard for both does not widen the interval; one that
    does not hold 0 speaks for a difference that other speakers would show, too.

    Args:
        label_G: the right labels.
        predicted_a_G: A's predictions, as indices of the same labels.
        predicted_b_G: B's.
        speakers_G: who speaks; no speaker is in two corpora.
        corpora_G: where the clip is from.
        metric: which one.
        settings: how many resamples, and their seed.
    """
    from_confusion = metrics.FROM_CONFUSION[metric]
    num_labels = int(np.concatenate([label_G, predicted_a_G, predicted_b_G]).max()) + 1
    speakers = _Speakers(speakers_G, corpora_G)
    confusion_a_SF, confusion_b_SF = (
        speakers.sums(label_G * num_labels + predicted_G, num_labels**2)
        for predicted_G in (predicted_a_G, predicted_b_G)
    )

    def difference(weight_RS: Labels) -> dict[str, Floats]:
        a_R, b_R = (
            from_confusion((weight_RS @ confusion_SF).reshape(-1, num_labels, num_labels))
            for confusion_SF in (confusion_a_SF, confusion_b_SF)
        )
        return {metric: b_R - a_R}

    return speakers.intervals(difference, settings or BootstrapSettings())[metric]


class _Speakers:
    """The speakers of clips, by corpus."""

    def __init__(self, speakers_G: Names, corpora_G: Names) -> None:
        names_S, first_S, self._speaker_G = np.unique(speakers_G.astype(str), return_index=True, return_inverse=True)
        self._num_speakers = len(names_S)
        corpora_S = corpora_G[first_S].astype(str)
        self._indices = [np.flatnonzero(corpora_S == corpus) for corpus in np.unique(corpora_S)]

    def sums(self, feature_G: Labels, num_features: int, values_G: npt.NDArray[Any] | None = None) -> Floats:
        """The sum (S, F), by speaker, of the values (None: ones) of the clips with each feature."""
        index_G = self._speaker_G * num_features + feature_G
        totals = np.bincount(index_G, values_G, self._num_speakers * num_features)
        return totals.reshape(self._num_speakers, num_features).astype(np.float64)

    def intervals(
        self, metrics_of: Callable[[Labels], dict[str, Floats]], settings: BootstrapSettings
    ) -> dict[str, Interval]:
        """The interval of each metric (R,) that `metrics_of` computes from weights (R, S) of the speakers."""
        values = {
            name: float(value) for name, [value] in metrics_of(np.ones((1, self._num_speakers), np.int64)).items()
        }
        if all(len(indices) == 1 for indices in self._indices):
            return {name: Interval(value, None, None) for name, value in values.items()}
        resampled = [metrics_of(weight_RS) for weight_RS in self._resamples(settings)]
        found = {}
        for name, value in values.items():
            low, high = np.percentile(np.concatenate([part[name] for part in resampled]), _PERCENTS)
            found[name] = Interval(value, float(low), float(high))
        return found

    def _resamples(self, settings: BootstrapSettings) -> Iterator[Labels]:
        """How often each speaker is in a resample, some resamples at a time: (R, S)."""
        rng = np.random.default_rng(settings.seed)
        for start in range(0, settings.resamples, _RESAMPLES_AT_A_TIME):
            num_resamples = min(_RESAMPLES_AT_A_TIME, settings.resamples - start)
            weight_RS = np.zeros((num_resamples, self._num_speakers), np.int64)
            for indices in self._indices:
                weight_RS[:, indices] = rng.multinomial(
                    len(indices), np.full(len(indices), 1 / len(indices)), num_resamples
                )
            yield weight_RS
