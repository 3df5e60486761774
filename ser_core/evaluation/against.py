"""Two models side by side, on the same clips: which is better, by how much, and whether other speakers would agree.

Shape letters: G clips.
"""

import dataclasses

import numpy as np

from ser_core.corpora import Manifest
from ser_core.evaluation.bootstrap import paired_bootstrap
from ser_core.evaluation.groups import COUNTS, METRICS, Against
from ser_core.evaluation.label_sets import LabelSets
from ser_core.evaluation.metrics import Floats, Labels
from ser_core.evaluation.result import Evaluation
from ser_core.vocabulary import NO_SPEECH

#: What a model says of clips: which of its labels are compared, and predictions (G, C) at temperature 1.
Answers = tuple[LabelSets, Floats]


def side_by_side(manifest: Manifest, this: Answers, other: Answers, found: tuple[Evaluation, Evaluation]) -> Evaluation:
    """The evaluation of a model, with another one beside it.

    Args:
        manifest: the clips.
        this: the answers of the model that is evaluated.
        other: those of the one that it is held against, whose labels may be others.
        found: the evaluations of both.
    """
    names = list(dict.fromkeys((*this[0].labels, *other[0].labels, NO_SPEECH)))
    this_G, other_G = (_predicted(one, names) for one in (this, other))
    label_G = np.array([names.index(label) for label in manifest.table["emotion"].to_pylist()])
    evaluation, beside = found
    gains = {
        metric: paired_bootstrap(
            label_G, other_G, this_G, manifest.speakers, manifest.corpora, metric=metric, settings=evaluation.settings
        )
        for metric in METRICS
    }
    is_this_G, is_other_G = this_G == label_G, other_G == label_G
    counts = (is_this_G & is_other_G, is_this_G & ~is_other_G, ~is_this_G & is_other_G, ~is_this_G & ~is_other_G)
    against = Against(
        model=beside.about.model if beside.about else beside.title,
        overall=beside.overall,
        classes=beside.classes,
        notes=beside.notes,
        gains=gains,
        agree=int((this_G == other_G).sum()),
        **{name: int(is_so_G.sum()) for name, is_so_G in zip(COUNTS, counts, strict=True)},
    )
    return dataclasses.replace(evaluation, against=against)


def _predicted(answers: Answers, names: list[str]) -> Labels:
    """(G,) What a model says, as an index of these names."""
    sets, probabilities_GC = answers
    of_model = np.array([names.index(label) for label in (*sets.labels, NO_SPEECH)])
    predicted_G: Labels = of_model[sets.answers(probabilities_GC).argmax(axis=1)]
    return predicted_G
