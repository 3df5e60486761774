"""What metrics are to be held against, and what they hide: baselines, the hardest clips, intensities and lengths.

Shape letters: G clips, L labels of the evaluation.
"""

import dataclasses
import itertools

import numpy as np

from ser_core.corpora import Manifest, intensity_of
from ser_core.evaluation import metrics
from ser_core.evaluation.bootstrap import Names
from ser_core.evaluation.label_sets import LabelSets
from ser_core.evaluation.metrics import Floats, Labels
from ser_core.evaluation.sampling import rows_by
from ser_core.vocabulary import NO_SPEECH

_MAX_HARDEST = 20
#: Edges of lengths in seconds.
_LENGTHS = (1, 2, 3, 5, 10)


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The metrics of answers for which nobody listens."""

    accuracy: float
    uar: float
    macro_f1: float


@dataclasses.dataclass(frozen=True)
class HardClip:
    """A clip whose right label the model finds least likely."""

    path: str
    speaker: str
    label: str
    #: What the model says of it, and with which confidence; of one without speech 0.
    prediction: str
    confidence: float
    #: What the model gives the right label.
    probability: float


def baselines(sets: LabelSets, manifest: Manifest) -> dict[str, Baseline]:
    """By name: `chance`, all labels that a clip's corpus has alike; `majority`, the corpus's most frequent one."""
    num_labels = len(sets.labels)
    chance_LL, majority_LL = np.zeros((num_labels, num_labels)), np.zeros((num_labels, num_labels))
    for corpus, rows_N in rows_by(manifest.corpora).items():
        count_L = np.bincount(sets.label_G[rows_N], minlength=num_labels)
        is_possible_L = np.isin(sets.labels, sets.by_corpus[corpus]) & ~np.isin(sets.labels, sets.missing_labels)
        chance_LL += np.outer(count_L, is_possible_L / is_possible_L.sum())
        majority_LL[:, np.argmax(np.where(is_possible_L, count_L, -1))] += count_L
    return {
        name: Baseline(**{metric: float(of(confusion_LL)) for metric, of in metrics.FROM_CONFUSION.items()})
        for name, confusion_LL in (("chance", chance_LL), ("majority", majority_LL))
    }


def hardest(sets: LabelSets, manifest: Manifest, answers_GL: Floats) -> tuple[HardClip, ...]:
    """The clips that are wrong with the least probability of what is right, at most 20, the hardest first."""
    right_G = answers_GL[np.arange(len(answers_GL)), sets.label_G]
    predicted_G, names = answers_GL.argmax(axis=1), (*sets.labels, NO_SPEECH)
    wrong_N = np.flatnonzero(predicted_G != sets.label_G)
    chosen = wrong_N[np.argsort(right_G[wrong_N], kind="stable")[:_MAX_HARDEST]]
    paths, speakers = manifest.paths, manifest.speakers
    return tuple(
        HardClip(
            path=paths[row],
            speaker=str(speakers[row]),
            label=names[sets.label_G[row]],
            prediction=(said := names[predicted_G[row]]),
            confidence=0.0 if said == NO_SPEECH else float(answers_GL[row, predicted_G[row]]),
            probability=float(right_G[row]),
        )
        for row in chosen
    )


def intensities(manifest: Manifest) -> Names:
    """(G,) How strongly each emotion is acted, as the corpus's file names say; None where they do not."""
    found = [intensity_of(corpus, path) for corpus, path in zip(manifest.corpora, manifest.paths, strict=True)]
    return np.array(found, dtype=object)


def length_groups(seconds_G: Floats | None) -> dict[str, Labels]:
    """The rows of the clips of each length, the shortest first; none where lengths are not known."""
    if seconds_G is None:
        return {}
    bin_G = np.searchsorted(_LENGTHS, seconds_G, side="right")
    between = [f"{low} to {high} s" for low, high in itertools.pairwise(_LENGTHS)]
    names = [f"under {_LENGTHS[0]} s", *between, f"{_LENGTHS[-1]} s and more"]
    return {name: rows_N for index, name in enumerate(names) if len(rows_N := np.flatnonzero(bin_G == index))}
